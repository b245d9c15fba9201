//! Metrics as results hold them: a number, or why there is none.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::super::request::Compat;
use super::{METRICS, Metrics};

/// A metric's value: `null` or, in vectorbt's manner, `"inf"`, `"-inf"` or `"nan"` where it is no number.
#[derive(Debug, Clone, Copy)]
pub enum MetricValue {
    /// A finite number.
    Number(f64),
    /// No meaning.
    Null,
    /// What vectorbt has instead: infinite or NaN.
    Special(f64),
}

impl MetricValue {
    /// The form `compat` asks for.
    pub fn new(value: f64, compat: Compat) -> Self {
        if value.is_finite() {
            return Self::Number(value);
        }
        match compat {
            Compat::Strict => Self::Null,
            Compat::VectorBt => Self::Special(value),
        }
    }

    /// The number, where it is finite.
    pub fn number(self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Null | Self::Special(_) => None,
        }
    }
}

// NaN equals NaN here: both are the same answer.
impl PartialEq for MetricValue {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => one == other,
            (Self::Null, Self::Null) => true,
            (Self::Special(one), Self::Special(other)) => one == other || (one.is_nan() && other.is_nan()),
            (Self::Number(_) | Self::Null | Self::Special(_), _) => false,
        }
    }
}

impl Serialize for MetricValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_f64(*number),
            Self::Null => serializer.serialize_none(),
            Self::Special(value) if value.is_nan() => serializer.serialize_str("nan"),
            Self::Special(value) => serializer.serialize_str(if *value > 0.0 { "inf" } else { "-inf" }),
        }
    }
}

impl<'de> Deserialize<'de> for MetricValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::Null),
            Value::Number(number) => Ok(number.as_f64().map_or(Self::Null, Self::Number)),
            Value::String(text) => match text.as_str() {
                "inf" => Ok(Self::Special(f64::INFINITY)),
                "-inf" => Ok(Self::Special(f64::NEG_INFINITY)),
                "nan" => Ok(Self::Special(f64::NAN)),
                _ => Err(D::Error::custom(format!("{text:?} is no metric: a number, null, inf, -inf or nan"))),
            },
            other => Err(D::Error::custom(format!("{other} is no metric: a number, null, inf, -inf or nan"))),
        }
    }
}

/// All metrics by name; `reasons` says of each `null` why.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetricsReport {
    /// In the order of [`METRICS`].
    pub values: Vec<(String, MetricValue)>,
    /// Why a metric has no value.
    pub reasons: BTreeMap<String, String>,
}

impl MetricsReport {
    /// The report of `metrics` in the form `compat` asks for.
    pub fn new(metrics: &Metrics, compat: Compat) -> Self {
        let mut report = Self::default();
        for definition in METRICS {
            let value = MetricValue::new((definition.value)(metrics), compat);
            if value == MetricValue::Null {
                report.reasons.insert(definition.name.to_owned(), definition.reason.to_owned());
            }
            report.values.push((definition.name.to_owned(), value));
        }
        report
    }

    /// The metric of this name.
    pub fn get(&self, name: &str) -> Option<MetricValue> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

impl Serialize for MetricsReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.values {
            map.serialize_entry(name, value)?;
        }
        if !self.reasons.is_empty() {
            map.serialize_entry("reasons", &self.reasons)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for MetricsReport {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::<String, Value>::deserialize(deserializer)?;
        let reasons = fields.remove("reasons").map(serde_json::from_value).transpose().map_err(D::Error::custom)?;
        // Whatever order the fields came in, the report has its own.
        let known = METRICS.iter().filter_map(|metric| fields.remove_entry(metric.name)).collect::<Vec<_>>();
        let values = known
            .into_iter()
            .chain(fields)
            .map(|(name, value)| serde_json::from_value(value).map(|value| (name, value)))
            .collect::<Result<_, _>>()
            .map_err(D::Error::custom)?;
        Ok(Self { values, reasons: reasons.unwrap_or_default() })
    }
}
