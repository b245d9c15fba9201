//! `[log]`: which log the daemon reads and writes, and how the embedded one behaves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problems;

/// Which log is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogBackend {
    /// The durable log inside the daemon; nothing to install.
    Embedded,
    /// Apache Kafka, or anything that speaks its protocol; see `[kafka]`.
    Kafka,
}

/// The log: where records are accepted and read from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `embedded` (default: nothing to install) or `kafka`.
    pub backend: LogBackend,
    /// File of the embedded log, relative to the data directory unless absolute.
    pub file: String,
    /// Whether a record is on disk, and not only with the operating system, before it is acknowledged. `false` is faster
    /// and safe against a crash of the daemon, not against a power cut.
    pub fsync: bool,
    /// Records older than this many hours are deleted once every group has consumed them. 0 keeps them for ever;
    /// default 168 (a week), as Kafka's.
    pub retention_hours: u64,
    /// A topic larger than this many bytes loses its oldest consumed records. 0 sets no limit; default 8 GiB.
    pub retention_bytes: u64,
    /// How often retention runs, 1 to 86,400 seconds. Default 60.
    pub retention_interval_seconds: u64,
    /// A consumer group not seen for this many hours no longer keeps records from being deleted. Default 168.
    pub group_retention_hours: u64,
    /// Most records of a topic that its groups have not consumed yet; more are refused until they catch up, which
    /// producers see as `429` or a retriable error. 0 sets no limit. Default 100,000.
    pub max_backlog_records: u64,
    /// Largest record (key, value and headers), 1 KiB to 256 MiB. Default 16 MiB: larger than what the intakes
    /// let in, so that every record also fits into the dead letters with its story.
    pub max_record_bytes: usize,
    /// How long an append may take before it counts as failed, 100 to 600,000 milliseconds. Default 10,000.
    pub append_timeout_ms: u64,
    /// Bytes of appends that may wait for the disk at once; more wait outside. 1 MiB to 4 GiB. Default 64 MiB.
    pub append_buffer_bytes: usize,
    /// Most records a consumer reads in one go, 1 to 100,000. Default 512.
    pub fetch_records: usize,
    /// Most bytes a consumer reads in one go (at least one record comes always), 1 KiB to 1 GiB. Default 8 MiB.
    pub fetch_bytes: usize,
    /// How the pipeline's source reads, for either backend.
    pub source: SourceConfig,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            backend: LogBackend::Embedded,
            file: "log.db".to_owned(),
            fsync: true,
            retention_hours: 168,
            retention_bytes: 8 << 30,
            retention_interval_seconds: 60,
            group_retention_hours: 168,
            max_backlog_records: 100_000,
            max_record_bytes: 16 << 20,
            append_timeout_ms: 10_000,
            append_buffer_bytes: 64 << 20,
            fetch_records: 512,
            fetch_bytes: 8 << 20,
            source: SourceConfig::default(),
        }
    }
}

impl LogConfig {
    /// Notes what is out of range.
    pub fn validate(&self, problems: &mut Problems) {
        problems.require(!self.file.trim().is_empty(), "file", &self.file, "a file name");
        problems.range("retention_interval_seconds", self.retention_interval_seconds, 1, 86_400);
        problems.range("retention_hours", self.retention_hours, 0, 24 * 366 * 100);
        problems.range("group_retention_hours", self.group_retention_hours, 1, 24 * 366 * 100);
        problems.range("max_record_bytes", self.max_record_bytes, 1 << 10, 256 << 20);
        problems.range("append_timeout_ms", self.append_timeout_ms, 100, 600_000);
        problems.range("append_buffer_bytes", self.append_buffer_bytes, 1 << 20, 4 << 30);
        problems.range("fetch_records", self.fetch_records, 1, 100_000);
        problems.range("fetch_bytes", self.fetch_bytes, 1 << 10, 1 << 30);
        problems.section("source", |problems| self.source.validate(problems));
    }
}

/// The source: the thread that reads the log and feeds the first actor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// Most records that wait for a verdict at once, 1 to 10,000,000; reading stops there. Default 4,000: what the mailboxes hold,
    /// and no more, so that a record waits in the log rather than in memory.
    pub max_in_flight: usize,
    /// Most bytes of records that wait for a verdict at once, 1 MiB to 64 GiB; reading stops there. Default 128 MiB.
    pub max_in_flight_bytes: usize,
    /// How often offsets are committed, 10 to 60,000 milliseconds. Default 500: a restart repeats at most that much.
    pub commit_interval_ms: u64,
    /// How long the first mailbox must stay full before partitions are paused, 0 to 60,000 milliseconds. Default 2,000:
    /// pausing throws Kafka's prefetched records away, so short jams should not cause it.
    pub pause_after_ms: u64,
    /// Longest wait for records in one poll, 1 to 1,000 milliseconds. Default 100.
    pub poll_timeout_ms: u64,
    /// How long a record that came back without a verdict waits before it is delivered again, 1 to 60,000
    /// milliseconds. Default 100.
    pub redeliver_after_ms: u64,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            max_in_flight: 4_000,
            max_in_flight_bytes: 128 << 20,
            commit_interval_ms: 500,
            pause_after_ms: 2_000,
            poll_timeout_ms: 100,
            redeliver_after_ms: 100,
        }
    }
}

impl SourceConfig {
    /// Notes what is out of range.
    pub fn validate(&self, problems: &mut Problems) {
        problems.range("max_in_flight", self.max_in_flight, 1, 10_000_000);
        problems.range("max_in_flight_bytes", self.max_in_flight_bytes, 1 << 20, 64 << 30);
        problems.range("commit_interval_ms", self.commit_interval_ms, 10, 60_000);
        problems.range("pause_after_ms", self.pause_after_ms, 0, 60_000);
        problems.range("poll_timeout_ms", self.poll_timeout_ms, 1, 1_000);
        problems.range("redeliver_after_ms", self.redeliver_after_ms, 1, 60_000);
    }
}
