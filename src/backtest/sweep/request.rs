//! What is asked for: a backtest request with parameters to vary instead of fixed ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::error::BacktestError;
use super::super::request::BacktestRequest;
use super::super::source::SignalSource;
use super::metrics::SWEEP_METRICS;
use super::space::{Combine, Space, Values, as_json};

/// Settings of the execution that can be varied beside a strategy's parameters.
const EXECUTION: [&str; 8] = ["fees", "fixed_fees", "init_cash", "size", "sl_stop", "slippage", "tp_stop", "tp_trail"];

/// Whether a parameter is a setting of the execution instead of one of the strategy's.
pub fn is_execution(name: &str) -> bool {
    EXECUTION.contains(&name)
}

/// One sweep. In JSON and TOML it is the backtest's request with `params`, `combine`, `keep`, `search` and `surface`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct SweepRequest {
    /// What all sets share; settings of the execution that vary have their first value.
    pub base: BacktestRequest,
    /// What varies.
    pub params: BTreeMap<String, Values>,
    /// How values combine.
    pub combine: Combine,
    /// Which sets are kept.
    pub keep: Keep,
    /// Which sets are tried.
    pub search: Search,
    /// A metric over two parameters, for a heat map.
    pub surface: Option<SurfaceRequest>,
}

/// The part of a request that a backtest's does not have.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    params: BTreeMap<String, Values>,
    #[serde(default)]
    combine: Combine,
    #[serde(default)]
    keep: Keep,
    #[serde(default)]
    search: Search,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    surface: Option<SurfaceRequest>,
}

const FORM_FIELDS: [&str; 5] = ["params", "combine", "keep", "search", "surface"];

/// Which sets are kept: `"all"`, or the best by a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", untagged, expecting = "keep: \"all\" or {\"top\", \"by\", \"order\"}")]
pub enum Keep {
    /// Every set, in the order of the space.
    All(All),
    /// The best, best first.
    Top(Top),
}

/// The word `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum All {
    /// Every set.
    All,
}

/// The best sets by a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Top {
    /// How many.
    pub top: usize,
    /// By which metric.
    #[serde(default = "default_metric")]
    pub by: String,
    /// Whether the largest or the smallest values are the best.
    #[serde(default)]
    pub order: Ranking,
}

/// Which values are the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ranking {
    /// The largest.
    #[default]
    Descending,
    /// The smallest.
    Ascending,
}

impl Ranking {
    /// A score that is larger where the value is better; `None` for what is no number.
    pub(super) fn score(self, value: f64) -> Option<f64> {
        match self {
            Self::Descending => value.is_finite().then_some(value),
            Self::Ascending => value.is_finite().then_some(-value),
        }
    }
}

fn default_metric() -> String {
    "sharpe_ratio".to_owned()
}

impl Default for Keep {
    fn default() -> Self {
        Self::Top(Top { top: 100, by: default_metric(), order: Ranking::default() })
    }
}

/// Which sets of the space are tried.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Search {
    /// All.
    #[default]
    Grid,
    /// So many, drawn without replacement; the same seed draws the same.
    Random {
        /// How many.
        sets: u64,
        /// Seed.
        #[serde(default)]
        seed: u64,
    },
    /// So many on the first part of the bars, then the best of them on more, and so on to all bars.
    Halving {
        /// How many begin.
        sets: u64,
        /// The share that goes on is one in so many, with so many times the bars.
        #[serde(default = "default_factor")]
        factor: u64,
        /// Bars of the first round.
        #[serde(default = "default_min_bars")]
        min_bars: usize,
        /// Seed.
        #[serde(default)]
        seed: u64,
    },
}

fn default_factor() -> u64 {
    3
}

fn default_min_bars() -> usize {
    500
}

/// A metric over two parameters; where others vary too, their best.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SurfaceRequest {
    /// Parameter of the columns.
    pub x: String,
    /// Parameter of the rows.
    pub y: String,
    /// Metric of the cells.
    #[serde(default = "default_metric")]
    pub metric: String,
    /// Which of several values of a cell is its best.
    #[serde(default)]
    pub order: Ranking,
}

impl TryFrom<Value> for SweepRequest {
    type Error = serde_json::Error;

