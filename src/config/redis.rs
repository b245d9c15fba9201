//! `[redis]`: the server that daemons share for cache, duplicate memory, locks and jobs.

use std::path::PathBuf;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::endpoint::is_private;
use super::problem::Problems;
use super::secret::Secret;

/// Most characters of the key prefix: it is part of every key.
const MAX_PREFIX: usize = 64;

/// Redis 7 or later, or what speaks its protocol. Not used while `url` is empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// `redis://HOST[:PORT][/DATABASE]`, or `rediss://` for TLS; a user goes before the host as `USER@`. Empty (default):
    /// no Redis. The password has a setting of its own, since this one is printed.
    pub url: String,
    /// Password of the user, or of the server where no user is named. Never printed.
    #[serde(skip_serializing)]
    pub password: Option<Secret>,
    /// File that holds the password in its first line; white space around it is dropped. Not together with `password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Certificates to trust for `rediss://`, a PEM file. Absent (default): those that the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Whether `redis://` may go to another machine: everything, the password included, then crosses the network
    /// readable. Default false: only loopback and private names (`localhost`, `redis`, `redis.internal`).
    pub allow_plaintext: bool,
    /// What every key begins with, 1 to 64 letters, digits, `.`, `_`, `-` and `:`. Default `tidemill`. Daemons that share
    /// their work need the same; installations that share a server need different ones.
    pub key_prefix: String,
    /// How long connecting may take, 50 to 60,000 milliseconds. Default 2,000.
    pub connect_timeout_ms: u64,
    /// How long a command may take, 50 to 60,000 milliseconds, waiting for a lost connection included. Default 2,000:
    /// after that the caller waits or does without, and the connection is made anew.
    pub command_timeout_ms: u64,
    /// Longest wait between two attempts to connect, 50 to 60,000 milliseconds. Default 2,000; the first wait is up to
    /// 50 ms, each further one up to twice as long, drawn at random.
    pub backoff_max_ms: u64,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            password: None,
            password_file: None,
            ca_file: None,
            allow_plaintext: false,
            key_prefix: "tidemill".to_owned(),
            connect_timeout_ms: 2_000,
            command_timeout_ms: 2_000,
            backoff_max_ms: 2_000,
        }
    }
}

impl RedisConfig {
    /// Whether Redis is used at all.
    #[must_use]
    pub fn is_used(&self) -> bool {
        !self.url.is_empty()
    }

    /// How long connecting may take.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// How long a command may take.
    #[must_use]
    pub fn command_timeout(&self) -> Duration {
        Duration::from_millis(self.command_timeout_ms)
    }

    /// Longest wait between two attempts to connect.
    #[must_use]
    pub fn backoff_max(&self) -> Duration {
        Duration::from_millis(self.backoff_max_ms)
    }

    /// Checks every field's range.
    pub fn validate(&self, problems: &mut Problems) {
        if self.is_used() {
            self.validate_url(problems);
        }
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
        problems.require(
            (1..=MAX_PREFIX).contains(&self.key_prefix.len()) && self.key_prefix.bytes().all(legal),
            "key_prefix",
            &self.key_prefix,
            "1 to 64 letters, digits, `.`, `_`, `-` and `:`",
        );
        problems.range("connect_timeout_ms", self.connect_timeout_ms, 50, 60_000);
        problems.range("command_timeout_ms", self.command_timeout_ms, 50, 60_000);
        problems.range("backoff_max_ms", self.backoff_max_ms, 50, 60_000);
    }

    fn validate_url(&self, problems: &mut Problems) {
        let Ok(info) = self.url.as_str().into_connection_info() else {
            // it may hold a password, so it is not shown
            return problems.require(false, "url", "(hidden)", "redis://HOST:PORT/DATABASE or rediss://…");
        };
        problems.require(
            info.redis_settings().password().is_none(),
            "url",
            "(hidden)",
            "a URL without password: give it as redis.password_file or TIDEMILL__REDIS__PASSWORD",
        );
        if info.redis_settings().password().is_none() {
            problems.require(
                self.allow_plaintext || !is_plaintext_to_a_stranger(&info),
                "url",
                &self.url,
                "rediss:// for another machine, or redis.allow_plaintext = true: everything, the password included, \
                 would cross the network readable",
            );
        }
    }
}

fn is_plaintext_to_a_stranger(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::Tcp(host, _) if !is_private(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(config: &RedisConfig) -> Vec<String> {
        let mut problems = Problems::default();
        config.validate(&mut problems);
        problems.into_found().into_iter().map(|problem| format!("{} {}", problem.key, problem.value)).collect()
    }

    fn at(url: &str) -> RedisConfig {
        RedisConfig { url: url.to_owned(), ..RedisConfig::default() }
    }

    #[test]
    fn defaults_are_valid_and_use_no_redis() {
        assert_eq!(problems(&RedisConfig::default()), Vec::<String>::new());
        assert!(!RedisConfig::default().is_used());
    }

    #[test]
    fn password_in_the_url_is_refused_and_not_shown() {
        assert_eq!(problems(&at("redis://user:geheim@localhost:6379/0")), ["url (hidden)"]);
        assert_eq!(problems(&at("http://user:geheim@localhost")), ["url (hidden)"]);
    }

    #[test]
    fn plaintext_to_another_machine_needs_permission() {
        assert_eq!(problems(&at("redis://redis.example.com:6379")), ["url redis://redis.example.com:6379"]);
        assert_eq!(problems(&at("redis://10.1.2.3")), ["url redis://10.1.2.3"]);
        for url in ["redis://127.0.0.1:1", "redis://redis", "rediss://redis.example.com", "redis://user@localhost/2"] {
            assert_eq!(problems(&at(url)), Vec::<String>::new(), "{url}");
        }
        let allowed = RedisConfig { allow_plaintext: true, ..at("redis://redis.example.com") };
        assert_eq!(problems(&allowed), Vec::<String>::new());
    }
}
