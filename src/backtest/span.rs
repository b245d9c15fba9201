//! Lengths of time as backtests write them: `1d`, `15m`, `1h30m`, `365d`.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const UNITS: [(&str, i64); 6] =
    [("w", 7 * 86_400_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A positive length of time in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    milliseconds: i64,
}

impl Span {
    /// One day.
    pub const DAY: Self = Self { milliseconds: 86_400_000 };
    /// 365 days.
    pub const YEAR: Self = Self { milliseconds: 365 * 86_400_000 };

    /// `None` unless positive.
    pub fn from_milliseconds(milliseconds: i64) -> Option<Self> {
        (milliseconds > 0).then_some(Self { milliseconds })
    }

    /// Its length in milliseconds.
    pub fn milliseconds(self) -> i64 {
        self.milliseconds
    }

    /// How many of `other` fit, as a fraction.
    #[expect(clippy::cast_precision_loss, reason = "spans are far below 2^53 milliseconds")]
    pub fn ratio(self, other: Self) -> f64 {
        self.milliseconds as f64 / other.milliseconds as f64
    }
}

/// A text is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no length of time: numbers with w, d, h, m, s or ms, as in 1d or 1h30m")]
pub struct SpanError(String);

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let error = || SpanError(text.to_owned());
        let mut rest = text.trim();
        let mut total = 0_i64;
        while !rest.is_empty() {
            let digits = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(error)?;
            let number: i64 = rest[..digits].parse().map_err(|_| error())?;
            let letters = &rest[digits..];
            let end = letters.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(letters.len());
            let (_, unit) = UNITS.iter().find(|(name, _)| *name == &letters[..end]).ok_or_else(error)?;
            total = number.checked_mul(*unit).and_then(|part| total.checked_add(part)).ok_or_else(error)?;
            rest = &letters[end..];
        }
        Self::from_milliseconds(total).ok_or_else(error)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.milliseconds;
        // Weeks are not written: 365d reads better than 52w1d.
        for (name, unit) in &UNITS[1..] {
            if rest >= *unit {
                write!(formatter, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn texts_and_lengths_agree_both_ways() {
        for (text, milliseconds) in
            [("1d", 86_400_000), ("15m", 900_000), ("1h30m", 5_400_000), ("365d", 31_536_000_000), ("250ms", 250)]
        {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.milliseconds(), milliseconds);
            assert_eq!(span.to_string(), text);
        }
        assert_eq!("1w".parse::<Span>().unwrap().to_string(), "7d");
    }

    #[test]
    fn what_is_no_length_is_refused() {
        for text in ["", "1", "d", "0d", "-1d", "1y", "1d2", "99999999999999999999d", "9223372036854775807w"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
