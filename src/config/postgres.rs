//! `[postgres]`: how to reach PostgreSQL; used with `store.backend = "postgres"`.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problems;
use super::secret::Secret;

/// How the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Verified TLS to another machine, none on loopback, to a private name or over a Unix socket.
    Auto,
    /// No TLS.
    Disable,
    /// TLS without asking whose certificate it is, unless `ca_file` says whom to trust.
    Require,
    /// TLS, the certificate is checked and has to be the host's.
    VerifyFull,
}

/// PostgreSQL 13 or later: documents, analyses, dead letters, log entries. Three pools, one for each of the schemas `raw`,
/// `analytics` and `logging`, which lie in one database unless a pool has a URL of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or as `key=value` words. What it says goes before the settings
    /// below; `?sslmode=` and `?sslrootcert=` are understood. Never printed, as a password may be in it.
    #[serde(skip_serializing)]
    pub url: Option<Secret>,
    /// File that holds the URL in its first line. Not together with `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// Host name, address, or the directory of a Unix socket. Default `127.0.0.1`.
    pub host: String,
    /// Port, 1 to 65,535. Default 5,432.
    pub port: u16,
    /// Database. Default `tidemill`. It has to exist; schemas and tables are made at the first start.
    pub dbname: String,
    /// Role to log in as. Default `tidemill`. It needs `CREATE` on the database for the first start and for updates.
    pub user: String,
    /// Password of the role. Never printed.
    #[serde(skip_serializing)]
    pub password: Option<Secret>,
    /// File that holds the password in its first line. Not together with `password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// `auto` (default: `verify-full` to another machine, none on loopback, to a private name such as `postgres` or over
    /// a Unix socket), `disable`, `require` or `verify-full`.
    pub tls: TlsMode,
    /// Certificates to trust, a PEM file. Absent (default): those that the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Whether `tls = "disable"` may go to another machine: everything then crosses the network readable. Default false.
    pub allow_plaintext: bool,
    /// Whether a pooler in transaction mode (pgbouncer) stands before the server. Default false. Then no statement is
    /// prepared and no setting is made for a session, which costs a few percent of the speed of writes.
    pub transaction_pooler: bool,
    /// How long connecting may take, 50 to 60,000 milliseconds. Default 5,000.
    pub connect_timeout_ms: u64,
    /// How long a call may wait for a free connection, 50 to 60,000 milliseconds. Default 10,000.
    pub acquire_timeout_ms: u64,
    /// How long the server may work on one statement, 50 to 600,000 milliseconds. Default 25,000.
    pub statement_timeout_ms: u64,
    /// How long a call may take in all before it fails as unavailable, 100 to 600,000 milliseconds. Default 30,000. A
    /// write that comes too late may still become durable; writing it again is harmless.
    pub call_timeout_ms: u64,
    /// How long the daemon waits at its start for a server that does not answer, 0 to 86,400 seconds, before it ends with
    /// exit code 69. Default 600; meanwhile `/health/ready` answers 503 and says why.
    pub startup_wait_seconds: u64,
    /// Connections for documents as accepted; with all schemas in one database, for everything that only reads.
    pub raw: PoolConfig,
    /// Connections for verdicts and dead letters.
    pub analytics: PoolConfig,
    /// Connections for log entries and events.
    pub logging: PoolConfig,
    /// What is kept in `logging`, and views for dashboards.
    pub upkeep: UpkeepConfig,
}

/// One pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolConfig {
    /// A database of its own for this schema, in the form of `postgres.url`. Absent (default): the common one. With
    /// separate databases a batch is not one transaction: see docs/semantics.md.
    #[serde(skip_serializing)]
    pub url: Option<Secret>,
    /// File that holds the URL in its first line. Not together with `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// Most connections, 1 to 200. Default 4: a daemon writes from one actor and reads for its API; all daemons together
    /// have to stay under the server's `max_connections`.
    pub connections: usize,
}

