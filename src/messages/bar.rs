//! The bar: open, high, low, close and volume of one symbol in one interval.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::code::{ErrorCode, Rejection};
use crate::backtest::span::Span;
use crate::text::clean::clean;
use crate::text::decode::object;

/// Largest record taken as a bar, in bytes.
const MAX_BYTES: usize = 65_536;
/// Deepest nesting of its JSON.
const MAX_DEPTH: usize = 32;
/// Longest symbol, in characters.
pub const MAX_SYMBOL_CHARS: usize = 32;
/// Fields that are not metadata.
const REQUIRED_PRICES: [&str; 4] = ["open", "high", "low", "close"];

/// A valid bar. Made only by [`decode`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// Trading symbol, upper case.
    pub symbol: Arc<str>,
    /// When the bar begins, to the microsecond.
    pub ts: DateTime<Utc>,
    /// How long it lasts, such as `5m` or `1d`; see [`interval`].
    pub interval: Arc<str>,
    /// First price.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
    /// What was traded; absent where the market has no such number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<f64>,
    /// `metadata` as given, with the fields Tidemill does not know beside it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

impl Bar {
    /// Names it among all bars: symbol, interval and time.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.symbol, self.interval, self.ts.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
    }
}

/// Decodes one JSON object.
///
/// Unknown fields go to `metadata`. `null` is the same as leaving the field out.
///
/// # Errors
/// A [`Rejection`] with the code and field at fault; for JSON that does not parse, line and column.
pub fn decode(bytes: &[u8]) -> Result<Bar, Rejection> {
    let mut object = object(bytes, MAX_BYTES, MAX_DEPTH, "a bar")?;
    let symbol = symbol(&text(&mut object, "symbol")?)?;
    let ts = time(&text(&mut object, "ts")?)?;
    let interval = interval(&text(&mut object, "interval")?)?;
    let [open, high, low, close] = prices(&mut object)?;
    let volume = volume(&mut object)?;
    Ok(Bar {
        symbol: symbol.into(),
        ts,
        interval: interval.into(),
        open,
        high,
        low,
        close,
        volume,
        metadata: metadata(object)?,
    })
}

/// A symbol as it is kept: cleaned, upper case.
///
/// # Errors
/// If nothing is left, it is too long or has white space within.
pub fn symbol(raw: &str) -> Result<String, Rejection> {
    let cleaned = clean(raw);
    let symbol = cleaned.strip_prefix('$').unwrap_or(&cleaned).to_uppercase();
    let chars = symbol.chars().count();
    let fits = (1..=MAX_SYMBOL_CHARS).contains(&chars) && !symbol.chars().any(char::is_whitespace);
    if fits {
        return Ok(symbol);
    }
    let said = format!("symbol must have 1 to {MAX_SYMBOL_CHARS} characters and no white space, got {chars}");
    Err(Rejection::field(ErrorCode::InvalidBar, "symbol", said))
}

/// An interval as it is kept: the same length of time is always written the same, `60m` as `1h` and `1w` as `7d`.
///
/// # Errors
/// If it is no length of time.
pub fn interval(text: &str) -> Result<String, Rejection> {
    let span = text.parse::<Span>().map_err(|_| {
        let shown: String = text.chars().take(40).flat_map(char::escape_debug).collect();
        let said = format!("interval must be a number and s, m, h, d or w, such as 5m or 1d, got \"{shown}\"");
        Rejection::field(ErrorCode::InvalidBar, "interval", said)
    })?;
    Ok(span.to_string())
}

fn text(object: &mut Map<String, Value>, field: &'static str) -> Result<String, Rejection> {
    match object.remove(field) {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => {
            Err(Rejection::field(ErrorCode::MissingField, field, format!("{field} is missing")))
        }
        Some(_) => Err(Rejection::field(ErrorCode::WrongType, field, format!("{field} must be a string"))),
    }
}

fn time(raw: &str) -> Result<DateTime<Utc>, Rejection> {
    let time = DateTime::parse_from_rfc3339(raw.trim()).ok().map(|time| time.to_utc());
    time.and_then(|time| DateTime::from_timestamp_micros(time.timestamp_micros())).ok_or_else(|| {
        let shown: String = raw.chars().take(40).flat_map(char::escape_debug).collect();
        let said = format!("ts must be an RFC 3339 time such as 2026-01-31T09:30:00Z, got \"{shown}\"");
        Rejection::field(ErrorCode::InvalidTime, "ts", said)
    })
}

fn number(object: &mut Map<String, Value>, field: &'static str) -> Result<Option<f64>, Rejection> {
    match object.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => match number.as_f64().filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(Rejection::field(ErrorCode::InvalidBar, field, format!("{field} is not a finite number"))),
        },
        Some(_) => Err(Rejection::field(ErrorCode::WrongType, field, format!("{field} must be a number"))),
    }
}

