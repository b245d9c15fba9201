//! The job queue in Redis, shared by all daemons: every call is one script, atomic on the server, which works on Redis 7
//! and later, with and without vector sets.
//!
//! Leases are judged by the server's clock, so that daemons whose clocks differ agree. Word of new jobs and of calls to
//! end goes over a channel to every daemon; while that is cut, dispatchers ask more often.

mod announcements;
mod fields;
mod scripts;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redis::{FromRedisValue, Script};
use tokio::sync::broadcast;

use self::announcements::Announcements;
use self::fields::{change, job, read};
use self::scripts::Scripts;
use super::Redis;
use crate::messages::job::{Job, NewJob};
use crate::stores::documents::{Page, StoreError};
use crate::stores::jobs::{
    Beat, Claim, Clock, Depth, End, Enqueued, Held, JobError, JobFilter, JobQueue, Lease, Passed, QueueRules, Wake,
    checked_limit, decode_cursor, encode_cursor, millis,
};

/// Jobs one script looks at for a listing: others must not wait for long.
const LOOKS: usize = 500;

/// What a script answers that changes one job: how it went, and the job's fields.
type Answer = (String, Vec<String>);

/// The queue.
pub struct RedisJobs {
    redis: Redis,
    /// What all keys begin with.
    prefix: String,
    rules: QueueRules,
    clock: Clock,
    scripts: Scripts,
    announcements: Announcements,
    /// Whether the server's own settings were looked at.
    looked: AtomicBool,
}

impl RedisJobs {
    /// Over a connection; the server may be away for now.
    #[must_use]
    pub fn new(redis: Redis, rules: QueueRules, clock: Clock) -> Self {
        // the braces keep all keys in one slot of a cluster
        let prefix = redis.key("{jobs}");
        let announcements = Announcements::listen(&redis, format!("{prefix}:wake"));
        let looked = AtomicBool::new(false);
        Self { redis, prefix, rules, clock, scripts: Scripts::default(), announcements, looked }
    }

    /// Warns once of a server that may forget jobs by itself. One that does not tell its settings is trusted.
    async fn look_at_settings(&self) {
        if self.looked.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut command = redis::cmd("CONFIG");
        command.arg("GET").arg("maxmemory-policy").arg("appendonly");
        let Ok(settings) = self.redis.query::<HashMap<String, String>>("job_settings", command).await else { return };
        let setting = |name: &str| settings.get(name).map(String::as_str);
        let address = self.redis.address();
        if let Some(policy) = setting("maxmemory-policy").filter(|policy| *policy != "noeviction") {
            tracing::warn!(address, policy, "redis may drop jobs when it is full, set maxmemory-policy noeviction");
        }
        if setting("appendonly") == Some("no") {
            tracing::warn!(address, "redis loses jobs when it crashes, set appendonly yes");
        }
    }

    /// Runs a script with the arguments all of them begin with.
    async fn run<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &Arc<Script>,
        own: Vec<Vec<u8>>,
    ) -> Result<T, JobError> {
        let keep = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let mut arguments: Vec<Vec<u8>> = [
            self.clock.manual_ms().unwrap_or(-1),
            millis(self.rules.aging),
            keep(self.rules.keep_finished),
            keep(self.rules.keep_dead),
            millis(self.rules.keep_for),
        ]
        .into_iter()
        .map(number)
        .collect();
        arguments.extend(own);
        Ok(self.redis.script(operation, script, vec![self.prefix.clone()], arguments).await?)
    }
}

