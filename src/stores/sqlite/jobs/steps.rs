//! The steps of a job's life, each within one transaction.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, params};
use serde_json::Value;

use super::rows::{self, JobRow};
use crate::messages::job::{Job, JobAttempt, JobChange, JobState, MAX_ERRORS, NewJob};
use crate::stores::jobs::{
    Beat, CALLED_OFF, Claim, EXPIRED, End, Enqueued, Held, JobError, Lease, MAX_CHANGES, Passed, QueueRules,
    lost_lease, millis, time,
};

/// What a step goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) rules: QueueRules,
    /// Milliseconds since the Unix epoch.
    pub(super) now: i64,
}

/// A step's answer, or why the queue does not do it; nothing is written then.
type Answer<T> = rusqlite::Result<Result<T, JobError>>;

impl Step {
    fn time(self) -> DateTime<Utc> {
        time(self.now).unwrap_or_default()
    }

    pub(super) fn enqueue(self, connection: &Connection, new: &NewJob, capacity: u64) -> Answer<Enqueued> {
        // the same call again, after its answer was lost
        if let Some(row) = rows::get(connection, &new.id)? {
            return Ok(Ok(Enqueued { job: row.job, existing: true }));
        }
        if let Some(key) = &new.key
            && let Some(row) = rows::by_key(connection, &new.kind, key)?
        {
            return Ok(Ok(Enqueued { job: row.job, existing: true }));
        }
        if rows::waiting(connection, &new.kind)? >= capacity {
            return Ok(Err(JobError::Full { kind: new.kind.clone(), capacity }));
        }
        let run_at = new.run_at.map_or(self.now, |at| at.timestamp_millis()).max(self.now);
        let job = Job {
            id: new.id.clone(),
            kind: new.kind.clone(),
            state: waiting_state(run_at, self.now),
            priority: new.priority,
            payload: new.payload.clone(),
            key: new.key.clone(),
            correlation_id: new.correlation_id.clone(),
            metadata: new.metadata.clone(),
            created_at: self.time(),
            run_at: time(run_at).unwrap_or_default(),
            expires_at: new.ttl_ms.and_then(|ttl| time(run_at.saturating_add(ttl))),
            started_at: None,
            finished_at: None,
            attempts: 0,
            max_attempts: new.max_attempts,
            replays: 0,
            progress: 0.0,
            message: None,
            worker: None,
            lease_expires_at: None,
            cancel_requested: false,
            result: None,
            reason: None,
            errors: Vec::new(),
        };
        let rank = self.rules.rank(run_at, new.priority);
        let row = JobRow { seq: 0, job, rank, ttl_ms: new.ttl_ms, fence: 0 };
        rows::insert(connection, &row)?;
        Ok(Ok(Enqueued { job: row.job, existing: false }))
    }

    pub(super) fn claim(
        self,
        connection: &Connection,
        kind: &str,
        worker: &str,
        lease_ms: i64,
    ) -> rusqlite::Result<Claim> {
        let changed = self.advance(connection, kind)?;
        let first = "state = 'queued' AND (expires_ms IS NULL OR expires_ms > ?2) ORDER BY rank, seq";
        let taken = match rows::select(connection, first, (kind, self.now), 1)?.pop() {
            None => None,
            Some(mut row) => {
                row.fence += 1;
                let job = &mut row.job;
                job.state = JobState::Running;
                job.attempts += 1;
                job.started_at = Some(self.time());
                job.expires_at = None;
                (job.progress, job.message, job.reason) = (0.0, None, None);
                job.worker = Some(worker.to_owned());
                job.lease_expires_at = time(self.now.saturating_add(lease_ms));
                rows::update(connection, &row)?;
                let lease = Lease { id: rows::id(&row), kind: row.job.kind.clone(), fence: row.fence };
                Some((row.job, lease))
            }
        };
        let next_ms = next_ms(connection, kind)?;
        Ok(Claim { taken, passed: Passed { changed, next_ms, now_ms: self.now } })
    }

    pub(super) fn beat(self, connection: &Connection, beat: &Beat, lease_ms: i64) -> rusqlite::Result<Held> {
        let (progress, message) = match &beat.progress {
            Some((progress, message)) => (Some(*progress), Some(message)),
            None => (None, None),
        };
        let mut held = connection.prepare_cached(
            "UPDATE analytics_jobs SET lease_ms = ?3, progress = coalesce(?4, progress), message = coalesce(?5, message)
            WHERE id = ?1 AND fence = ?2 AND state = 'running' RETURNING cancel_requested",
        )?;
        let until = self.now.saturating_add(lease_ms);
        let mut found =
            held.query(params![&*beat.lease.id, beat.lease.fence.cast_signed(), until, progress, message])?;
        Ok(match found.next()? {
            None => Held::Lost,
            Some(row) if row.get(0)? => Held::Cancelled,
            Some(_) => Held::Yes,
        })
    }