/// Open, high, low and close: positive, and in their order.
fn prices(object: &mut Map<String, Value>) -> Result<[f64; 4], Rejection> {
    let mut prices = [0.0; 4];
    for (field, price) in REQUIRED_PRICES.into_iter().zip(&mut prices) {
        let Some(number) = number(object, field)? else {
            return Err(Rejection::field(ErrorCode::MissingField, field, format!("{field} is missing")));
        };
        if number <= 0.0 {
            let said = format!("{field} must be over 0, got {number}");
            return Err(Rejection::field(ErrorCode::InvalidBar, field, said));
        }
        *price = number;
    }
    let [open, high, low, close] = prices;
    for (field, price) in [("open", open), ("close", close)] {
        if !(low..=high).contains(&price) {
            let said = format!("{field} {price} is not from low {low} to high {high}");
            return Err(Rejection::field(ErrorCode::InvalidBar, field, said));
        }
    }
    Ok(prices)
}

fn volume(object: &mut Map<String, Value>) -> Result<Option<f64>, Rejection> {
    let volume = number(object, "volume")?;
    match volume {
        Some(volume) if volume < 0.0 => {
            let said = format!("volume must be 0 or more, got {volume}");
            Err(Rejection::field(ErrorCode::InvalidBar, "volume", said))
        }
        Some(_) | None => Ok(volume),
    }
}

/// `metadata` with the unknown fields beside it; a name that is already taken gets `_` in front.
fn metadata(mut object: Map<String, Value>) -> Result<Map<String, Value>, Rejection> {
    let mut metadata = match object.remove("metadata") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(metadata)) => metadata,
        Some(_) => return Err(Rejection::field(ErrorCode::WrongType, "metadata", "metadata must be an object")),
    };
    for (mut name, value) in object {
        while metadata.contains_key(&name) {
            name.insert(0, '_');
        }
        metadata.insert(name, value);
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn valid() -> Value {
        json!({"symbol": "$aapl", "ts": "2026-01-02T15:30:00.1234567+01:00", "interval": "1d", "open": 10, "high": 12.5,
            "low": 9, "close": 12.5, "volume": 1e6, "venue": "XNAS", "metadata": {"venue": 1}})
    }

    #[test]
    fn valid_bar_is_cleaned_and_keeps_what_is_unknown() {
        let bar = decode(valid().to_string().as_bytes()).unwrap();
        assert_eq!(bar.id(), "AAPL/1d/2026-01-02T14:30:00.123456Z");
        assert_eq!((bar.open, bar.high, bar.volume), (10.0, 12.5, Some(1e6)));
        assert_eq!(json!(bar.metadata), json!({"venue": 1, "_venue": "XNAS"}));
        let again: Bar = serde_json::from_value(json!(bar)).unwrap();
        assert_eq!(again, bar);
    }

    #[test]
    fn same_interval_is_always_written_the_same() {
        let written = ["1d", "24h", "60m", "1h30m", "1w"].map(|text| interval(text).unwrap());
        assert_eq!(written, ["1d", "1d", "1h", "1h30m", "7d"]);
    }

    #[test]
    fn wrong_bars_are_refused_by_field() {
        for (field, value, code) in [
            ("symbol", json!(null), ErrorCode::MissingField),
            ("symbol", json!(7), ErrorCode::WrongType),
            ("symbol", json!(" \u{200b}"), ErrorCode::InvalidBar),
            ("symbol", json!("A B"), ErrorCode::InvalidBar),
            ("symbol", json!("X".repeat(33)), ErrorCode::InvalidBar),
            ("ts", json!("yesterday"), ErrorCode::InvalidTime),
            ("ts", json!(1_700_000_000), ErrorCode::WrongType),
            ("interval", json!("day"), ErrorCode::InvalidBar),
            ("interval", json!("0d"), ErrorCode::InvalidBar),
            ("interval", json!("1M"), ErrorCode::InvalidBar),
            ("open", json!(null), ErrorCode::MissingField),
            ("open", json!("10"), ErrorCode::WrongType),
            ("open", json!(0), ErrorCode::InvalidBar),
            ("open", json!(8.9), ErrorCode::InvalidBar),
            ("close", json!(12.6), ErrorCode::InvalidBar),
            ("low", json!(-1), ErrorCode::InvalidBar),
            ("volume", json!(-1), ErrorCode::InvalidBar),
            ("metadata", json!([]), ErrorCode::WrongType),
        ] {
            let mut bar = valid();
            bar[field] = value.clone();
            let rejection = decode(bar.to_string().as_bytes()).unwrap_err();
            assert_eq!((rejection.code, rejection.field.as_deref()), (code, Some(field)), "{field}: {value}");
        }
    }

    #[test]
    fn numbers_json_does_not_have_are_refused() {
        for text in [r#"{"open": NaN}"#, r#"{"open": 1e999}"#, "[]", "", "{\"a\":"] {
            assert!(decode(text.as_bytes()).is_err(), "{text}");
        }
    }
}
