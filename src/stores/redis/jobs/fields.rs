//! Jobs as hashes of text.

use std::collections::HashMap;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::messages::job::{Job, JobAttempt, JobChange, JobState};
use crate::stores::jobs::{Depth, JobError, time};

/// A failed attempt as the scripts write it.
#[derive(Deserialize)]
struct Line {
    attempt: u32,
    at: i64,
    worker: String,
    error: String,
}

/// Reads a number.
pub(super) fn read<T: FromStr>(name: &str, text: &str) -> Result<T, JobError> {
    text.parse().map_err(|_| damaged(name, text))
}

fn damaged(name: &str, text: &str) -> JobError {
    JobError::Damaged(format!("a job in redis has {name} {text:?}"))
}

struct Fields(HashMap<String, String>);

impl Fields {
    fn of(flat: Vec<String>) -> Self {
        let mut map = HashMap::with_capacity(flat.len() / 2);
        let mut flat = flat.into_iter();
        while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
            map.insert(name, value);
        }
        Self(map)
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    fn text(&mut self, name: &str) -> Result<String, JobError> {
        self.take(name).ok_or_else(|| JobError::Damaged(format!("a job in redis has no {name}")))
    }

    fn number<T: FromStr>(&mut self, name: &str) -> Result<T, JobError> {
        let text = self.text(name)?;
        read(name, &text)
    }

    fn time(&mut self, name: &str) -> Result<Option<DateTime<Utc>>, JobError> {
        let Some(text) = self.take(name) else { return Ok(None) };
        time(read(name, &text)?).ok_or_else(|| damaged(name, &text)).map(Some)
    }

    fn json<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, JobError> {
        let text = self.text(name)?;
        serde_json::from_str(&text).map_err(|_| damaged(name, &text))
    }
}

/// The job and its fence.
pub(super) fn job(flat: Vec<String>) -> Result<(Job, u64), JobError> {
    let mut fields = Fields::of(flat);
    let missing = |name: &str| JobError::Damaged(format!("a job in redis has no {name}"));
    let state = fields.text("state")?;
    let result = fields.take("result");
    let result = result.map(|text| serde_json::from_str(&text).map_err(|_| damaged("result", &text))).transpose()?;
    let errors = fields.take("errors").unwrap_or_default();
    let errors = errors.lines().map(attempt).collect::<Result<_, _>>()?;
    let job = Job {
        id: fields.text("id")?.into(),
        kind: fields.text("kind")?.into(),
        state: JobState::parse(&state).ok_or_else(|| damaged("state", &state))?,
        priority: fields.number("priority")?,
        payload: fields.json("payload")?,
        key: fields.take("key"),
        correlation_id: fields.text("correlation_id")?,
        metadata: fields.json("metadata")?,
        created_at: fields.time("created")?.ok_or_else(|| missing("created"))?,
        run_at: fields.time("run_at")?.ok_or_else(|| missing("run_at"))?,
        expires_at: fields.time("expires")?,
        started_at: fields.time("started")?,
        finished_at: fields.time("finished")?,
        attempts: fields.number("attempts")?,
        max_attempts: fields.number("max_attempts")?,
        replays: fields.number("replays")?,
        progress: fields.number("progress")?,
        message: fields.take("message"),
        worker: fields.take("worker"),
        lease_expires_at: fields.time("lease")?,
        cancel_requested: fields.take("cancel").is_some(),
        result,
        reason: fields.take("reason"),
        errors,
    };
    Ok((job, fields.number("fence")?))
}

fn attempt(line: &str) -> Result<JobAttempt, JobError> {
    let Line { attempt, at, worker, error } = serde_json::from_str(line).map_err(|_| damaged("errors", line))?;
    let at = time(at).ok_or_else(|| damaged("errors", line))?;
    Ok(JobAttempt { attempt, at, worker, error })
}

/// Place of the job in the order of all.
pub(super) fn seq(flat: &[String]) -> Result<i64, JobError> {
    let at = flat.iter().step_by(2).position(|name| name == "seq");
    let text = at.and_then(|at| flat.get(at * 2 + 1)).map(String::as_str).unwrap_or_default();
    read("seq", text)
}

/// A change as the scripts tell it.
pub(super) fn change(row: Vec<String>) -> Result<JobChange, JobError> {
    let Ok([id, kind, correlation_id, state, attempts, reason]) = <[String; 6]>::try_from(row) else {
        return Err(JobError::Damaged("the queue's script told half a change".to_owned()));
    };
    Ok(JobChange {
        id: id.into(),
        kind: kind.into(),
        correlation_id,
        state: JobState::parse(&state).ok_or_else(|| damaged("state", &state))?,
        attempts: read("attempts", &attempts)?,
        reason: Some(reason).filter(|reason| !reason.is_empty()),
    })
}

/// Counts of one kind.
pub(super) fn depth(row: Vec<String>) -> Result<Depth, JobError> {
    let Ok([kind, queued, delayed, running, dead]) = <[String; 5]>::try_from(row) else {
        return Err(JobError::Damaged("the queue's script told half a depth".to_owned()));
    };
    Ok(Depth {
        kind,
        queued: read("queued", &queued)?,
        delayed: read("delayed", &delayed)?,
        running: read("running", &running)?,
        dead: read("dead", &dead)?,
    })
}