fn number(value: i64) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn bytes(value: &str) -> Vec<u8> {
    value.as_bytes().to_vec()
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, JobError> {
    serde_json::to_vec(value).map_err(|error| JobError::Refused(error.to_string()))
}

fn full(kind: &Arc<str>, capacity: u64) -> JobError {
    JobError::Full { kind: Arc::clone(kind), capacity }
}

fn strange(answer: &str) -> JobError {
    JobError::Damaged(format!("the queue's script answered {answer:?}"))
}

fn limit(count: u64) -> Vec<u8> {
    number(i64::try_from(count).unwrap_or(i64::MAX))
}

fn passed(now: &str, next: &str, changed: Vec<Vec<String>>) -> Result<Passed, JobError> {
    let next_ms: i64 = read("next", next)?;
    let changed = changed.into_iter().map(change).collect::<Result<_, _>>()?;
    Ok(Passed { changed, next_ms: Some(next_ms).filter(|at| *at >= 0), now_ms: read("now", now)? })
}

impl JobQueue for RedisJobs {
    fn enqueue(&self, new: NewJob, capacity: u64) -> BoxFuture<'_, Result<Enqueued, JobError>> {
        async move {
            let own = vec![
                bytes(&new.id),
                bytes(&new.kind),
                number(new.priority.into()),
                number(new.run_at.map_or(-1, |at| at.timestamp_millis())),
                number(new.ttl_ms.unwrap_or(-1)),
                bytes(new.key.as_deref().unwrap_or_default()),
                limit(capacity),
                number(new.max_attempts.into()),
                bytes(&new.correlation_id),
                json(&new.payload)?,
                json(&new.metadata)?,
            ];
            let (how, fields): Answer = self.run("job_enqueue", &self.scripts.enqueue, own).await?;
            match how.as_str() {
                "full" => Err(full(&new.kind, capacity)),
                "new" | "existing" => Ok(Enqueued { job: job(fields)?.0, existing: how == "existing" }),
                other => Err(strange(other)),
            }
        }
        .boxed()
    }

    fn claim<'a>(&'a self, kind: &'a str, worker: &'a str, lease: Duration) -> BoxFuture<'a, Result<Claim, JobError>> {
        async move {
            let own = vec![bytes(kind), bytes(worker), number(millis(lease))];
            let (now, next, changed, fields): (String, String, Vec<Vec<String>>, Vec<String>) =
                self.run("job_claim", &self.scripts.claim, own).await?;
            let passed = passed(&now, &next, changed)?;
            if fields.is_empty() {
                return Ok(Claim { taken: None, passed });
            }
            let (job, fence) = job(fields)?;
            let lease = Lease { id: job.id.clone(), kind: job.kind.clone(), fence };
            Ok(Claim { taken: Some((job, lease)), passed })
        }
        .boxed()
    }

    fn beat(&self, beats: Vec<Beat>, lease: Duration) -> BoxFuture<'_, Result<Vec<Held>, JobError>> {
        async move {
            let mut own = vec![number(millis(lease))];
            for Beat { lease, progress } in beats {
                let (news, (progress, message)) = (progress.is_some(), progress.unwrap_or_default());
                own.extend([bytes(&lease.id), bytes(&lease.fence.to_string()), number(news.into())]);
                own.extend([progress.to_string().into_bytes(), message.into_bytes()]);
            }
            let answers: Vec<i64> = self.run("job_beat", &self.scripts.beat, own).await?;
            let held = answers.into_iter().map(|answer| match answer {
                0 => Held::Lost,
                2 => Held::Cancelled,
                _ => Held::Yes,
            });
            Ok(held.collect())
        }
        .boxed()
    }

    fn finish(&self, lease: Lease, end: End) -> BoxFuture<'_, Result<Job, JobError>> {
        async move {
            let (how, said, retry) = match end {
                End::Succeeded(result) => ("succeeded", json(&result)?, None),
                End::Failed { error, retry } => ("failed", error.into_bytes(), retry),
                End::Cancelled => ("cancelled", Vec::new(), None),
                End::GivenBack => ("given_back", Vec::new(), None),
            };
            let own = vec![
                bytes(&lease.id),
                bytes(&lease.fence.to_string()),
                bytes(how),
                said,
                number(retry.map_or(-1, millis)),
            ];
            let (how, fields): Answer = self.run("job_finish", &self.scripts.finish, own).await?;
            match how.as_str() {
                "lost" => Err(JobError::LeaseLost(lease.id)),
                "done" => Ok(job(fields)?.0),
                other => Err(strange(other)),
            }
        }
        .boxed()
    }

    fn cancel<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Job, JobError>> {
        async move {
            let (how, fields): Answer = self.run("job_cancel", &self.scripts.cancel, vec![bytes(id)]).await?;
            match how.as_str() {
                "missing" => Err(JobError::NotFound(id.to_owned())),
                "done" => Ok(job(fields)?.0),
                state => Err(JobError::Conflict(format!("job {id} is {state} already"))),
            }
        }
        .boxed()
    }

    fn replay<'a>(&'a self, id: &'a str, capacity: u64) -> BoxFuture<'a, Result<Job, JobError>> {
        async move {
            let own = vec![bytes(id), limit(capacity)];
            let (how, fields): Answer = self.run("job_replay", &self.scripts.replay, own).await?;
            match how.as_str() {
                "missing" => Err(JobError::NotFound(id.to_owned())),
                "full" => {
                    let kind = self.get(id).await?.map_or_else(|| "?".into(), |job| job.kind);
                    Err(full(&kind, capacity))
                }
                "taken" => {
                    let other = fields.first().map(String::as_str).unwrap_or_default();
                    Err(JobError::Conflict(format!("job {other} has its key and is not finished")))
                }
                "done" => Ok(job(fields)?.0),
                state => {
                    let why = format!("job {id} is {state}; only dead, cancelled and skipped jobs are replayed");
                    Err(JobError::Conflict(why))
                }
            }
        }
        .boxed()
    }

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Job>, JobError>> {
        async move {
            let mut command = redis::cmd("HGETALL");
            command.arg(format!("{}:job:{id}", self.prefix));
            let fields: Vec<String> = self.redis.query("job_get", command).await?;
            if fields.is_empty() { Ok(None) } else { Ok(Some(job(fields)?.0)) }
        }
        .boxed()
    }

    fn list(&self, filter: JobFilter) -> BoxFuture<'_, Result<Page<Job>, JobError>> {
        async move {
            let wanted = checked_limit(filter.limit)? + 1;
            let before = decode_cursor(filter.cursor.as_deref())?;
            let mut before = if before == i64::MAX { "+inf".to_owned() } else { before.to_string() };
            let mut found: Vec<Vec<String>> = Vec::new();
            loop {
                let own = vec![
                    bytes(&before),
                    limit((wanted - found.len()) as u64),
                    bytes(filter.state.map_or("", |state| state.as_str())),
                    bytes(filter.kind.as_deref().unwrap_or_default()),
                    limit(LOOKS as u64),
                ];
                let (last, ended, more): (String, i64, Vec<Vec<String>>) =
                    self.run("job_list", &self.scripts.list, own).await?;
                found.extend(more);
                if ended == 1 || found.len() >= wanted || last.is_empty() {
                    break;
                }
                before = last;
            }
            let more = found.len() >= wanted;
            found.truncate(filter.limit);
            let seq = found.last().filter(|_| more).map(|fields| fields::seq(fields)).transpose()?;
            let items = found.into_iter().map(|fields| Ok(job(fields)?.0)).collect::<Result<_, JobError>>()?;
            Ok(Page { items, next_cursor: seq.map(encode_cursor) })
        }
        .boxed()
    }

    fn sweep<'a>(&'a self, kind: &'a str) -> BoxFuture<'a, Result<Passed, JobError>> {
        async move {
            let (now, next, changed): (String, String, Vec<Vec<String>>) =
                self.run("job_sweep", &self.scripts.sweep, vec![bytes(kind)]).await?;
            passed(&now, &next, changed)
        }
        .boxed()
    }

    fn depths(&self) -> BoxFuture<'_, Result<Vec<Depth>, JobError>> {
        async move {
            let rows: Vec<Vec<String>> = self.run("job_depths", &self.scripts.depths, Vec::new()).await?;
            rows.into_iter().map(fields::depth).collect()
        }
        .boxed()
    }

    fn subscribe(&self) -> broadcast::Receiver<Wake> {
        self.announcements.subscribe()
    }

    fn hears_others(&self) -> bool {
        self.announcements.are_heard()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), JobError>> {
        async move {
            let server = self.redis.check().await?;
            if server.writable {
                self.look_at_settings().await;
                return Ok(());
            }
            let said = format!("redis at {} is a read-only replica", self.redis.address());
            Err(StoreError::Unavailable(said).into())
        }
        .boxed()
    }
}
