//! `[actors]`: mailbox, batches, workers and restarts of each actor.

use std::time::Duration;

use super::problem::Problems;
use crate::supervisors::{Backoff, BatchPolicy, Settings};

/// One entry per actor. Settings left out of an entry keep that actor's own default, not a common one.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActorsConfig {
    /// Cleans text and finds exact and near copies. One worker: its answers depend on the order of messages.
    #[serde(deserialize_with = "fingerprinter")]
    pub fingerprinter: ActorConfig,
    /// Runs the encoder. Its batch closes at 4096 tokens or 64 texts, or when the oldest has waited 5 ms: large enough to
    /// keep the cores busy, short enough not to be felt.
    #[serde(deserialize_with = "embedder")]
    pub embedder: ActorConfig,
    /// Compares with the vectors stored so far. One worker: its answers depend on the order of messages.
    #[serde(deserialize_with = "deduplicator")]
    pub deduplicator: ActorConfig,
    /// Label, category and entities.
    #[serde(deserialize_with = "sentiment_analyzer")]
    pub sentiment_analyzer: ActorConfig,
    /// Writes verdicts to the relational store: one transaction per batch, so 256 share one flush to disk.
    #[serde(deserialize_with = "sql_writer")]
    pub sql_writer: ActorConfig,
    /// Writes embeddings to the vector store.
    #[serde(deserialize_with = "vector_writer")]
    pub vector_writer: ActorConfig,
    /// Produces analyses to their topic.
    #[serde(deserialize_with = "publisher")]
    pub publisher: ActorConfig,
    /// Writes bars to the relational store: one transaction per batch, so 2048 share one flush to disk.
    #[serde(deserialize_with = "bar_writer")]
    pub bar_writer: ActorConfig,
    /// Keeps and produces dead letters. Patient: it is the last one to give up.
    #[serde(deserialize_with = "dead_letters")]
    pub dead_letters: ActorConfig,
}

/// Settings of one actor. Live: all but `workers`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActorConfig {
    /// Most messages queued and in flight, 1 to 1000000. When it is reached the sender waits, up to the source.
    pub mailbox_capacity: usize,
    /// Workers that share the mailbox, each with a thread of its own, 1 to 64. Needs a restart.
    pub workers: usize,
    /// Most messages one call takes, 1 to 65536.
    pub batch_messages: usize,
    /// Most weight one call takes, at least 1: tokens for the embedder, messages elsewhere. A heavier message goes alone.
    pub batch_weight: u64,
    /// How long the oldest message of a batch waits for company, milliseconds, 0 to 60000.
    pub batch_age_ms: u64,
    /// How often a message in flight at a crash is tried before it is dead-lettered, 1 to 100.
    pub attempts: u32,
    /// Without progress for this long the actor is replaced, seconds, 1 to 86400. Waiting for a full mailbox, a store or
    /// a model call is not counted.
    pub stuck_after_seconds: u64,
    /// Time to work off the mailbox in when the daemon stops, seconds, 0 to 3600. What is left is delivered again
    /// after the next start.
    pub drain_seconds: u64,
    /// Upper end of the first random wait before a restart or retry, milliseconds, 1 to 60000. It doubles with each
    /// failure in a row.
    pub backoff_min_ms: u64,
    /// Upper end of any such wait, milliseconds, `backoff_min_ms` to 600000.
    pub backoff_max_ms: u64,
    /// How long a store or service may be away before the actor that waits for it is restarted, seconds, 1 to 86400. Its
    /// messages are kept and never dead-lettered for that.
    pub unavailable_limit_seconds: u64,
}

impl Default for ActorConfig {
    fn default() -> Self {
        Self {
            mailbox_capacity: 1_024,
            workers: 1,
            batch_messages: 1,
            batch_weight: u64::MAX >> 11,
            batch_age_ms: 0,
            attempts: 3,
            stuck_after_seconds: 30,
            drain_seconds: 10,
            backoff_min_ms: 10,
            backoff_max_ms: 10_000,
            unavailable_limit_seconds: 300,
        }
    }
}

/// The same fields, each of which may be left out.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Partial {
    mailbox_capacity: Option<usize>,
    workers: Option<usize>,
    batch_messages: Option<usize>,
    batch_weight: Option<u64>,
    batch_age_ms: Option<u64>,
    attempts: Option<u32>,
    stuck_after_seconds: Option<u64>,
    drain_seconds: Option<u64>,
    backoff_min_ms: Option<u64>,
    backoff_max_ms: Option<u64>,
    unavailable_limit_seconds: Option<u64>,
}

impl Partial {
    fn over(self, base: &ActorConfig) -> ActorConfig {
        ActorConfig {
            mailbox_capacity: self.mailbox_capacity.unwrap_or(base.mailbox_capacity),
            workers: self.workers.unwrap_or(base.workers),
            batch_messages: self.batch_messages.unwrap_or(base.batch_messages),
            batch_weight: self.batch_weight.unwrap_or(base.batch_weight),
            batch_age_ms: self.batch_age_ms.unwrap_or(base.batch_age_ms),
            attempts: self.attempts.unwrap_or(base.attempts),
            stuck_after_seconds: self.stuck_after_seconds.unwrap_or(base.stuck_after_seconds),
            drain_seconds: self.drain_seconds.unwrap_or(base.drain_seconds),
            backoff_min_ms: self.backoff_min_ms.unwrap_or(base.backoff_min_ms),
            backoff_max_ms: self.backoff_max_ms.unwrap_or(base.backoff_max_ms),
            unavailable_limit_seconds: self.unavailable_limit_seconds.unwrap_or(base.unavailable_limit_seconds),
        }
    }
}

