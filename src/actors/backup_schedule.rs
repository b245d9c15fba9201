//! Submits the job `backup` when it is due.
//!
//! Every daemon of an installation does so; the job's id follows from the time it was due, so that a shared queue takes
//! it once.

use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::backup::schedule::Schedule;
use crate::jobs::SubmitError;
use crate::messages::job::NewJob;
use crate::supervisors::{Fault, ServiceContext};

use super::services::Services;

/// Longest sleep at once: a clock that is set is noticed by then.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Tells the jobs of a schedule from others of the same millisecond.
const ID: [u8; 10] = *b"tm-backup-";

/// Runs until asked to stop.
///
/// # Errors
/// If the schedule can't be read.
pub async fn run(services: Services, ctx: ServiceContext) -> Result<(), Fault> {
    let config = services.live.config.load_full();
    let times = config.backup.times().ok_or_else(|| Fault::broken("backup.schedule can't be read"))?;
    let submit = async |due: DateTime<Utc>| match services.jobs.submit(job(due)).await {
        Ok(_) => true,
        Err(SubmitError::Queue(error)) => {
            tracing::warn!(%error, %due, "a backup is due and can't be submitted yet");
            false
        }
        Err(SubmitError::Rejected(rejection)) => {
            tracing::error!(%rejection, %due, "a backup is due and is refused");
            true
        }
    };
    tokio::select! {
        () = ctx.stopping() => {}
        () = follow(&times, Utc::now, submit) => ctx.stopping().await, // no time is left in the schedule
    }
    Ok(())
}

/// The job that is due at this time.
#[must_use]
pub fn job(due: DateTime<Utc>) -> NewJob {
    let millis = due.timestamp_millis().max(0).cast_unsigned();
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &ID).into_uuid();
    NewJob { id: named(id), ..NewJob::new("backup", serde_json::Value::Null) }
}

fn named(id: Uuid) -> std::sync::Arc<str> {
    id.to_string().into()
}

/// Calls `submit` at each time of the schedule, again until it takes it or the next time comes. Ends with the schedule.
pub async fn follow(
    times: &Schedule,
    now: impl Fn() -> DateTime<Utc>,
    mut submit: impl AsyncFnMut(DateTime<Utc>) -> bool,
) {
    let mut waiting: Option<DateTime<Utc>> = None;
    let mut next = times.next_after(now());
    loop {
        let current = now();
        if let Some(due) = next.filter(|due| *due <= current) {
            // times that passed while the machine slept count once
            waiting = Some(due);
            next = times.next_after(current);
        }
        if let Some(due) = waiting
            && submit(due).await
        {
            waiting = None;
        }
        let pause = match next {
            None if waiting.is_none() => return,
            None => LOOK_EVERY,
            Some(due) => (due - now()).to_std().unwrap_or_default().min(LOOK_EVERY),
        };
        tokio::time::sleep(pause.max(Duration::from_millis(1))).await;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Follows a schedule for so long in virtual time; the queue refuses the first attempts.
    async fn followed(schedule: &str, seconds: u64, mut refusals: u32) -> Vec<(DateTime<Utc>, String)> {
        let times = Schedule::parse(schedule).unwrap();
        let epoch: DateTime<Utc> = "2026-11-29T01:59:30Z".parse().unwrap();
        let started = tokio::time::Instant::now();
        let now = || epoch + started.elapsed();
        let mut submitted = Vec::new();
        let submit = async |due: DateTime<Utc>| {
            if refusals > 0 {
                refusals -= 1;
                return false;
            }
            submitted.push((now(), job(due).id.to_string()));
            true
        };
        let _ = tokio::time::timeout(Duration::from_secs(seconds), follow(&times, now, submit)).await;
        submitted
    }

    #[tokio::test(start_paused = true)]
    async fn each_time_is_submitted_once_when_it_is_due() {
        let submitted = followed("0 2,3 * * *", 2 * 86_400, 0).await;
        let times: Vec<String> = submitted.iter().map(|(at, _)| at.format("%d %H:%M:%S").to_string()).collect();
        assert_eq!(times, ["29 02:00:00", "29 03:00:00", "30 02:00:00", "30 03:00:00"]);
    }

    #[tokio::test(start_paused = true)]
    async fn queue_that_is_away_is_asked_again() {
        let submitted = followed("0 2 * * *", 600, 3).await;
        assert_eq!(submitted.len(), 1);
        assert_eq!(submitted[0].0.format("%H:%M:%S").to_string(), "02:01:30");
    }

    #[test]
    fn daemons_name_the_job_of_one_time_alike() {
        let due: DateTime<Utc> = "2026-11-29T02:00:00Z".parse().unwrap();
        assert_eq!(job(due).id, job(due).id);
        assert_ne!(job(due).id, job(due + chrono::TimeDelta::seconds(1)).id);
        assert_eq!(Uuid::parse_str(&job(due).id).unwrap().get_version_num(), 7);
    }
}
