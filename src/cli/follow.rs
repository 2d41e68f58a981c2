//! Following a run from outside until it has ended: a bar on a terminal, plain lines elsewhere.
//!
//! What is shown is read from the ledger, so it is the same whoever performs the run. It goes to standard error; the
//! answer alone goes to standard output.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::output;
use crate::ledger::history::{ActiveRow, Standing, StepRow};
use crate::ledger::{Ledger, LedgerError};
use crate::pg::progress::Progress;

/// How often the ledger is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(400);
/// How often a long phase is told of in plain lines.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// A run to follow, and what it is called meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Followed {
    /// The run.
    pub(super) run_id: Uuid,
    /// Its job and target, such as `vacuum on mlflow`.
    pub(super) name: String,
}

/// Where it is shown how runs go.
#[derive(Debug, Clone)]
pub(super) enum Screen {
    /// A terminal: a bar for each run, and lines above them.
    Bars(MultiProgress),
    /// Anything else: lines.
    Lines,
}

impl Screen {
    /// Bars where a person looks on, lines elsewhere.
    pub(super) fn new() -> Self {
        if output::is_watched() { Self::Bars(MultiProgress::new()) } else { Self::Lines }
    }

    /// Prints a line.
    pub(super) fn line(&self, text: &str) {
        match self {
            // A terminal that went away does not want the line.
            Self::Bars(bars) => drop(bars.println(output::harmless(text))),
            Self::Lines => output::tell(text),
        }
    }

    fn bar(&self) -> ProgressBar {
        match self {
            Self::Bars(bars) => {
                let bar = bars.add(ProgressBar::new_spinner());
                bar.enable_steady_tick(Duration::from_millis(200));
                bar
            }
            Self::Lines => ProgressBar::hidden(),
        }
    }
}

/// Follows a run until it has ended, and shows each step and what the run waits for; `None` when its row is gone. With
/// `soon` it looks at once: whoever performs the run knows when that is over.
///
/// # Errors
/// When the control database fails in a way that waiting does not mend.
pub(super) async fn follow(
    ledger: &Ledger,
    run: &Followed,
    screen: &Screen,
    soon: &Notify,
) -> Result<Option<Standing>, LedgerError> {
    let bar = screen.bar();
    let mut view = View { run, screen, bar: bar.clone(), after: 0, said: None, waits: None, phase: None, away: false };
    let ended = loop {
        match look(ledger, run.run_id, view.after).await {
            Ok(Seen { standing, active, steps }) => {
                view.away = false;
                view.show_steps(&steps);
                match standing {
                    None => break Ok(None),
                    Some(standing) if standing.state == "finished" => break Ok(Some(standing)),
                    Some(standing) => view.show(&standing, active.as_ref()),
                }
            }
            Err(error) if error.is_passing() => view.show_away(&error),
            Err(error) => break Err(error),
        }
        let _asked = tokio::time::timeout(LOOK_EVERY, soon.notified()).await;
    };
    bar.finish_and_clear();
    ended
}

struct Seen {
    standing: Option<Standing>,
    active: Option<ActiveRow>,
    steps: Vec<StepRow>,
}

async fn look(ledger: &Ledger, run_id: Uuid, after: i64) -> Result<Seen, LedgerError> {
    // The standing first: once it says `finished`, every step is there to be read.
    let standing = ledger.standing(run_id).await?;
    let is_queued = standing.as_ref().is_some_and(|standing| standing.state == "queued");
    let active = if is_queued { ledger.active_runs(Some(run_id)).await?.pop() } else { None };
    // It may have been claimed between the two looks.
    let active = active.filter(|active| active.state == "queued");
    let steps = ledger.steps_after(run_id, after).await?;
    Ok(Seen { standing, active, steps })
}

/// What is shown of one run, and what was said already.
struct View<'a> {
    run: &'a Followed,
    screen: &'a Screen,
    bar: ProgressBar,
    /// The last step that was shown.
    after: i64,
    said: Option<String>,
    /// What it waited for at the last look; said only when it still does, since a short wait is no news.
    waits: Option<String>,
    phase: Option<(String, Instant)>,
    away: bool,
}