/// What is kept in `logging`, and views for dashboards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpkeepConfig {
    /// Days that log entries and events are kept, 1 to 3,650; each day is a partition, dropped as a whole. Default 30.
    pub retention_days: u16,
    /// Log entries and events that may wait to be written, 100 to 1,000,000. Default 10,000; more are dropped and counted
    /// in `tidemill_logbook_dropped_total`, since logging must not hold the pipeline back.
    pub queue_capacity: usize,
    /// Whether every verdict is also kept as an event in `logging.events`, beside restarts, reloads and dead letters.
    /// Default true; without, writes cost the server less.
    pub verdict_events: bool,
    /// Seconds between refreshes of the dashboards' views, 0 to 86,400; 0 never refreshes. Default 60. A refresh that
    /// takes long makes the pause longer, so that it is never more than a tenth of the time.
    pub refresh_seconds: u64,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            host: "127.0.0.1".to_owned(),
            port: 5432,
            dbname: "tidemill".to_owned(),
            user: "tidemill".to_owned(),
            password: None,
            password_file: None,
            tls: TlsMode::Auto,
            ca_file: None,
            allow_plaintext: false,
            transaction_pooler: false,
            connect_timeout_ms: 5_000,
            acquire_timeout_ms: 10_000,
            statement_timeout_ms: 25_000,
            call_timeout_ms: 30_000,
            startup_wait_seconds: 600,
            raw: PoolConfig::default(),
            analytics: PoolConfig::default(),
            logging: PoolConfig { connections: 2, ..PoolConfig::default() },
            upkeep: UpkeepConfig::default(),
        }
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self { url: None, url_file: None, connections: 4 }
    }
}

impl Default for UpkeepConfig {
    fn default() -> Self {
        Self { retention_days: 30, queue_capacity: 10_000, verdict_events: true, refresh_seconds: 60 }
    }
}

impl PostgresConfig {
    /// How long the daemon waits at its start for the server.
    #[must_use]
    pub const fn startup_wait(&self) -> Duration {
        Duration::from_secs(self.startup_wait_seconds)
    }

    /// Checks every field's range. Hosts and encryption are checked where the URLs are read, in `stores::postgres`.
    pub fn validate(&self, problems: &mut Problems) {
        problems.require(!self.host.trim().is_empty(), "host", &self.host, "a host name, an address or a directory");
        problems.range("port", self.port, 1, u16::MAX);
        problems.require(!self.dbname.is_empty(), "dbname", &self.dbname, "the name of a database");
        problems.require(!self.user.is_empty(), "user", &self.user, "the name of a role");
        problems.range("connect_timeout_ms", self.connect_timeout_ms, 50, 60_000);
        problems.range("acquire_timeout_ms", self.acquire_timeout_ms, 50, 60_000);
        problems.range("statement_timeout_ms", self.statement_timeout_ms, 50, 600_000);
        problems.range("call_timeout_ms", self.call_timeout_ms, 100, 600_000);
        problems.range("startup_wait_seconds", self.startup_wait_seconds, 0, 86_400);
        for (name, pool) in [("raw", &self.raw), ("analytics", &self.analytics), ("logging", &self.logging)] {
            problems.section(name, |problems| problems.range("connections", pool.connections, 1, 200));
        }
        problems.section("upkeep", |problems| {
            problems.range("retention_days", self.upkeep.retention_days, 1, 3_650);
            problems.range("queue_capacity", self.upkeep.queue_capacity, 100, 1_000_000);
            problems.range("refresh_seconds", self.upkeep.refresh_seconds, 0, 86_400);
        });
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::config::problem::keys_of;

    fn problems(toml: &str) -> Vec<String> {
        let config: PostgresConfig = toml::from_str(toml).unwrap();
        keys_of(|problems| config.validate(problems))
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(problems(""), Vec::<String>::new());
    }

    #[test]
    fn wrong_settings_are_named_by_their_key() {
        assert_eq!(problems("port = 0"), ["port"]);
        assert_eq!(problems("[analytics]\nconnections = 0"), ["analytics.connections"]);
        assert_eq!(problems("[upkeep]\nretention_days = 0"), ["upkeep.retention_days"]);
    }

    #[test]
    fn secrets_are_never_printed() {
        let secret = "hunter2";
        let toml = format!("url = \"postgres://a:{secret}@b/c\"\npassword = \"{secret}\"\n[raw]\nurl = \"{secret}\"");
        let config: PostgresConfig = toml::from_str(&toml).unwrap();
        assert!(!format!("{config:?}").contains(secret));
        assert!(!toml::to_string(&config).unwrap().contains(secret));
    }
}
