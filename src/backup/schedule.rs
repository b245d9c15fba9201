//! When the next backup is due.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use croner::Cron;

/// Times in UTC by a cron expression.
#[derive(Debug, Clone)]
pub struct Schedule(Cron);

impl Schedule {
    /// Reads an expression of five fields (minute, hour, day of month, month, day of week), six with seconds in front, or
    /// a word such as `@daily`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        Cron::from_str(text).map(Self).map_err(|error| error.to_string())
    }

    /// The first time after `now`; `None` if there is none any more.
    #[must_use]
    pub fn next_after(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.0.find_next_occurrence(&now, false).ok()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn next_time_lies_after_now() {
        let nightly = Schedule::parse("30 2 * * *").unwrap();
        assert_eq!(nightly.next_after(time("2026-02-28T02:29:59Z")), Some(time("2026-02-28T02:30:00Z")));
        assert_eq!(nightly.next_after(time("2026-02-28T02:30:00Z")), Some(time("2026-03-01T02:30:00Z")));
        let weekly = Schedule::parse("0 0 * * SUN").unwrap();
        assert_eq!(weekly.next_after(time("2026-11-28T12:00:00Z")), Some(time("2026-11-29T00:00:00Z")));
        assert_eq!(
            Schedule::parse("*/10 * * * * *").unwrap().next_after(time("2026-01-01T00:00:01Z")),
            Some(time("2026-01-01T00:00:10Z")),
            "six fields begin with seconds"
        );
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for wrong in ["", "daily", "61 * * * *", "* * *"] {
            assert!(Schedule::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
