//! Reading and writing rows of jobs.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rusqlite::types::{Type, Value};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::super::queries::{damaged, from_json, text};
use super::super::verdicts::json;
use crate::messages::job::{Job, JobState};
use crate::stores::documents::Page;
use crate::stores::jobs::{Depth, JobFilter, encode_cursor, time};

const COLUMNS: &str = "id, kind, state, priority, key, correlation_id, payload, metadata, created_ms, run_at_ms, rank, \
     ttl_ms, expires_ms, started_ms, finished_ms, attempts, max_attempts, replays, progress, message, worker, fence, \
     lease_ms, cancel_requested, result, reason, errors, seq";

/// A job with what only the queue needs of it.
#[derive(Debug, Clone)]
pub(super) struct JobRow {
    pub(super) seq: i64,
    pub(super) job: Job,
    pub(super) rank: i64,
    pub(super) ttl_ms: Option<i64>,
    pub(super) fence: u64,
}

/// The job of this id.
pub(super) fn get(connection: &Connection, id: &str) -> rusqlite::Result<Option<JobRow>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM analytics_jobs WHERE id = ?1"))?
        .query_row([id], job_row)
        .optional()
}

/// Jobs of a kind that meet a condition with one parameter, in this order.
pub(super) fn select(
    connection: &Connection,
    condition: &str,
    (kind, now): (&str, i64),
    limit: usize,
) -> rusqlite::Result<Vec<JobRow>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM analytics_jobs WHERE kind = ?1 AND {condition} LIMIT {limit}"))?
        .query_map(params![kind, now], job_row)?
        .collect()
}

/// One page, newest first.
pub(super) fn list(connection: &Connection, filter: &JobFilter, before: i64) -> rusqlite::Result<Page<Job>> {
    let mut conditions = vec!["seq < ?"];
    let mut values: Vec<Value> = vec![before.into()];
    if let Some(state) = filter.state {
        conditions.push("state = ?");
        values.push(state.as_str().to_owned().into());
    }
    if let Some(kind) = &filter.kind {
        conditions.push("kind = ?");
        values.push(kind.clone().into());
    }
    values.push(i64::try_from(filter.limit + 1).unwrap_or(i64::MAX).into());
    let sql =
        format!("SELECT {COLUMNS} FROM analytics_jobs WHERE {} ORDER BY seq DESC LIMIT ?", conditions.join(" AND "));
    let mut rows: Vec<JobRow> = connection
        .prepare_cached(&sql)?
        .query_map(params_from_iter(values), job_row)?
        .collect::<rusqlite::Result<_>>()?;
    let more = rows.len() > filter.limit;
    rows.truncate(filter.limit);
    let next_cursor = rows.last().filter(|_| more).map(|row| encode_cursor(row.seq));
    Ok(Page { items: rows.into_iter().map(|row| row.job).collect(), next_cursor })
}

/// How many there are.
pub(super) fn depths(connection: &Connection) -> rusqlite::Result<Vec<Depth>> {
    let mut found: Vec<Depth> = Vec::new();
    let mut statement = connection.prepare_cached(
        "SELECT kind, state, count(*) FROM analytics_jobs WHERE state IN ('queued', 'delayed', 'running', 'dead')
        GROUP BY kind, state ORDER BY kind",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (kind, state, count): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let count = count.cast_unsigned();
        if found.last().is_none_or(|depth| depth.kind != kind) {
            found.push(Depth { kind, queued: 0, delayed: 0, running: 0, dead: 0 });
        }
        let Some(depth) = found.last_mut() else { continue };
        match state.as_str() {
            "queued" => depth.queued = count,
            "delayed" => depth.delayed = count,
            "running" => depth.running = count,
            _ => depth.dead = count,
        }
    }
    Ok(found)
}

/// How many jobs of this kind wait.
pub(super) fn waiting(connection: &Connection, kind: &str) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT count(*) FROM analytics_jobs WHERE kind = ?1 AND state IN ('queued', 'delayed')")?
        .query_row([kind], |row| row.get(0).map(i64::cast_unsigned))
}

/// The unfinished job with this key.
pub(super) fn by_key(connection: &Connection, kind: &str, key: &str) -> rusqlite::Result<Option<JobRow>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM analytics_jobs
            WHERE kind = ?1 AND key = ?2 AND state IN ('queued', 'delayed', 'running')"
        ))?
        .query_row(params![kind, key], job_row)
        .optional()
}

