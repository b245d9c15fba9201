//! Bars in columns, checked once.
//!
//! The rule of missing values: a bar whose close is NaN (`null`) cannot trade and is valued at the close before it
//! (the first known one at the start). A missing open is the close, a missing high or low the larger or smaller of open
//! and close. Everything else that is no price (zero, negative, infinite) is an error.

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};
use serde::{Deserialize, Serialize};

use super::error::BacktestError;
use super::orders::{column, optional};
use super::span::Span;

/// So many equal steps in a row that are longer than the frequency are no gaps but other bars.
const MIXED_RUN: usize = 8;

/// Bars as a request holds them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceColumns {
    /// When each bar began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<Vec<DateTime<Utc>>>,
    /// First price.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional")]
    pub open: Option<Vec<f64>>,
    /// Highest price.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional")]
    pub high: Option<Vec<f64>>,
    /// Lowest price.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional")]
    pub low: Option<Vec<f64>>,
    /// Last price.
    #[serde(with = "column")]
    pub close: Vec<f64>,
    /// Traded volume.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional")]
    pub volume: Option<Vec<f64>>,
}

/// Checked bars. Columns are of one length; prices are finite and positive, or NaN where missing.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices {
    times: Option<Vec<i64>>,
    open: Option<Vec<f64>>,
    high: Option<Vec<f64>>,
    low: Option<Vec<f64>>,
    close: Vec<f64>,
    volume: Option<Vec<f64>>,
}

impl Prices {
    /// Closes alone.
    ///
    /// # Errors
    /// As [`Prices::new`].
    pub fn from_close(close: Vec<f64>) -> Result<Self, BacktestError> {
        Self::new(PriceColumns { close, ..PriceColumns::default() })
    }

    /// Checks columns.
    ///
    /// # Errors
    /// When there are no bars or none with a price, columns differ in length, a price is zero, negative or infinite, a
    /// bar's low is above its open or close (or its high below), or times are not strictly ascending: with field and row.
    pub fn new(columns: PriceColumns) -> Result<Self, BacktestError> {
        let times = columns.ts.as_ref().map(|times| times.iter().map(DateTime::timestamp_millis).collect());
        Self::of(times, columns).checked()
    }

    /// Checks columns whose times are milliseconds since 1970.
    ///
    /// # Errors
    /// As [`Prices::new`].
    pub fn with_times(times: Vec<i64>, columns: PriceColumns) -> Result<Self, BacktestError> {
        Self::of(Some(times), columns).checked()
    }

    fn of(times: Option<Vec<i64>>, columns: PriceColumns) -> Self {
        let PriceColumns { open, high, low, close, volume, .. } = columns;
        Self { times, open, high, low, close, volume }
    }

    fn checked(self) -> Result<Self, BacktestError> {
        if self.close.is_empty() {
            return Err(BacktestError::Empty { field: "prices.close".to_owned(), reason: "has no bars" });
        }
        self.check_lengths()?;
        for (field, column) in [
            ("prices.close", Some(&self.close)),
            ("prices.open", self.open.as_ref()),
            ("prices.high", self.high.as_ref()),
            ("prices.low", self.low.as_ref()),
        ] {
            check_column(
                field,
                column,
                |price| price > 0.0,
                "prices must be finite and above 0, or null when missing",
            )?;
        }
        let allowed = "volumes must be finite and not negative, or null when missing";
        check_column("prices.volume", self.volume.as_ref(), |volume| volume >= 0.0, allowed)?;
        if self.close.iter().all(|price| price.is_nan()) {
            return Err(BacktestError::Empty { field: "prices.close".to_owned(), reason: "has no bar with a price" });
        }
        self.check_shapes()?;
        self.check_times()?;
        Ok(self)
    }

    fn check_lengths(&self) -> Result<(), BacktestError> {
        let expected = self.close.len();
        for (field, len) in [
            ("prices.ts", self.times.as_ref().map(Vec::len)),
            ("prices.open", self.open.as_ref().map(Vec::len)),
            ("prices.high", self.high.as_ref().map(Vec::len)),
            ("prices.low", self.low.as_ref().map(Vec::len)),
            ("prices.volume", self.volume.as_ref().map(Vec::len)),
        ] {
            if let Some(len) = len
                && len != expected
            {
                return Err(BacktestError::Length {
                    field: field.to_owned(),
                    len,
                    expected_by: "prices.close",
                    expected,
                });
            }
        }
        Ok(())
    }