/// Declares per actor what differs from [`ActorConfig::default`], and how a partial entry is read over it.
macro_rules! actors {
    ($($name:ident { $($field:ident: $value:expr),* $(,)? })*) => {
        impl Default for ActorsConfig {
            fn default() -> Self {
                Self { $($name: ActorConfig { $($field: $value,)* ..ActorConfig::default() },)* }
            }
        }

        impl ActorsConfig {
            /// All entries with the actors' names.
            pub fn all(&self) -> Vec<(&'static str, &ActorConfig)> {
                vec![$((stringify!($name), &self.$name)),*]
            }
        }

        $(
            fn $name<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ActorConfig, D::Error> {
                let partial: Partial = serde::Deserialize::deserialize(deserializer)?;
                Ok(partial.over(&ActorsConfig::default().$name))
            }
        )*
    };
}

actors! {
    fingerprinter { batch_messages: 64 }
    embedder {
        mailbox_capacity: 512, batch_messages: 64, batch_weight: 4_096, batch_age_ms: 5, stuck_after_seconds: 60,
        drain_seconds: 20,
    }
    deduplicator { mailbox_capacity: 512, batch_messages: 64 }
    sentiment_analyzer { mailbox_capacity: 512, batch_messages: 64 }
    sql_writer { batch_messages: 256, batch_age_ms: 5 }
    vector_writer { batch_messages: 256, batch_age_ms: 5 }
    publisher { batch_messages: 256, batch_age_ms: 5 }
    bar_writer { mailbox_capacity: 8_192, batch_messages: 2_048, batch_age_ms: 5 }
    dead_letters { batch_messages: 64, batch_age_ms: 5, attempts: 10, drain_seconds: 20 }
}

impl ActorsConfig {
    /// Notes every setting out of range.
    pub fn validate(&self, problems: &mut Problems) {
        for (name, actor) in self.all() {
            problems.section(name, |problems| actor.validate(problems));
        }
        for (name, actor) in self.all().into_iter().filter(|(name, _)| *name != "dead_letters") {
            problems.section(name, |problems| {
                problems.require(
                    actor.workers == 1,
                    "workers",
                    actor.workers,
                    "1, as the verdicts depend on the order",
                );
            });
        }
    }
}

impl ActorConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.range("mailbox_capacity", self.mailbox_capacity, 1, 1_000_000);
        problems.range("workers", self.workers, 1, 64);
        problems.range("batch_messages", self.batch_messages, 1, 65_536);
        problems.require(self.batch_weight >= 1, "batch_weight", self.batch_weight, "at least 1");
        problems.range("batch_age_ms", self.batch_age_ms, 0, 60_000);
        problems.range("attempts", self.attempts, 1, 100);
        problems.range("stuck_after_seconds", self.stuck_after_seconds, 1, 86_400);
        problems.range("drain_seconds", self.drain_seconds, 0, 3_600);
        problems.range("backoff_min_ms", self.backoff_min_ms, 1, 60_000);
        problems.range("backoff_max_ms", self.backoff_max_ms, self.backoff_min_ms, 600_000);
        problems.range("unavailable_limit_seconds", self.unavailable_limit_seconds, 1, 86_400);
    }

    /// For [`crate::supervisors::ChildSpec::settings`] and [`crate::supervisors::Tree::set_policy`].
    pub fn settings(&self) -> Settings {
        Settings {
            backoff: Backoff {
                min: Duration::from_millis(self.backoff_min_ms),
                max: Duration::from_millis(self.backoff_max_ms),
                ..Backoff::default()
            },
            stuck_after: Some(Duration::from_secs(self.stuck_after_seconds)),
            drain: Duration::from_secs(self.drain_seconds),
            attempts: self.attempts,
            batch: BatchPolicy {
                max_messages: self.batch_messages,
                max_weight: self.batch_weight,
                max_age: Duration::from_millis(self.batch_age_ms),
            },
            unavailable_limit: Duration::from_secs(self.unavailable_limit_seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::config::problem::keys_of;

    #[test]
    fn defaults_are_valid() {
        let mut problems = Problems::default();
        ActorsConfig::default().validate(&mut problems);
        assert_eq!(problems.into_found(), []);
    }

    #[test]
    fn a_partial_entry_keeps_the_actors_own_defaults() {
        let config: ActorsConfig = toml::from_str("[embedder]\nbatch_messages = 8\n").unwrap();
        let expected = ActorConfig { batch_messages: 8, ..ActorsConfig::default().embedder };
        assert_eq!(config.embedder, expected);
        assert_eq!(config.sql_writer, ActorsConfig::default().sql_writer);
    }

    #[test]
    fn default_survives_being_written_and_read() {
        let text = toml::to_string(&ActorsConfig::default()).unwrap();
        assert_eq!(toml::from_str::<ActorsConfig>(&text).unwrap(), ActorsConfig::default());
    }

    #[test]
    fn unknown_keys_and_ordered_pools_are_refused() {
        let error = toml::from_str::<ActorsConfig>("[publisher]\nworker = 2\n").unwrap_err();
        assert!(error.to_string().contains("worker"), "{error}");
        let mut config = ActorsConfig::default();
        config.deduplicator.workers = 2;
        let found = keys_of(|problems| config.validate(problems));
        assert_eq!(found, ["deduplicator.workers"]);
    }
}
