//! Bars from CSV and Parquet files: which column holds what, and errors that name file, row and column.

mod csv_file;
mod parquet_file;
mod rows;

use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use serde::{Deserialize, Serialize};

use crate::backtest::error::BacktestError;
use crate::backtest::prices::Prices;

/// Names of columns as a file has them; what is left out is found by its usual names, whatever their case.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColumnNames {
    /// When each bar began; usually `ts`, `timestamp`, `time`, `datetime` or `date`. May be missing.
    pub ts: Option<String>,
    /// First price; usually `open`. May be missing.
    pub open: Option<String>,
    /// Highest price; usually `high`. May be missing.
    pub high: Option<String>,
    /// Lowest price; usually `low`. May be missing.
    pub low: Option<String>,
    /// Last price; usually `close` or `price`.
    pub close: Option<String>,
    /// What was traded; usually `volume`. May be missing.
    pub volume: Option<String>,
    /// Tells symbols apart where a file has several; looked at only when it is named here.
    pub symbol: Option<String>,
}

/// What a bar file is asked for.
#[derive(Debug, Clone, Default)]
pub struct BarFileRequest<'a> {
    /// Names of columns.
    pub columns: ColumnNames,
    /// Only bars of this symbol, where [`ColumnNames::symbol`] is named.
    pub symbol: Option<&'a str>,
    /// Bars at or after this time, milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Bars before this time.
    pub to_ms: Option<i64>,
    /// Most bars.
    pub max_bars: u64,
}

/// Why bars can't be read from a file. Rows count from 1, as lines of data below the head do.
#[derive(Debug, thiserror::Error)]
pub enum BarFileError {
    /// The file itself.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// One value.
    #[error("{path}: row {row}, column {column:?}: {reason}")]
    Value {
        /// The file.
        path: PathBuf,
        /// From 1.
        row: u64,
        /// As the file names it.
        column: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The bars make no sense together.
    #[error("{path}: {error}")]
    Bars {
        /// The file.
        path: PathBuf,
        /// With field and row, from 0.
        error: BacktestError,
    },
}

/// Reads checked bars from a file whose name ends in `.csv`, `.tsv` or `.parquet`.
///
/// # Errors
/// Names the file and what is wrong, with row and column where there is one.
pub fn read(path: &Path, request: &BarFileRequest<'_>) -> Result<Prices, BarFileError> {
    let failed = |reason: String| BarFileError::File { path: path.to_owned(), reason };
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let collected = match extension.to_ascii_lowercase().as_str() {
        "csv" | "tsv" | "txt" => csv_file::read(path, request)?,
        "parquet" => parquet_file::read(path, request)?,
        other => return Err(failed(format!("{other:?} is no format of bars: name it .csv, .tsv or .parquet"))),
    };
    collected.into_prices().map_err(|error| BarFileError::Bars { path: path.to_owned(), error })
}

/// What one column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Time,
    Open,
    High,
    Low,
    Close,
    Volume,
    Symbol,
}

impl Role {
    const ALL: [Self; 7] = [Self::Time, Self::Open, Self::High, Self::Low, Self::Close, Self::Volume, Self::Symbol];

    const fn usual(self) -> &'static [&'static str] {
        match self {
            Self::Time => &["ts", "timestamp", "time", "datetime", "date"],
            Self::Open => &["open"],
            Self::High => &["high"],
            Self::Low => &["low"],
            Self::Close => &["close", "price"],
            Self::Volume => &["volume"],
            Self::Symbol => &[],
        }
    }

    fn named(self, names: &ColumnNames) -> Option<&str> {
        match self {
            Self::Time => names.ts.as_deref(),
            Self::Open => names.open.as_deref(),
            Self::High => names.high.as_deref(),
            Self::Low => names.low.as_deref(),
            Self::Close => names.close.as_deref(),
            Self::Volume => names.volume.as_deref(),
            Self::Symbol => names.symbol.as_deref(),
        }
    }
}

