//! Every metric there is, in one table, and the text form that Prometheus reads.
//!
//! docs/metrics.md lists the same table; a test keeps both in step. What a job is called is in the label `job_name`,
//! because Prometheus puts a label `job` of its own on everything that it scrapes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What may become of a metric's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// It only grows, and begins at zero with the process.
    Counter,
    /// It goes up and down.
    Gauge,
}

impl Sort {
    /// Prometheus's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// Declares the table.
macro_rules! metrics {
    ($($metric:ident = $name:literal $sort:ident [$($label:literal),*] $help:literal;)*) => {
        /// A metric; its place in the table is its place on the page.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Metric { $(#[doc = $help] $metric,)* }

        impl Metric {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$metric,)*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$metric => $name,)* }
            }

            /// Counter or gauge.
            pub const fn sort(self) -> Sort {
                match self { $(Self::$metric => Sort::$sort,)* }
            }

            /// The names of its labels, in the order in which their values are given.
            pub const fn labels(self) -> &'static [&'static str] {
                match self { $(Self::$metric => &[$($label),*],)* }
            }

            /// What it says.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$metric => $help,)* }
            }
        }
    };
}

metrics! {
    BuildInfo = "pgupkeep_build_info" Gauge ["version"] "Always 1; the label tells the version.";
    ControlUp = "pgupkeep_control_up" Gauge [] "1 while the control database answers and its ledger is one that this daemon knows.";
    Daemons = "pgupkeep_daemons" Gauge [] "Daemons that are up, over the whole ledger.";
    Workers = "pgupkeep_workers" Gauge [] "Runs that this daemon works on at a time at most.";
    SchedulerIdle = "pgupkeep_scheduler_idle_seconds" Gauge [] "How long ago the scheduler last came round; more than 90 s means that it is stuck.";
    TargetAvailable = "pgupkeep_target_available" Gauge ["target"] "0 since work last found the target away or a standby, until it takes writes again.";
    ReloadSuccessful = "pgupkeep_config_last_reload_successful" Gauge [] "1 while the configuration file, as last read, is the one in force; 0 since a reload was refused.";
    ReloadTimestamp = "pgupkeep_config_last_reload_success_timestamp_seconds" Gauge [] "When the configuration in force was read.";
    Reloads = "pgupkeep_config_reloads_total" Counter ["result"] "Reloads, by whether the file was taken or the running configuration kept.";
    LastSuccess = "pgupkeep_job_last_success_timestamp_seconds" Gauge ["job_name", "target"] "When a run of the job last succeeded; 0 if none on record has.";
    LastDue = "pgupkeep_job_last_due_timestamp_seconds" Gauge ["job_name", "target"] "When the job last fell due by its schedule, skipped firings left out; a success earlier than that is overdue.";
    LastEnd = "pgupkeep_job_last_end_timestamp_seconds" Gauge ["job_name", "target"] "When the job's newest finished run ended.";
    LastOutcome = "pgupkeep_job_last_outcome" Gauge ["job_name", "target", "outcome"] "Always 1; the label tells how the job's newest finished run ended.";
    LastDuration = "pgupkeep_job_last_duration_seconds" Gauge ["job_name", "target"] "How long the newest finished run took from its first attempt on.";
    LastBytesBefore = "pgupkeep_job_last_before_bytes" Gauge ["job_name", "target"] "Bytes of what the newest finished run worked on, before.";
    LastBytesAfter = "pgupkeep_job_last_after_bytes" Gauge ["job_name", "target"] "Bytes of what the newest finished run worked on, after.";
    NextDue = "pgupkeep_entry_next_due_timestamp_seconds" Gauge ["entry", "job_name"] "When the schedule entry falls due next; paused entries are left out.";
    Queued = "pgupkeep_runs_queued" Gauge ["job_name", "target"] "Runs that wait for a worker.";
    Running = "pgupkeep_runs_running" Gauge ["job_name", "target"] "Runs that are worked on.";
    QueueWait = "pgupkeep_queue_wait_seconds" Gauge [] "How long the run has waited that could have started first; 0 when none waits.";
    LeasesLapsed = "pgupkeep_leases_lapsed" Gauge [] "Running runs whose worker has let its lease run out.";
    HeartbeatAge = "pgupkeep_heartbeat_age_seconds" Gauge [] "How long ago the most silent worker of a running run was heard of.";
    NoticesWaiting = "pgupkeep_notices_waiting" Gauge [] "What people must be told and were not told yet.";
    Runs = "pgupkeep_runs_total" Counter ["job_name", "target", "outcome"] "Runs that this daemon has put on record as ended, by outcome.";
    RunSeconds = "pgupkeep_run_duration_seconds_total" Counter ["job_name", "target"] "Time that those runs took from their first attempts on.";
    Attempts = "pgupkeep_attempts_total" Counter ["job_name", "target", "outcome"] "Attempts that ended, by outcome; lost ones were rescued by this daemon.";
    Steps = "pgupkeep_steps_total" Counter ["job_name", "target", "outcome"] "Steps that ended, by outcome; inside a sequence under the inner job's name.";
    Statements = "pgupkeep_statements_total" Counter ["job_name", "target"] "Statements put on record and sent to the target.";
    FreedBytes = "pgupkeep_freed_bytes_total" Counter ["job_name", "target"] "Bytes by which tables and indexes were smaller after a step than before it.";
    ProcessCpu = "process_cpu_seconds_total" Counter [] "Processor time of the daemon.";
    ProcessMemory = "process_resident_memory_bytes" Gauge [] "Resident memory of the daemon.";
    ProcessFiles = "process_open_fds" Gauge [] "Open file descriptors of the daemon.";
    ProcessStart = "process_start_time_seconds" Gauge [] "When the daemon started, by its machine's clock.";
}