    pub(super) fn finish(self, connection: &Connection, lease: &Lease, end: End) -> Answer<Job> {
        let held = rows::get(connection, &lease.id)?
            .filter(|row| row.job.state == JobState::Running && row.fence == lease.fence);
        let Some(mut row) = held else { return Ok(Err(JobError::LeaseLost(lease.id.clone()))) };
        match end {
            End::Succeeded(result) => {
                row.job.result = Some(result).filter(|result| *result != Value::Null);
                row.job.progress = 1.0;
                self.end(&mut row, JobState::Succeeded, None);
            }
            End::Cancelled => self.end(&mut row, JobState::Cancelled, Some(CALLED_OFF.to_owned())),
            End::Failed { error, retry } => {
                self.note(&mut row, error.clone());
                match retry {
                    _ if row.job.cancel_requested => {
                        self.end(&mut row, JobState::Cancelled, Some(CALLED_OFF.to_owned()));
                    }
                    Some(wait) if row.job.attempts < row.job.max_attempts => {
                        let run_at = self.now.saturating_add(millis(wait));
                        row.job.run_at = time(run_at).unwrap_or_default();
                        row.rank = self.rules.rank(run_at, row.job.priority);
                        self.wait(&mut row, Some(error));
                    }
                    Some(_) | None => self.end(&mut row, JobState::Dead, Some(error)),
                }
            }
            End::GivenBack if row.job.cancel_requested => {
                self.end(&mut row, JobState::Cancelled, Some(CALLED_OFF.to_owned()));
            }
            End::GivenBack => {
                row.job.attempts = row.job.attempts.saturating_sub(1);
                self.wait(&mut row, None);
            }
        }
        rows::update(connection, &row)?;
        if row.job.state.is_finished() {
            self.trim(connection, &lease.kind)?;
        }
        Ok(Ok(row.job))
    }

    pub(super) fn cancel(self, connection: &Connection, id: &str) -> Answer<Job> {
        let Some(mut row) = rows::get(connection, id)? else { return Ok(Err(JobError::NotFound(id.to_owned()))) };
        match row.job.state {
            JobState::Queued | JobState::Delayed => {
                self.end(&mut row, JobState::Cancelled, Some(CALLED_OFF.to_owned()));
            }
            JobState::Running => row.job.cancel_requested = true,
            state @ (JobState::Succeeded | JobState::Dead | JobState::Cancelled | JobState::Skipped) => {
                return Ok(Err(JobError::Conflict(format!("job {id} is {state} already"))));
            }
        }
        rows::update(connection, &row)?;
        if row.job.state.is_finished() {
            self.trim(connection, &row.job.kind)?;
        }
        Ok(Ok(row.job))
    }

    pub(super) fn replay(self, connection: &Connection, id: &str, capacity: u64) -> Answer<Job> {
        let Some(mut row) = rows::get(connection, id)? else { return Ok(Err(JobError::NotFound(id.to_owned()))) };
        match row.job.state {
            JobState::Dead | JobState::Cancelled | JobState::Skipped => {}
            state @ (JobState::Queued | JobState::Delayed | JobState::Running | JobState::Succeeded) => {
                let why = format!("job {id} is {state}; only dead, cancelled and skipped jobs are replayed");
                return Ok(Err(JobError::Conflict(why)));
            }
        }
        if let Some(key) = &row.job.key
            && let Some(other) = rows::by_key(connection, &row.job.kind, key)?
        {
            let why = format!("job {} has the key {key:?} and is not finished", other.job.id);
            return Ok(Err(JobError::Conflict(why)));
        }
        if rows::waiting(connection, &row.job.kind)? >= capacity {
            return Ok(Err(JobError::Full { kind: row.job.kind, capacity }));
        }
        let job = &mut row.job;
        (job.attempts, job.replays, job.cancel_requested) = (0, job.replays + 1, false);
        (job.progress, job.message, job.started_at, job.finished_at) = (0.0, None, None, None);
        job.run_at = self.time();
        job.expires_at = row.ttl_ms.and_then(|ttl| time(self.now.saturating_add(ttl)));
        row.rank = self.rules.rank(self.now, row.job.priority);
        self.wait(&mut row, None);
        rows::update(connection, &row)?;
        Ok(Ok(row.job))
    }

    pub(super) fn sweep(self, connection: &Connection, kind: &str) -> rusqlite::Result<Passed> {
        let changed = self.advance(connection, kind)?;
        self.trim(connection, kind)?;
        Ok(Passed { changed, next_ms: next_ms(connection, kind)?, now_ms: self.now })
    }