/// Which columns of a file are read as what, in the order of the file.
fn roles(head: &[String], names: &ColumnNames) -> Result<Vec<(usize, Role)>, String> {
    let place = |name: &str| head.iter().position(|column| column.trim() == name);
    let alike = |name: &str| head.iter().position(|column| column.trim().eq_ignore_ascii_case(name));
    let mut found = Vec::new();
    for role in Role::ALL {
        let column = match role.named(names) {
            Some(name) => {
                let missing = || format!("there is no column {name:?}; there are: {}", head.join(", "));
                Some(place(name).or_else(|| alike(name)).ok_or_else(missing)?)
            }
            None => role.usual().iter().find_map(|name| alike(name)),
        };
        if let Some(column) = column {
            found.push((column, role));
        }
    }
    if !found.iter().any(|(_, role)| *role == Role::Close) {
        return Err(format!(
            "there is no column \"close\"; name the one with the last prices as columns.close: {}",
            head.join(", ")
        ));
    }
    found.sort_by_key(|(column, _)| *column);
    Ok(found)
}

/// A time as files write it, in milliseconds since 1970: RFC 3339, a date, a date and time in UTC, or a number since
/// 1970 in seconds, milli-, micro- or nanoseconds, told apart by its size.
fn time_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        return epoch_ms(number);
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_millis());
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Some(date.and_time(NaiveTime::MIN).and_utc().timestamp_millis());
    }
    ["%Y-%m-%d %H:%M:%S%.f%:z", "%Y-%m-%d %H:%M:%S%.f%z"]
        .iter()
        .find_map(|format| DateTime::parse_from_str(text, format).ok())
        .map(|time| time.timestamp_millis())
        .or_else(|| {
            ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"]
                .iter()
                .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
                .map(|time| time.and_utc().timestamp_millis())
        })
}

/// A number since 1970 in milliseconds; its size says its unit, as every unit's numbers of the years 1973 to 5138 do.
fn epoch_ms(number: i64) -> Option<i64> {
    match number.unsigned_abs() {
        0..100_000_000_000 => number.checked_mul(1000),
        100_000_000_000..100_000_000_000_000 => Some(number),
        100_000_000_000_000..100_000_000_000_000_000 => Some(number.div_euclid(1000)),
        _ => Some(number.div_euclid(1_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_common_form() {
        let expected = Some(1_767_312_000_000);
        for text in [
            "2026-01-02",
            "2026-01-02T00:00:00Z",
            "2026-01-02T01:00:00+01:00",
            "2026-01-02 00:00:00",
            "2026-01-02 00:00",
            "2026-01-02 01:00:00+01:00",
            "2026-01-02 00:00:00.000",
            "1767312000",
            "1767312000000",
            "1767312000000000",
            "1767312000000000000",
        ] {
            assert_eq!(time_ms(text), expected, "{text}");
        }
        for text in ["", "02/01/2026", "soon", "1e9"] {
            assert_eq!(time_ms(text), None, "{text}");
        }
    }

    #[test]
    fn columns_are_found_by_name_or_by_mapping() {
        let head: Vec<String> = ["Date", "Adj", "CLOSE", "x"].map(str::to_owned).into();
        let found = roles(&head, &ColumnNames::default());
        assert_eq!(found, Ok(vec![(0, Role::Time), (2, Role::Close)]));
        let mapped = ColumnNames { close: Some("Adj".to_owned()), ..ColumnNames::default() };
        assert_eq!(roles(&head, &mapped), Ok(vec![(0, Role::Time), (1, Role::Close)]));
        let missing = ColumnNames { open: Some("o".to_owned()), ..ColumnNames::default() };
        assert!(roles(&head, &missing).is_err_and(|said| said.contains("\"o\"") && said.contains("Adj")));
        assert!(roles(&head[..2], &ColumnNames::default()).is_err_and(|said| said.contains("columns.close")));
    }
}