impl View<'_> {
    fn line(&self, text: &str) {
        self.screen.line(&format!("{}: {text}", self.run.name));
    }

    /// Shows what has ended since the last look, and remembers what has not.
    fn show_steps(&mut self, steps: &[StepRow]) {
        for step in steps {
            let Some(outcome) = &step.outcome else {
                self.bar.set_prefix(step.step.clone());
                return;
            };
            self.say_once("running".to_owned(), "at work");
            self.line(&step_line(step, outcome));
            self.after = step.step_id;
        }
        self.bar.set_prefix("");
    }

    fn show(&mut self, standing: &Standing, active: Option<&ActiveRow>) {
        let Some(active) = active else {
            self.waits = None;
            self.say_once("running".to_owned(), "at work");
            self.show_progress(standing.progress.as_ref().map(|progress| &progress.0));
            return;
        };
        let (key, words) = waiting(active);
        self.bar.set_style(spinner());
        self.bar.set_message(format!("{}: {words}", self.run.name));
        if self.waits.replace(key.clone()).as_ref() == Some(&key) {
            self.say_once(key, &words);
        }
    }

    fn show_progress(&mut self, progress: Option<&Progress>) {
        let step = self.bar.prefix();
        let Some(progress) = progress else {
            self.bar.set_style(spinner());
            self.bar.set_message(format!("{}: {}", self.run.name, if step.is_empty() { "at work" } else { &step }));
            return;
        };
        let what = match &progress.relation {
            Some(relation) => format!("{} {relation}, {}", progress.command, progress.phase),
            None => format!("{}, {}", progress.command, progress.phase),
        };
        self.bar.set_style(if progress.total > 0 { gauge() } else { spinner() });
        self.bar.set_length(progress.total.unsigned_abs());
        self.bar.set_position(progress.done.unsigned_abs());
        self.bar.set_message(format!("{}: {what}", self.run.name));
        let is_told = self.phase.as_ref().is_some_and(|(told, at)| *told == what && at.elapsed() < TELL_EVERY);
        if matches!(self.screen, Screen::Lines) && !is_told {
            let percent = output::or_blank(progress.percent().map(|percent| format!(" {percent:.0}%")));
            self.line(&format!("{what}{percent}"));
            self.phase = Some((what, Instant::now()));
        }
    }

    fn show_away(&mut self, error: &LedgerError) {
        if !self.away {
            self.line(&format!("{error}; still waiting, the run itself is not touched by this"));
            self.away = true;
        }
    }

    /// Says something new; what was said last is not repeated, and a bar says it already.
    fn say_once(&mut self, key: String, words: &str) {
        if self.said.as_ref() != Some(&key) {
            if matches!(self.screen, Screen::Lines) {
                self.line(words);
            }
            self.said = Some(key);
        }
    }
}

/// What a queued run waits for: what it is recognised by, and in words.
fn waiting(active: &ActiveRow) -> (String, String) {
    let reason = active.reason.as_deref().unwrap_or_default();
    if let (Some(run_id), Some(job)) = (active.blocked_by, &active.blocked_by_job) {
        let words = format!("waits for {job} ({run_id}), which works on what it needs");
        return (words.clone(), words);
    }
    if active.attempts > 0 && active.waits_seconds > 0.0 {
        let key = format!("{} {reason}", active.attempts);
        return (key, format!("{reason}; goes on in {:.0}s", active.waits_seconds.ceil()));
    }
    let words = "waits for a worker".to_owned();
    (words.clone(), words)
}

/// A step that ended, in one line.
fn step_line(step: &StepRow, outcome: &str) -> String {
    let word = if outcome == "not_done" { "not done" } else { outcome };
    let took = step.finished_at.map(|finished| (finished - step.sent_at).num_milliseconds());
    let mut facts: Vec<String> = took.map(output::elapsed).into_iter().collect();
    facts.extend(step.rows_affected.filter(|rows| *rows > 0).map(output::rows));
    let size = super::history::bytes(step.bytes_before, step.bytes_after);
    if !size.is_empty() {
        facts.push(size);
    }
    // A step that is a refusal says why in its own name.
    let error = step.error.as_deref().filter(|error| !step.step.ends_with(error));
    let error = output::or_blank(error.map(|error| format!(": {error}")));
    format!("{word}: {} ({}){error}", step.step, facts.join(", "))
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn gauge() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {wide_msg} [{bar:24}] {percent:>3}% {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
