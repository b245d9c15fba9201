//! What the API needs of the daemon behind it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::config::http::HttpConfig;
use crate::config::secret::Secret;
use crate::jobs::Jobs;
use crate::kafka::log::Log;
use crate::messages::code::Rejection;
use crate::messages::document::Document;
use crate::messages::event::EventBus;
use crate::models::Encoder;
use crate::stores::backtests::BacktestStore;
use crate::stores::bars::BarStore;
use crate::stores::cache::Cache;
use crate::stores::documents::DocumentStore;
use crate::stores::graphs::GraphStore;
use crate::stores::signals::SignalStore;
use crate::stores::vectors::VectorIndex;

pub use super::forward::Node;
pub use super::workers::{Workers, WorkersError};

pub use self::backtests::{Backtests, RunError};

mod backtests;

/// Checks one document's bytes as the source stage will; used to answer bad input at once.
pub type Decode = Arc<dyn Fn(&[u8]) -> Result<Document, Rejection> + Send + Sync>;

/// Sentiment, category and entities of each text; CPU-bound, called on the blocking pool.
pub type Analyze = Arc<dyn Fn(Vec<String>) -> Result<Vec<Value>, Rejection> + Send + Sync>;

/// Names what an opinion depends on besides its text: models and settings. Opinions are kept by it.
pub type Judge = Arc<dyn Fn() -> String + Send + Sync>;

/// Checks a repository's URL; how it is kept, or what is wrong with it.
pub type CheckUrl = Arc<dyn Fn(&str) -> Result<String, String> + Send + Sync>;

/// What the routes of learned repositories need.
pub struct Graphs {
    /// The learned graphs.
    pub store: Arc<dyn GraphStore>,
    /// Checks a repository's URL.
    pub check_url: CheckUrl,
    /// Time a submitted repository has to be started in, milliseconds.
    pub job_ttl_ms: i64,
}

/// Everything the handlers share.
pub struct ApiState {
    /// Limits and addresses.
    pub http: HttpConfig,
    /// What this node does itself, and whom it asks for the rest.
    pub node: Node,
    /// Token that writes must carry, from [`HttpConfig::resolve_token`]; `None` leaves writes open.
    pub token: Option<Secret>,
    /// Whether the fault injection routes exist.
    pub faults_enabled: bool,
    /// Checks documents before they go to the log.
    pub decode: Decode,
    /// Where documents are appended.
    pub log: Arc<dyn Log>,
    /// Topic of documents.
    pub documents_topic: Arc<str>,
    /// Topic of bars.
    pub bars_topic: Arc<str>,
    /// Bars.
    pub bars: Arc<dyn BarStore>,
    /// What documents said of symbols.
    pub signals: Arc<dyn SignalStore>,
    /// Backtests and sweeps.
    pub runs: Arc<dyn BacktestStore>,
    /// The simulator.
    pub backtests: Arc<dyn Backtests>,
    /// Verdicts and dead letters.
    pub documents: Arc<dyn DocumentStore>,
    /// Nearest neighbours for search.
    pub vectors: Arc<dyn VectorIndex>,
    /// Embeds queries and the embeddings route's texts.
    pub encoder: Arc<dyn Encoder>,
    /// Judges texts without storing them.
    pub analyze: Analyze,
    /// Names the judge.
    pub judge: Judge,
    /// Answers kept for a while.
    pub cache: Arc<Cache>,
    /// The job queue.
    pub jobs: Arc<Jobs>,
    /// Learned repositories.
    pub graphs: Graphs,
    /// The actors behind the API.
    pub operations: Arc<dyn Operations>,
    /// Live events for `/v1/stream` and their history.
    pub events: Arc<EventBus>,
    /// Cancelled by [`super::serve`] when it begins to drain; ends the event streams.
    pub stopping: CancellationToken,
}

/// Form of the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopologyFormat {
    /// One object with actors and edges.
    Json,
    /// A mermaid flowchart.
    Mermaid,
    /// An indented tree.
    Text,
}

/// A fault to inject into an actor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum InjectedFault {
    /// Panic in its next turn.
    Panic,
    /// Block its thread.
    Hang {
        /// For how long.
        #[serde(default = "default_hang_seconds")]
        seconds: f64,
    },
    /// Wait without progress, its thread free.
    HangAsync {
        /// For how long.
        #[serde(default = "default_hang_seconds")]
        seconds: f64,
    },
    /// Stop it at once, as an operator's kill.
    Kill,
}

fn default_hang_seconds() -> f64 {
    5.0
}

/// Why an operator's action did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// There is no such actor or thing.
    #[error("there is no {0}")]
    NotFound(String),
    /// It is there, but this can't be done with it.
    #[error("{0}")]
    Refused(String),
    /// Something this needs is away.
    #[error("{0}")]
    Unavailable(String),
}

/// One service the daemon depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// Its name, such as `log` or `documents`.
    pub name: String,
    /// Whether it answered its last check.
    pub healthy: bool,
    /// In words: address, version or the fault.
    pub detail: String,
}

/// Whether the daemon can take and finish work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// True when all actors run and every dependency answers.
    pub ready: bool,
    /// True once the daemon drains.
    pub stopping: bool,
    /// Each service's own state.
    pub dependencies: Vec<Dependency>,
}

/// The daemon behind the API. The synchronous calls only read or signal and never wait.
pub trait Operations: Send + Sync {
    /// The supervision tree with state, restarts, mailbox depth and capacity, rates and utilisation.
    fn actors(&self) -> Value;

    /// The topology's text in this form.
    fn topology(&self, format: TopologyFormat) -> String;

    /// Restarts an actor; its mailbox and queued messages survive.
    ///
    /// # Errors
    /// If there is no such actor or it can't be restarted now.
    fn restart(&self, name: &str) -> Result<(), OperationError>;

    /// Injects a fault into an actor.
    ///
    /// # Errors
    /// If there is no such actor.
    fn inject(&self, name: &str, fault: InjectedFault) -> Result<(), OperationError>;

    /// Makes the stores fail as unavailable for this long.
    fn fail_store(&self, duration: Duration);

    /// Makes the log fail as unavailable for this long.
    fn fail_log(&self, duration: Duration);

    /// Reads the configuration again: what was applied and what needs a restart.
    ///
    /// # Errors
    /// [`OperationError::Refused`] with every problem when the new configuration is invalid; the old one stays.
    fn reload(&self) -> BoxFuture<'_, Result<Value, OperationError>>;

    /// Metrics in Prometheus' text format.
    fn metrics_text(&self) -> String;

    /// Records accepted but not consumed yet, as last measured.
    fn backlog(&self) -> u64;

    /// As [`Operations::backlog`], measured now; `None` while the log does not answer.
    fn measure_backlog(&self) -> BoxFuture<'_, Option<u64>> {
        Box::pin(std::future::ready(Some(self.backlog())))
    }

    /// Whether the daemon can take and finish work, as of the last check.
    fn readiness(&self) -> Readiness;

    /// Appends a dead letter's original record again and notes it as replayed. False if there is none by this id.
    ///
    /// # Errors
    /// If the log or the store is away.
    fn replay_dead_letter<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, OperationError>>;

    /// Hits, misses and size of each cache; `None` where this daemon has none.
    fn cache_stats(&self) -> Option<Value> {
        None
    }

    /// Threads and queue of each compute pool; `None` where this daemon has none.
    fn worker_status(&self) -> Option<Value> {
        None
    }

    /// Connections of each database pool; `None` where this daemon has none.
    fn pool_status(&self) -> Option<Value> {
        None
    }
}