/// The samples of one scrape.
#[derive(Debug, Default)]
pub struct Exposition(BTreeMap<Metric, Vec<(Vec<String>, f64)>>);

impl Exposition {
    /// Adds a sample; the labels' values stand in the order of [`Metric::labels`].
    pub fn put(&mut self, metric: Metric, labels: &[&str], value: f64) {
        debug_assert_eq!(labels.len(), metric.labels().len(), "{}", metric.name());
        self.0.entry(metric).or_default().push((labels.iter().map(|value| (*value).to_owned()).collect(), value));
    }

    /// The page, in the text form 0.0.4.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (metric, samples) in &self.0 {
            let (name, sort) = (metric.name(), metric.sort().as_str());
            // Writing into a text does not fail.
            _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {sort}", metric.help());
            for (values, value) in samples {
                let labels = metric.labels().iter().zip(values);
                let labels: Vec<_> = labels.map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
                let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
                _ = writeln!(text, "{name}{labels} {value}");
            }
        }
        text
    }
}

/// A label's value between its quotes: whatever a job may be called, it stays one value.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_under_their_metric_in_the_order_of_the_table() {
        let mut page = Exposition::default();
        page.put(Metric::Statements, &["j", "t"], 3.0);
        page.put(Metric::ControlUp, &[], 1.0);
        page.put(Metric::Statements, &["k", "t"], 0.5);
        assert_eq!(
            page.text(),
            "# HELP pgupkeep_control_up 1 while the control database answers and its ledger is one that this daemon knows.\n\
             # TYPE pgupkeep_control_up gauge\n\
             pgupkeep_control_up 1\n\
             # HELP pgupkeep_statements_total Statements put on record and sent to the target.\n\
             # TYPE pgupkeep_statements_total counter\n\
             pgupkeep_statements_total{job_name=\"j\",target=\"t\"} 3\n\
             pgupkeep_statements_total{job_name=\"k\",target=\"t\"} 0.5\n"
        );
    }

    #[test]
    fn a_hostile_name_stays_one_value() {
        let check = |value: &str, expected: &str| assert_eq!(escaped(value), expected);
        check("plain", "plain");
        check("a\"} 1\nb{c=\"", "a\\\"} 1\\nb{c=\\\"");
        check("\\", "\\\\");
        check("größe; drop table", "größe; drop table");
    }

    #[test]
    fn names_are_unique_and_counters_are_told_by_their_name() {
        let mut names: Vec<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Metric::ALL.len());
        for metric in Metric::ALL {
            assert_eq!(metric.name().ends_with("_total"), metric.sort() == Sort::Counter, "{}", metric.name());
            assert!(!metric.help().contains(['\\', '\n']), "{}", metric.name());
            assert!(!metric.labels().contains(&"job"), "{}: Prometheus has a label `job` of its own", metric.name());
        }
    }
}
