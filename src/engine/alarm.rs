//! The alarm: one entry of tokio-cron-scheduler, in UTC, that rings a bell every second.
//!
//! It decides nothing. Its own idea of schedules freezes a zone's offset, loses bursts and falls silent when the clock
//! is set back (docs/decisions/0003-alarm.md); as a mere bell none of that can do harm, because the scheduler has a
//! second arm behind it and computes what is due by itself.

use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use super::bell::Bell;

/// The alarm could not be set.
#[derive(Debug, thiserror::Error)]
#[error("the alarm could not be set: {0}")]
pub struct AlarmError(#[from] JobSchedulerError);

/// A set alarm; it rings until the process ends.
pub struct Alarm(#[expect(dead_code, reason = "kept so that the alarm goes on")] JobScheduler);

impl std::fmt::Debug for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Alarm")
    }
}

/// Sets the alarm; to be called once in the life of a process.
///
/// # Errors
/// When the crate refuses its entry.
pub async fn set(bell: Bell) -> Result<Alarm, AlarmError> {
    let alarm = JobScheduler::new().await?;
    let every_second = Job::new_async("* * * * * *", move |_, _| {
        let bell = bell.clone();
        Box::pin(async move { bell.ring() })
    })?;
    alarm.add(every_second).await?;
    alarm.start().await?;
    Ok(Alarm(alarm))
}
