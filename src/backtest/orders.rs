//! Orders given bar by bar instead of signals.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::BacktestError;

/// One order a bar; a bar without a size or a price has none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orders {
    /// Signed sizes in units of the request's `size_type`; `null` is no order, `"inf"` everything.
    #[serde(with = "column")]
    pub size: Vec<f64>,
    /// Prices instead of the closes.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional")]
    pub price: Option<Vec<f64>>,
}

impl Orders {
    /// Checks lengths and prices.
    ///
    /// # Errors
    /// With column and row.
    pub fn check(&self, bars: usize) -> Result<(), BacktestError> {
        for (field, column) in
            [("signals.orders.size", Some(&self.size)), ("signals.orders.price", self.price.as_ref())]
        {
            if let Some(column) = column
                && column.len() != bars
            {
                return Err(BacktestError::Length {
                    field: field.to_owned(),
                    len: column.len(),
                    expected_by: "prices.close",
                    expected: bars,
                });
            }
        }
        let wrong = |price: &f64| *price <= 0.0 || price.is_infinite();
        if let Some(prices) = &self.price
            && let Some(row) = prices.iter().position(wrong)
        {
            return Err(BacktestError::Value {
                field: "signals.orders.price".to_owned(),
                row,
                value: prices[row],
                allowed: "prices must be finite and above 0, or null for no order",
            });
        }
        Ok(())
    }
}

/// A number as JSON can hold it: `null` is missing, `"inf"` and `"-inf"` are everything.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a number, null, \"inf\" or \"-inf\"")]
enum Cell {
    Number(f64),
    Infinite(Infinite),
    Missing(()),
}

#[derive(Serialize, Deserialize)]
enum Infinite {
    #[serde(rename = "inf")]
    Positive,
    #[serde(rename = "-inf")]
    Negative,
}

impl From<Cell> for f64 {
    fn from(cell: Cell) -> Self {
        match cell {
            Cell::Number(number) => number,
            Cell::Infinite(Infinite::Positive) => Self::INFINITY,
            Cell::Infinite(Infinite::Negative) => Self::NEG_INFINITY,
            Cell::Missing(()) => Self::NAN,
        }
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        if number.is_nan() {
            Self::Missing(())
        } else if number.is_finite() {
            Self::Number(number)
        } else if number > 0.0 {
            Self::Infinite(Infinite::Positive)
        } else {
            Self::Infinite(Infinite::Negative)
        }
    }
}

/// Columns with `null` for missing numbers, for `#[serde(with)]`.
pub(crate) mod column {
    use super::{Cell, Deserialize as _, Deserializer, Serializer};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        Ok(Vec::<Cell>::deserialize(deserializer)?.into_iter().map(f64::from).collect())
    }

    pub(crate) fn serialize<S: Serializer>(column: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(column.iter().map(|number| Cell::from(*number)))
    }
}

/// The same where there may be no column.
pub(crate) mod optional {
    use super::{Deserializer, Serializer, column};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<f64>>, D::Error> {
        column::deserialize(deserializer).map(Some)
    }

    #[expect(clippy::ref_option, reason = "serde hands a reference to the field")]
    pub(crate) fn serialize<S: Serializer>(values: &Option<Vec<f64>>, serializer: S) -> Result<S::Ok, S::Error> {
        column::serialize(values.as_deref().unwrap_or_default(), serializer)
    }
}
