//! `[jobs]`: the job queue and its workers.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problems;
use crate::stores::jobs::QueueRules;
use crate::supervisors::Backoff;

/// Where jobs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobsBackend {
    /// In a `SQLite` file of this daemon.
    Sqlite,
    /// In Redis (section `redis`), shared by all daemons.
    Redis,
}

/// The job queue and its workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JobsConfig {
    /// Where jobs are kept. Daemons that share Redis share the work.
    pub backend: JobsBackend,
    /// The `SQLite` file; a relative path counts from the data directory. Beside the documents' file, so that neither
    /// waits for the other's writes.
    pub sqlite_path: PathBuf,
    /// A worker not heard of for this long loses its job to another, seconds, 1 to 3600. Workers give sign of life four
    /// times as often, so a long job is safe however long it takes; after a crash this is the wait for the next attempt.
    pub lease_seconds: u64,
    /// A waiting job gains one level of priority in this time, seconds, 1 to 86400: after nine times as long nothing
    /// newer goes before it.
    pub aging_seconds: u64,
    /// How often the queue is asked for jobs when no word of a new one came, milliseconds, 10 to 60000. New jobs are
    /// announced, so this only bounds the delay when an announcement was lost.
    pub poll_ms: u64,
    /// Threads for handlers, 1 to 64. Handlers give heavy work to other pools; two keep one that does not from holding
    /// up the rest.
    pub threads: usize,
    /// Jobs of one kind that one daemon works on at once, 0 to 64; 0 works on none.
    pub workers: usize,
    /// Jobs of one kind that may wait, 1 to 1000000. Further ones are refused with 429.
    pub capacity: u64,
    /// Attempts of a job that names no number itself, 1 to 100. After the last it is dead.
    pub attempts: u32,
    /// Upper end of the random wait before the second attempt, milliseconds, 1 to 3600000. It doubles with each attempt.
    pub backoff_min_ms: u64,
    /// Upper end of any such wait, milliseconds, `backoff_min_ms` to 86400000.
    pub backoff_max_ms: u64,
    /// An attempt that takes longer is stopped and counts as failed, seconds, 1 to 604800.
    pub timeout_seconds: u64,
    /// Time a handler has to end in when its job is called off or took too long, seconds, 0 to 3600; then it is cut off.
    pub cancel_grace_seconds: u64,
    /// Time handlers have to end in when the daemon stops, seconds, 0 to 3600. Unfinished jobs are given back.
    pub drain_seconds: u64,
    /// Finished jobs kept per kind, newest first, 1 to 100000; dead ones are counted apart.
    pub keep_finished: usize,
    /// Dead jobs kept per kind, newest first, 1 to 100000.
    pub keep_dead: usize,
    /// Finished jobs are forgotten after this long, hours, 1 to 87600; dead ones stay.
    pub keep_hours: u64,
    /// Largest payload, in bytes of JSON, 1024 to 16777216. Large inputs belong in the log or a file.
    pub max_payload_bytes: usize,
    /// What is different for single kinds.
    pub kinds: KindsConfig,
}

/// One entry per kind; what is left out is as in `[jobs]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KindsConfig {
    /// Compares the vector index with the store of documents and repairs it.
    pub reindex: KindConfig,
    /// Simulates a strategy on bars.
    pub backtest: KindConfig,
    /// Simulates many sets of a strategy's parameters.
    pub sweep: KindConfig,
    /// Copies the stores to `backup.target`; exists only where that is set.
    pub backup: KindConfig,
    /// Reads a repository and learns its import graph; see `[graph]`.
    pub graph: KindConfig,
    /// Pretended work for tests; exists only with `faults.enabled`.
    pub drill: KindConfig,
}

/// What is different for one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KindConfig {
    /// Instead of `jobs.workers`, 0 to 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
    /// Instead of `jobs.capacity`, 1 to 1000000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// Instead of `jobs.attempts`, 1 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Instead of `jobs.backoff_min_ms`, 1 to 3600000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_min_ms: Option<u64>,
    /// Instead of `jobs.backoff_max_ms`, `backoff_min_ms` to 86400000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_max_ms: Option<u64>,
    /// Instead of `jobs.timeout_seconds`, 1 to 604800.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
}

/// What holds for the jobs of one kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KindLimits {
    /// Jobs one daemon works on at once.
    pub workers: usize,
    /// Jobs that may wait.
    pub capacity: u64,
    /// Attempts of a job that names no number itself.
    pub attempts: u32,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// Longest attempt.
    pub timeout: Duration,
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self {
            backend: JobsBackend::Sqlite,
            sqlite_path: "jobs.sqlite3".into(),
            lease_seconds: 30,
            aging_seconds: 60,
            poll_ms: 1000,
            threads: 2,
            workers: 1,
            capacity: 1000,
            attempts: 3,
            backoff_min_ms: 1000,
            backoff_max_ms: 300_000,
            timeout_seconds: 3600,
            cancel_grace_seconds: 10,
            drain_seconds: 15,
            keep_finished: 100,
            keep_dead: 1000,
            keep_hours: 168,
            max_payload_bytes: 262_144,
            kinds: KindsConfig::default(),
        }
    }
}