/// Puts a new job in.
pub(super) fn insert(connection: &Connection, row: &JobRow) -> rusqlite::Result<()> {
    let job = &row.job;
    connection
        .prepare_cached(
            "INSERT INTO analytics_jobs (id, kind, state, priority, key, correlation_id, payload, metadata, created_ms,
                run_at_ms, rank, ttl_ms, expires_ms, attempts, max_attempts, replays, progress, fence, cancel_requested,
                errors)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 0, ?14, 0, 0, 0, 0, '[]')",
        )?
        .execute(params![
            &*job.id,
            &*job.kind,
            job.state.as_str(),
            job.priority,
            job.key,
            job.correlation_id,
            json(&job.payload)?,
            json(&job.metadata)?,
            job.created_at.timestamp_millis(),
            job.run_at.timestamp_millis(),
            row.rank,
            row.ttl_ms,
            job.expires_at.map(|at| at.timestamp_millis()),
            job.max_attempts,
        ])?;
    Ok(())
}

/// Writes what a step may have changed.
pub(super) fn update(connection: &Connection, row: &JobRow) -> rusqlite::Result<()> {
    let job = &row.job;
    let ms = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp_millis());
    connection
        .prepare_cached(
            "UPDATE analytics_jobs SET state = ?2, run_at_ms = ?3, rank = ?4, expires_ms = ?5, started_ms = ?6,
                finished_ms = ?7, attempts = ?8, replays = ?9, progress = ?10, message = ?11, worker = ?12, fence = ?13,
                lease_ms = ?14, cancel_requested = ?15, result = ?16, reason = ?17, errors = ?18
            WHERE seq = ?1",
        )?
        .execute(params![
            row.seq,
            job.state.as_str(),
            job.run_at.timestamp_millis(),
            row.rank,
            ms(job.expires_at),
            ms(job.started_at),
            ms(job.finished_at),
            job.attempts,
            job.replays,
            job.progress,
            job.message,
            job.worker,
            row.fence.cast_signed(),
            ms(job.lease_expires_at),
            job.cancel_requested,
            job.result.as_ref().map(json).transpose()?,
            job.reason,
            json(&job.errors)?,
        ])?;
    Ok(())
}

fn job_row(row: &Row<'_>) -> rusqlite::Result<JobRow> {
    let state: String = row.get(2)?;
    let state = JobState::parse(&state).ok_or_else(|| damaged(2, Type::Text, format!("state {state}").into()))?;
    let result: Option<String> = row.get(24)?;
    let result = result
        .map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|error| damaged(24, Type::Text, error.into()))?;
    let job = Job {
        id: text(row, 0)?,
        kind: text(row, 1)?,
        state,
        priority: row.get(3)?,
        payload: from_json(row, 6)?,
        key: row.get(4)?,
        correlation_id: row.get(5)?,
        metadata: from_json(row, 7)?,
        created_at: at(row, 8)?,
        run_at: at(row, 9)?,
        expires_at: at_maybe(row, 12)?,
        started_at: at_maybe(row, 13)?,
        finished_at: at_maybe(row, 14)?,
        attempts: row.get(15)?,
        max_attempts: row.get(16)?,
        replays: row.get(17)?,
        progress: row.get(18)?,
        message: row.get(19)?,
        worker: row.get(20)?,
        lease_expires_at: at_maybe(row, 22)?,
        cancel_requested: row.get(23)?,
        result,
        reason: row.get(25)?,
        errors: from_json(row, 26)?,
    };
    let fence = row.get(21).map(i64::cast_unsigned)?;
    Ok(JobRow { seq: row.get(27)?, job, rank: row.get(10)?, ttl_ms: row.get(11)?, fence })
}

fn at(row: &Row<'_>, column: usize) -> rusqlite::Result<DateTime<Utc>> {
    time(row.get(column)?).ok_or_else(|| damaged(column, Type::Integer, "a time".into()))
}

fn at_maybe(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<DateTime<Utc>>> {
    let ms: Option<i64> = row.get(column)?;
    ms.map(|ms| time(ms).ok_or_else(|| damaged(column, Type::Integer, "a time".into()))).transpose()
}

/// The job's id, shared.
pub(super) fn id(row: &JobRow) -> Arc<str> {
    Arc::clone(&row.job.id)
}
