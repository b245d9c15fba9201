//! What decides when to trade: sentiment, given columns, given orders, or a built-in strategy.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::orders::Orders;
use super::signals::Signals;
use super::strategies::{SentimentParams, Strategy, StrategyError};

/// The `signals` of a request.
///
/// `"sentiment"`, `"holding"`, `{"entries": […], "exits": […]}`, `{"orders": {"size": […]}}` or
/// `{"strategy": name, "params": {…}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum SignalSource {
    /// The sentiment of the symbol's documents; the caller brings the signals.
    Sentiment(SentimentParams),
    /// Buys at the first bar with a price and keeps.
    Holding,
    /// Columns, one value a bar.
    Columns(Signals),
    /// An order a bar.
    Orders(Orders),
    /// A built-in strategy.
    Strategy(Strategy),
}

const FORMS: &str =
    "signals: \"sentiment\", \"holding\", {\"entries\", \"exits\"}, {\"orders\"} or {\"strategy\", \"params\"}";

/// A `signals` value that is none of the forms.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Not one of the forms.
    #[error("{0} is none of {FORMS}")]
    Form(String),
    /// One of the forms with something wrong in it.
    #[error("signals: {0}")]
    Content(#[from] serde_json::Error),
    /// A strategy that does not exist, or parameters that it does not take.
    #[error("signals.{0}")]
    Strategy(#[from] StrategyError),
}

impl TryFrom<Value> for SignalSource {
    type Error = SourceError;

    fn try_from(value: Value) -> Result<Self, SourceError> {
        match &value {
            Value::String(name) if name == "sentiment" => Ok(Self::Sentiment(SentimentParams::default())),
            Value::String(name) if name == "holding" => Ok(Self::Holding),
            Value::Object(fields) if fields.contains_key("strategy") => {
                let form: StrategyForm = serde_json::from_value(value)?;
                if form.strategy == "sentiment" {
                    return Ok(Self::Sentiment(serde_json::from_value(Value::Object(form.params))?));
                }
                Ok(Self::Strategy(Strategy::new(&form.strategy, form.params)?))
            }
            Value::Object(fields) if fields.contains_key("orders") => Ok(Self::Orders(orders(value)?)),
            Value::Object(_) => Ok(Self::Columns(serde_json::from_value(value)?)),
            other => Err(SourceError::Form(other.to_string())),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrategyForm {
    strategy: String,
    #[serde(default)]
    params: Map<String, Value>,
}

fn orders(value: Value) -> Result<Orders, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Form {
        orders: Orders,
    }
    serde_json::from_value::<Form>(value).map(|form| form.orders)
}

impl From<SignalSource> for Value {
    fn from(source: SignalSource) -> Self {
        match source {
            SignalSource::Sentiment(params) if params == SentimentParams::default() => Self::from("sentiment"),
            SignalSource::Sentiment(params) => serde_json::json!({ "strategy": "sentiment", "params": params }),
            SignalSource::Holding => Self::from("holding"),
            SignalSource::Columns(signals) => serde_json::json!(signals),
            SignalSource::Orders(orders) => serde_json::json!({ "orders": orders }),
            SignalSource::Strategy(strategy) => {
                serde_json::json!({ "strategy": strategy.name(), "params": strategy.params() })
            }
        }
    }
}
