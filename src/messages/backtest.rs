//! Backtests and sweeps at rest: what was asked, what came out.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// One simulation, or many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// One set of parameters.
    Backtest,
    /// Many sets of parameters.
    Sweep,
}

impl RunKind {
    /// Its name in columns and queries.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backtest => "backtest",
            Self::Sweep => "sweep",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Backtest, Self::Sweep].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// The figures of a run that tables have columns for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunFigures {
    /// Cash at the start.
    pub initial_cash: Option<f64>,
    /// Value at the end; of a sweep's best set, as all below.
    pub final_value: Option<f64>,
    /// Gain over the initial cash, 0.1 being 10 %.
    pub total_return: Option<f64>,
    /// Annualised Sharpe ratio; `None` where it has no meaning.
    pub sharpe_ratio: Option<f64>,
    /// Deepest fall from a high, 0 or negative.
    pub max_drawdown: Option<f64>,
    /// Trades, the open one included.
    pub trades_count: Option<i64>,
    /// Whether a GPU did the work.
    pub gpu_used: bool,
    /// What did the work, such as `cpu`.
    pub device: String,
    /// How long the simulation took.
    pub computation_seconds: f64,
    /// Bars it went over.
    pub bars: u64,
    /// Sets of parameters it tried.
    pub sets: u64,
}

/// A finished run (table `analytics.backtests`, topic `backtests`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredRun {
    /// Unique, sorted by time (`UUIDv7`); that of its job where it ran as one.
    pub id: Arc<str>,
    /// The name the request gave, else the id.
    pub portfolio_id: String,
    /// One simulation or many.
    pub kind: RunKind,
    /// Correlation id of the request.
    pub correlation_id: String,
    /// When it ended, to the microsecond.
    pub created_at: DateTime<Utc>,
    /// Symbol of its bars, unless the request brought prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Interval of its bars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Name of the strategy; `signals` where the request brought them.
    pub strategy: String,
    /// The figures with columns of their own.
    pub figures: RunFigures,
    /// What was asked, prices and signals left out.
    pub request: Value,
    /// What came out.
    pub result: Value,
}

/// The part of a backtest's result that its chart is drawn from: some hundred values of its equity.
pub const CURVE: &str = "curve";

impl StoredRun {
    /// What users get of it: its result, with what names it, without what only its chart needs.
    #[must_use]
    pub fn shown(&self) -> Value {
        let mut shown = self.result.clone();
        if let Some(parts) = shown.as_object_mut() {
            parts.remove(CURVE);
        }
        shown["id"] = json!(self.id);
        shown["portfolio_id"] = json!(self.portfolio_id);
        shown["kind"] = json!(self.kind);
        shown["created_at"] = json!(self.created_at);
        shown["correlation_id"] = json!(self.correlation_id);
        shown
    }
}

/// One set of parameters of a sweep (table `analytics.sweep_results`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepRow {
    /// Place in the listing: the rank where the best were kept, else the number of the set.
    pub position: u64,
    /// Parameters by name.
    pub params: Map<String, Value>,
    /// Metrics by name; `null` where one has no meaning.
    pub metrics: Map<String, Value>,
}

impl SweepRow {
    /// A metric's value, where it has one.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.get(name).and_then(Value::as_f64)
    }
}