    fn try_from(value: Value) -> Result<Self, serde_json::Error> {
        let mut fields: Map<String, Value> = serde_json::from_value(value)?;
        let own: Map<String, Value> = FORM_FIELDS.iter().filter_map(|field| fields.remove_entry(*field)).collect();
        let Form { params, combine, keep, search, surface } = serde_json::from_value(Value::Object(own))?;
        for (name, values) in &params {
            let Some(first) = values.get(0).map(as_json) else { continue };
            if is_execution(name) {
                fields.insert(name.clone(), first);
            }
        }
        let base = serde_json::from_value(Value::Object(fields))?;
        Ok(Self { base, params, combine, keep, search, surface })
    }
}

impl From<SweepRequest> for Value {
    fn from(request: SweepRequest) -> Self {
        let SweepRequest { base, params, combine, keep, search, surface } = request;
        let mut whole = serde_json::json!(base);
        let own = serde_json::json!(Form { params, combine, keep, search, surface });
        if let (Self::Object(whole), Self::Object(own)) = (&mut whole, own) {
            whole.extend(own);
        }
        whole
    }
}

impl SweepRequest {
    /// The space of all sets, the request checked.
    ///
    /// # Errors
    /// When parameters do not combine, a metric is unknown or a count is out of range; also for orders, which have no
    /// parameters.
    pub fn space(&self) -> Result<Space, BacktestError> {
        let space = Space::new(&self.params, self.combine)?;
        if matches!(self.base.signals, SignalSource::Orders(_)) {
            return Err(BacktestError::combination("signals", "orders cannot be swept"));
        }
        if let Keep::Top(Top { top, by, .. }) = &self.keep {
            check_metric("keep.by", by)?;
            if !(1..=MAX_TOP).contains(top) {
                return Err(BacktestError::parameter("keep.top", top, "from 1 to 100000"));
            }
        }
        if let Some(SurfaceRequest { x, y, metric, .. }) = &self.surface {
            check_metric("surface.metric", metric)?;
            for (field, name) in [("surface.x", x), ("surface.y", y)] {
                if !self.params.contains_key(name) {
                    return Err(BacktestError::parameter(field, name, "one of the parameters that vary"));
                }
            }
            if x == y {
                return Err(BacktestError::combination("surface.y", "is the same parameter as surface.x"));
            }
            let cells = self.params[x].len().checked_mul(self.params[y].len());
            if cells.is_none_or(|cells| cells > MAX_CELLS) {
                return Err(BacktestError::combination("surface", "has more than 4000000 cells"));
            }
        }
        match self.search {
            Search::Random { sets: 0, .. } | Search::Halving { sets: 0, .. } => {
                Err(BacktestError::parameter("search.sets", 0, "at least 1"))
            }
            Search::Random { sets, .. } | Search::Halving { sets, .. } if sets > MAX_DRAWN && sets < space.len() => {
                Err(BacktestError::parameter("search.sets", sets, "at most 20000000"))
            }
            Search::Halving { factor: 0 | 1, .. } => Err(BacktestError::parameter("search.factor", 1, "at least 2")),
            Search::Halving { min_bars: 0, .. } => Err(BacktestError::parameter("search.min_bars", 0, "at least 1")),
            Search::Halving { .. } if matches!(self.keep, Keep::All(_)) => {
                Err(BacktestError::combination("keep", "halving keeps the best: name how many and by which metric"))
            }
            Search::Grid | Search::Random { .. } | Search::Halving { .. } => Ok(space),
        }
    }
}

/// Most sets kept as the best.
const MAX_TOP: usize = 100_000;

/// Most cells of a surface.
const MAX_CELLS: u64 = 4_000_000;

/// Most sets drawn at random.
const MAX_DRAWN: u64 = 20_000_000;

fn check_metric(field: &str, name: &str) -> Result<(), BacktestError> {
    if SWEEP_METRICS.contains(&name) {
        return Ok(());
    }
    Err(BacktestError::parameter(field, name, &format!("one of {}", SWEEP_METRICS.join(", "))))
}

/// Sets a setting of the execution; whether there is one of that name.
pub(super) fn set_execution(request: &mut BacktestRequest, name: &str, value: f64) -> bool {
    match name {
        "fees" => request.fees = value,
        "fixed_fees" => request.fixed_fees = value,
        "init_cash" => request.init_cash = value,
        "size" => request.size = Some(value),
        "sl_stop" => request.sl_stop = Some(value),
        "slippage" => request.slippage = value,
        "tp_stop" => request.tp_stop = Some(value),
        "tp_trail" => request.tp_trail = Some(value),
        _ => return false,
    }
    true
}