impl JobsConfig {
    /// What the queue goes by.
    #[must_use]
    pub fn rules(&self) -> QueueRules {
        QueueRules {
            aging: Duration::from_secs(self.aging_seconds),
            keep_finished: self.keep_finished,
            keep_dead: self.keep_dead,
            keep_for: Duration::from_hours(self.keep_hours),
        }
    }

    /// What holds for the jobs of a kind.
    #[must_use]
    pub fn limits(&self, kind: &str) -> KindLimits {
        let own = self.kinds.get(kind).cloned().unwrap_or_default();
        KindLimits {
            workers: own.workers.unwrap_or(self.workers),
            capacity: own.capacity.unwrap_or(self.capacity),
            attempts: own.attempts.unwrap_or(self.attempts),
            backoff: Backoff {
                min: Duration::from_millis(own.backoff_min_ms.unwrap_or(self.backoff_min_ms)),
                max: Duration::from_millis(own.backoff_max_ms.unwrap_or(self.backoff_max_ms)),
                ..Backoff::default()
            },
            timeout: Duration::from_secs(own.timeout_seconds.unwrap_or(self.timeout_seconds)),
        }
    }

    /// How long a lease holds.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_seconds)
    }

    /// Notes every setting out of range.
    pub fn validate(&self, problems: &mut Problems) {
        let named = self.sqlite_path.file_name().is_some();
        problems.require(named, "sqlite_path", self.sqlite_path.display(), "the path of a file");
        problems.range("lease_seconds", self.lease_seconds, 1, 3600);
        problems.range("aging_seconds", self.aging_seconds, 1, 86_400);
        problems.range("poll_ms", self.poll_ms, 10, 60_000);
        problems.range("threads", self.threads, 1, 64);
        problems.range("cancel_grace_seconds", self.cancel_grace_seconds, 0, 3600);
        problems.range("drain_seconds", self.drain_seconds, 0, 3600);
        problems.range("keep_finished", self.keep_finished, 1, 100_000);
        problems.range("keep_dead", self.keep_dead, 1, 100_000);
        problems.range("keep_hours", self.keep_hours, 1, 87_600);
        problems.range("max_payload_bytes", self.max_payload_bytes, 1024, 16 * 1024 * 1024);
        self.limits("").validate(problems);
        problems.section("kinds", |problems| {
            for (name, _) in self.kinds.all() {
                problems.section(name, |problems| self.limits(name).validate(problems));
            }
        });
    }
}

impl KindsConfig {
    fn all(&self) -> [(&'static str, &KindConfig); 6] {
        [
            ("reindex", &self.reindex),
            ("backup", &self.backup),
            ("graph", &self.graph),
            ("backtest", &self.backtest),
            ("sweep", &self.sweep),
            ("drill", &self.drill),
        ]
    }

    fn get(&self, kind: &str) -> Option<&KindConfig> {
        self.all().into_iter().find(|(name, _)| *name == kind).map(|(_, config)| config)
    }
}

impl KindLimits {
    fn validate(&self, problems: &mut Problems) {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        problems.range("workers", self.workers, 0, 64);
        problems.range("capacity", self.capacity, 1, 1_000_000);
        problems.range("attempts", self.attempts, 1, 100);
        problems.range("backoff_min_ms", ms(self.backoff.min), 1, 3_600_000);
        problems.range("backoff_max_ms", ms(self.backoff.max), ms(self.backoff.min), 86_400_000);
        problems.range("timeout_seconds", self.timeout.as_secs(), 1, 604_800);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn defaults_are_valid() {
        let mut problems = Problems::default();
        JobsConfig::default().validate(&mut problems);
        assert_eq!(problems.into_found(), []);
    }

    #[test]
    fn a_kind_takes_over_what_it_leaves_out() {
        let config: JobsConfig = toml::from_str("workers = 3\n[kinds.reindex]\ncapacity = 7\n").unwrap();
        let (own, other) = (config.limits("reindex"), config.limits("other"));
        assert_eq!((own.workers, own.capacity), (3, 7));
        assert_eq!((other.workers, other.capacity), (3, 1000));
    }

    #[test]
    fn problems_name_the_kind() {
        let mut config = JobsConfig { lease_seconds: 0, ..JobsConfig::default() };
        config.kinds.reindex.attempts = Some(0);
        let mut problems = Problems::default();
        problems.section("jobs", |problems| config.validate(problems));
        let keys: Vec<String> = problems.into_found().into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["jobs.lease_seconds", "jobs.kinds.reindex.attempts"]);
    }
}