    // Comparisons with NaN are false, so that missing prices pass.
    fn check_shapes(&self) -> Result<(), BacktestError> {
        if let Some(low) = &self.low {
            for (row, low) in low.iter().enumerate() {
                if *low > self.close[row] || self.open.as_ref().is_some_and(|open| *low > open[row]) {
                    let allowed = "the low is at most the bar's open and close";
                    return Err(BacktestError::Value { field: "prices.low".to_owned(), row, value: *low, allowed });
                }
            }
        }
        if let Some(high) = &self.high {
            for (row, high) in high.iter().enumerate() {
                if *high < self.close[row] || self.open.as_ref().is_some_and(|open| *high < open[row]) {
                    let allowed = "the high is at least the bar's open and close";
                    return Err(BacktestError::Value { field: "prices.high".to_owned(), row, value: *high, allowed });
                }
            }
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), BacktestError> {
        let Some(times) = &self.times else { return Ok(()) };
        for (row, pair) in times.windows(2).enumerate() {
            if pair[1] <= pair[0] {
                let what = if pair[1] == pair[0] { "doubles" } else { "is before" };
                let reason = format!("{} {what} the time of the bar before, {}", show(pair[1]), show(pair[0]));
                return Err(BacktestError::Time { field: "prices.ts".to_owned(), row: row + 1, reason });
            }
        }
        Ok(())
    }

    /// Checks the times against a frequency: no step may be shorter, steps that are longer are gaps (nights, weekends,
    /// holidays) unless many equal ones follow each other.
    ///
    /// # Errors
    /// [`BacktestError::Time`] with the first bar that belongs to another interval.
    pub fn check_frequency(&self, frequency: Span) -> Result<(), BacktestError> {
        let Some(times) = &self.times else { return Ok(()) };
        // Days begin at a market's midnight, which summer time moves by an hour.
        let slack = if frequency >= Span::DAY { 3_600_000 } else { 0 };
        let expected = frequency.milliseconds();
        let mut run = (0, 0);
        for (row, pair) in times.windows(2).enumerate() {
            let step = pair[1] - pair[0];
            let other = step - expected > slack;
            run = if other && step == run.0 { (step, run.1 + 1) } else { (step, usize::from(other)) };
            if step < expected - slack || run.1 >= MIXED_RUN {
                let first = row + 2 - run.1.max(1);
                let shown = Span::from_milliseconds(step).map(|span| span.to_string()).unwrap_or_default();
                let reason =
                    format!("{} lies {shown} after the bar before, the frequency is {frequency}", show(times[first]));
                return Err(BacktestError::Time { field: "prices.ts".to_owned(), row: first, reason });
            }
        }
        Ok(())
    }

    /// The median step between two bars, where there are times and two bars.
    pub fn median_step(&self) -> Option<Span> {
        let mut steps: Vec<i64> = self.times.as_ref()?.windows(2).map(|pair| pair[1] - pair[0]).collect();
        if steps.is_empty() {
            return None;
        }
        let middle = (steps.len() - 1) / 2;
        let (_, median, _) = steps.select_nth_unstable(middle);
        Span::from_milliseconds(*median)
    }

    /// How many bars.
    pub fn len(&self) -> usize {
        self.close.len()
    }

    /// Never true of checked prices.
    pub fn is_empty(&self) -> bool {
        self.close.is_empty()
    }

    /// Milliseconds since 1970 at which each bar began.
    pub fn times(&self) -> Option<&[i64]> {
        self.times.as_deref()
    }

    /// Last prices.
    pub fn close(&self) -> &[f64] {
        &self.close
    }

    /// Last prices; gaps have the one before, at the start the first.
    pub fn filled(&self) -> Cow<'_, [f64]> {
        let missing = |part: &[f64]| part.iter().fold(false, |any, close| any | close.is_nan());
        if !self.close.chunks(512).any(missing) {
            return Cow::Borrowed(&self.close);
        }
        let mut before = self.close.iter().copied().find(|close| !close.is_nan()).unwrap_or(f64::NAN);
        let fill = |close: &f64| {
            before = if close.is_nan() { before } else { *close };
            before
        };
        self.close.iter().map(fill).collect()
    }

    /// First prices, where known.
    pub fn open(&self) -> Option<&[f64]> {
        self.open.as_deref()
    }

    /// Highest prices, where known.
    pub fn high(&self) -> Option<&[f64]> {
        self.high.as_deref()
    }

    /// Lowest prices, where known.
    pub fn low(&self) -> Option<&[f64]> {
        self.low.as_deref()
    }

    /// Volumes, where known.
    pub fn volume(&self) -> Option<&[f64]> {
        self.volume.as_deref()
    }

    /// The bars of `rows` alone.
    #[must_use]
    pub fn slice(&self, rows: std::ops::Range<usize>) -> Self {
        let part = |column: &Option<Vec<f64>>| column.as_ref().map(|column| column[rows.clone()].to_vec());
        Self {
            times: self.times.as_ref().map(|times| times[rows.clone()].to_vec()),
            open: part(&self.open),
            high: part(&self.high),
            low: part(&self.low),
            close: self.close[rows.clone()].to_vec(),
            volume: part(&self.volume),
        }
    }
}

fn check_column(
    field: &str,
    column: Option<&Vec<f64>>,
    good: impl Fn(f64) -> bool,
    allowed: &'static str,
) -> Result<(), BacktestError> {
    let Some(column) = column else { return Ok(()) };
    let wrong = |value: &f64| !value.is_nan() && (value.is_infinite() || !good(*value));
    match column.iter().position(wrong) {
        Some(row) => Err(BacktestError::Value { field: field.to_owned(), row, value: column[row], allowed }),
        None => Ok(()),
    }
}

fn show(time: i64) -> String {
    match Utc.timestamp_millis_opt(time).single() {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        None => format!("{time} ms"),
    }
}
