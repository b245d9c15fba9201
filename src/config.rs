//! Configuration: typed sections, layering, validation, live reload.
//!
//! [`Config`] has one field per section of the file. [`layers`] merges defaults, files, environment and flags into one,
//! [`error`] says what is wrong and where it was set, [`reload`] exchanges it while the daemon runs, and [`schema`] and
//! [`docs`] derive the JSON schema, the default file and the manual from the sections' doc comments.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::problem::Problems;

/// Declares the root once: adding a section is one line.
macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {
        /// The whole configuration, one field per section.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct Config {
            $($(#[$doc])* pub $name: $type,)*
        }

        impl Config {
            /// The sections' names, in the order of the file.
            pub const SECTIONS: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Notes every setting that is out of range.
            pub fn validate(&self, problems: &mut Problems) {
                $(problems.section(stringify!($name), |problems| self.$name.validate(problems));)*
                node::validate_together(self, problems);
            }
        }
    };
}

sections! {
    /// The process: where it keeps its data.
    daemon: daemon::DaemonConfig;
    /// Log lines, written to standard error.
    logging: logging::LoggingConfig;
    /// The HTTP API: address, token, limits.
    http: http::HttpConfig;
    /// The produce-only Kafka listener that feeds the embedded log.
    kafka_listener: kafka_listener::KafkaListenerConfig;
    /// Where accepted records are kept until they have their verdict.
    log: log::LogConfig;
    /// Names of topics and group, and how to reach a Kafka cluster.
    kafka: kafka::KafkaConfig;
    /// What a document may be.
    documents: documents::DocumentsConfig;
    /// What counts as a duplicate.
    dedup: dedup::DedupConfig;
    /// The encoder.
    encoder: encoder::EncoderConfig;
    /// The sentiment model.
    sentiment: sentiment::SentimentConfig;
    /// Where documents and vectors are kept.
    store: store::StoreConfig;
    /// Backtests and sweeps, and how sentiment becomes signals.
    backtest: backtest::BacktestConfig;
    /// The job queue and its workers.
    jobs: jobs::JobsConfig;
    /// How actors are restarted.
    supervision: supervision::SupervisionConfig;
    /// Mailboxes and batches, one table per actor.
    actors: actors::ActorsConfig;
    /// Fault injection for tests and demonstrations. Never turn it on in production.
    faults: faults::FaultsConfig;
    /// What this daemon does of the work that several daemons share.
    node: node::NodeConfig;
    /// The Redis server that daemons share. Not used while its URL is empty.
    redis: redis::RedisConfig;
    /// Qdrant, for vectors that several daemons share.
    qdrant: qdrant::QdrantConfig;
    /// How to reach PostgreSQL, for `store.backend = "postgres"`.
    postgres: postgres::PostgresConfig;
    /// Answers kept for a while.
    cache: cache::CacheConfig;
    /// Where backups go, when, and how many stay.
    backup: backup::BackupConfig;
    /// Learning the import graphs of source repositories.
    graph: graph::GraphConfig;
}

pub mod actors;
pub mod backtest;
pub mod backup;
pub mod cache;
pub mod daemon;
pub mod dedup;
pub mod docs;
pub mod documents;
pub mod encoder;
pub mod endpoint;
pub mod error;
pub mod faults;
pub mod graph;
pub mod http;
pub mod jobs;
pub mod kafka;
pub mod kafka_listener;
pub mod layers;
pub mod log;
pub mod logging;
pub mod node;
pub mod postgres;
pub mod problem;
pub mod qdrant;
pub mod redis;
pub mod reload;
pub mod schema;
pub mod secret;
pub mod sentiment;
pub mod store;
pub mod suggest;
pub mod supervision;