    /// Gives back everything that runs: the workers are gone.
    pub(super) fn recover(self, connection: &Connection) -> rusqlite::Result<u64> {
        let mut kinds = connection.prepare("SELECT DISTINCT kind FROM analytics_jobs WHERE state = 'running'")?;
        let kinds: Vec<String> = kinds.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let mut count = 0;
        for kind in kinds {
            for mut row in
                rows::select(connection, "state = 'running' AND ?2 = ?2", (&kind, self.now), usize::MAX >> 1)?
            {
                let error = format!("worker {} ended", row.job.worker.as_deref().unwrap_or_default());
                self.take_back(&mut row, error);
                rows::update(connection, &row)?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// What time does: skips what was not started in time, takes jobs from workers not heard of, lets delayed jobs in.
    fn advance(self, connection: &Connection, kind: &str) -> rusqlite::Result<Vec<JobChange>> {
        let mut changed = Vec::new();
        let expired = "state IN ('queued', 'delayed') AND expires_ms <= ?2 ORDER BY expires_ms, seq";
        let lost = "state = 'running' AND lease_ms <= ?2 ORDER BY lease_ms, seq";
        let due = "state = 'delayed' AND run_at_ms <= ?2 ORDER BY run_at_ms, seq";
        for (condition, change) in [
            (expired, Self::expire as fn(Self, &mut JobRow)),
            (lost, Self::lose as fn(Self, &mut JobRow)),
            (due, (|_, row| row.job.state = JobState::Queued) as fn(Self, &mut JobRow)),
        ] {
            for mut row in rows::select(connection, condition, (kind, self.now), MAX_CHANGES)? {
                change(self, &mut row);
                rows::update(connection, &row)?;
                changed.push(JobChange::of(&row.job));
            }
        }
        if changed.iter().any(|change| change.state.is_finished()) {
            self.trim(connection, kind)?;
        }
        Ok(changed)
    }

    fn expire(self, row: &mut JobRow) {
        self.end(row, JobState::Skipped, Some(EXPIRED.to_owned()));
    }

    /// The worker was not heard of.
    fn lose(self, row: &mut JobRow) {
        let error = lost_lease(row.job.worker.as_deref().unwrap_or_default());
        self.take_back(row, error);
    }

    /// The job goes back to where it stood in the line, unless it has no attempt left.
    fn take_back(self, row: &mut JobRow, error: String) {
        self.note(row, error.clone());
        if row.job.cancel_requested {
            self.end(row, JobState::Cancelled, Some(CALLED_OFF.to_owned()));
        } else if row.job.attempts >= row.job.max_attempts {
            self.end(row, JobState::Dead, Some(error));
        } else {
            self.wait(row, Some(error));
        }
    }

    /// Keeps a failed attempt in the job's history.
    fn note(self, row: &mut JobRow, error: String) {
        let job = &mut row.job;
        let worker = job.worker.clone().unwrap_or_default();
        job.errors.push(JobAttempt { attempt: job.attempts, at: self.time(), worker, error });
        let over = job.errors.len().saturating_sub(MAX_ERRORS);
        job.errors.drain(..over);
    }

    fn wait(self, row: &mut JobRow, reason: Option<String>) {
        let job = &mut row.job;
        job.state = waiting_state(job.run_at.timestamp_millis(), self.now);
        (job.worker, job.lease_expires_at, job.reason) = (None, None, reason);
    }

    fn end(self, row: &mut JobRow, state: JobState, reason: Option<String>) {
        let job = &mut row.job;
        (job.state, job.reason, job.finished_at) = (state, reason, Some(self.time()));
        (job.worker, job.lease_expires_at, job.expires_at) = (None, None, None);
    }

    /// Forgets finished jobs beyond those to keep.
    fn trim(self, connection: &Connection, kind: &str) -> rusqlite::Result<()> {
        let keep = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let mut over = connection.prepare_cached(
            "DELETE FROM analytics_jobs WHERE seq IN (
                SELECT seq FROM analytics_jobs WHERE kind = ?1 AND state = ?2
                ORDER BY finished_ms DESC, seq DESC LIMIT 1000 OFFSET ?3)",
        )?;
        over.execute(params![kind, JobState::Dead.as_str(), keep(self.rules.keep_dead)])?;
        connection
            .prepare_cached(
                "DELETE FROM analytics_jobs WHERE seq IN (
                    SELECT seq FROM analytics_jobs
                    WHERE kind = ?1 AND state IN ('succeeded', 'cancelled', 'skipped')
                    ORDER BY finished_ms DESC, seq DESC LIMIT 1000 OFFSET ?2)",
            )?
            .execute(params![kind, keep(self.rules.keep_finished)])?;
        connection
            .prepare_cached(
                "DELETE FROM analytics_jobs
                WHERE kind = ?1 AND state IN ('succeeded', 'cancelled', 'skipped') AND finished_ms <= ?2",
            )?
            .execute(params![kind, self.now.saturating_sub(millis(self.rules.keep_for))])?;
        Ok(())
    }
}

const fn waiting_state(run_at: i64, now: i64) -> JobState {
    if run_at > now { JobState::Delayed } else { JobState::Queued }
}

/// When time does the next thing.
fn next_ms(connection: &Connection, kind: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached(
            "SELECT min(at) FROM (
                SELECT min(run_at_ms) AS at FROM analytics_jobs WHERE kind = ?1 AND state = 'delayed'
                UNION ALL
                SELECT min(lease_ms) FROM analytics_jobs WHERE kind = ?1 AND state = 'running'
                UNION ALL
                SELECT min(expires_ms) FROM analytics_jobs
                WHERE kind = ?1 AND expires_ms IS NOT NULL AND state IN ('queued', 'delayed'))",
        )?
        .query_row([kind], |row| row.get(0))
}
