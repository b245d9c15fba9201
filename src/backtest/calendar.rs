//! How many bars make a year: what annualises every ratio.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::BacktestError;
use super::span::Span;

/// When a market trades. It replaces `year`, which counts hours in which most markets sleep: fifteen-minute bars in a
/// year of 252 days of 24 hours would be 24,192, where a market open for 6 h 30 min has 6,552.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged, try_from = "Value")]
pub enum Calendar {
    /// A known market.
    Market(Market),
    /// Any other.
    Session(Session),
}

/// Markets known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Market {
    /// Every hour of 365 days.
    Crypto,
    /// 252 days of 6 h 30 min (New York).
    Nyse,
    /// 250 days of 6 h 15 min (Mumbai).
    Nse,
    /// 260 days of 24 h (currencies).
    Forex,
}

/// Trading days and their length.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Trading days of a year.
    pub days_per_year: f64,
    /// How long a day trades.
    pub session: Span,
}

impl TryFrom<Value> for Calendar {
    type Error = serde_json::Error;

    // Derived, an untagged enum would say of every mistake only that it matches no variant.
    fn try_from(value: Value) -> Result<Self, Self::Error> {
        if value.is_string() {
            serde_json::from_value(value).map(Self::Market)
        } else {
            serde_json::from_value(value).map(Self::Session)
        }
    }
}

impl Calendar {
    /// Bars of a year; a day's last bar counts even when the session ends within it.
    ///
    /// # Errors
    /// When days or session are out of range.
    pub fn bars_per_year(self, frequency: Span) -> Result<f64, BacktestError> {
        let Session { days_per_year, session } = match self {
            Self::Market(market) => market.session()?,
            Self::Session(session) => session,
        };
        if !(days_per_year > 0.0 && days_per_year <= 366.0) {
            return Err(BacktestError::parameter("calendar.days_per_year", days_per_year, "above 0, at most 366"));
        }
        if session > Span::DAY {
            return Err(BacktestError::parameter("calendar.session", session, "at most 1d"));
        }
        if frequency >= Span::DAY {
            // Bars longer than a day lie in calendar time: 52 weeks whatever the market's days are.
            let trading_days_per_bar = frequency.ratio(Span::DAY) * days_per_year / 365.0;
            let per_bar = if frequency == Span::DAY { 1.0 } else { trading_days_per_bar };
            return Ok(days_per_year / per_bar);
        }
        Ok(days_per_year * session.ratio(frequency).ceil())
    }
}

impl Market {
    fn session(self) -> Result<Session, BacktestError> {
        let (days_per_year, minutes) = match self {
            Self::Crypto => (365.0, 1440),
            Self::Nyse => (252.0, 390),
            Self::Nse => (250.0, 375),
            Self::Forex => (260.0, 1440),
        };
        let session = Span::from_milliseconds(minutes * 60_000)
            .ok_or_else(|| BacktestError::parameter("calendar.session", minutes, "positive"))?;
        Ok(Session { days_per_year, session })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn bars(calendar: Calendar, frequency: &str) -> f64 {
        calendar.bars_per_year(frequency.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_session_counts_only_the_hours_it_trades() {
        let nyse = Calendar::Market(Market::Nyse);
        assert_eq!(bars(nyse, "15m").to_bits(), (252.0_f64 * 26.0).to_bits());
        assert_eq!(bars(nyse, "1h").to_bits(), (252.0_f64 * 7.0).to_bits());
        assert_eq!(bars(nyse, "1d").to_bits(), 252.0_f64.to_bits());
        assert!((bars(nyse, "7d") - 365.0 / 7.0).abs() < 1e-9);
        assert_eq!(bars(Calendar::Market(Market::Crypto), "1h").to_bits(), 8760.0_f64.to_bits());
    }

    #[test]
    fn impossible_sessions_are_refused() {
        let session = |days_per_year, text: &str| {
            Calendar::Session(Session { days_per_year, session: text.parse().unwrap() }).bars_per_year(Span::DAY)
        };
        assert_eq!(session(400.0, "6h").unwrap_err().field(), "calendar.days_per_year");
        assert_eq!(session(f64::NAN, "6h").unwrap_err().field(), "calendar.days_per_year");
        assert_eq!(session(252.0, "25h").unwrap_err().field(), "calendar.session");
    }
}
