//! Dates in figures and words, and periods such as quarters.

use super::{Hit, Scan};

const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "jan",
    "feb",
    "mar",
    "apr",
    "jun",
    "jul",
    "aug",
    "sep",
    "sept",
    "oct",
    "nov",
    "dec",
];

impl Scan {
    /// As many digits as this, no more, and their value.
    fn digits(&self, at: usize, count: std::ops::RangeInclusive<usize>) -> Option<(u32, usize)> {
        let length = (at..at + 6).take_while(|&place| self.at(place).is_ascii_digit()).count();
        if !count.contains(&length) {
            return None;
        }
        let value = (at..at + length).fold(0, |value, place| value * 10 + self.at(place).to_digit(10).unwrap_or(0));
        Some((value, at + length))
    }

    /// `2026-01-31`, `31/01/2026`, `1/31/26`.
    pub(super) fn numeric_date(&self, at: usize) -> Option<Hit> {
        let (first, end) = self.digits(at, 1..=4)?;
        let separator = self.at(end);
        if !matches!(separator, '-' | '/') {
            return None;
        }
        let (second, end) = self.digits(end + 1, 1..=2)?;
        if self.at(end) != separator {
            return None;
        }
        let (third, end) = self.digits(end + 1, 1..=4)?;
        let day_month = |day: u32, month: u32| (1..=31).contains(&day) && (1..=12).contains(&month);
        let year_first = (1900..2200).contains(&first) && day_month(third, second);
        let year = third < 100 || (1900..2200).contains(&third);
        let year_last = separator == '/' && year && (day_month(first, second) || day_month(second, first));
        (!self.at(end).is_alphanumeric() && (year_first || year_last)).then(|| Hit::plain(end, "date"))
    }

    /// `31 January 2026`, `5th of May`.
    pub(super) fn day_month_date(&self, at: usize) -> Option<Hit> {
        let (day, mut end) = self.digits(at, 1..=2)?;
        let (suffix, behind) = self.word(end);
        if matches!(suffix.as_str(), "st" | "nd" | "rd" | "th") {
            end = behind;
        }
        let (mut month, mut behind) = self.word(end + 1);
        if month == "of" {
            (month, behind) = self.word(behind + 1);
        }
        let valid = self.at(end) == ' ' && (1..=31).contains(&day) && MONTHS.contains(&month.as_str());
        valid.then(|| Hit::plain(self.year(behind), "date"))
    }

    /// `January 31, 2026`, `Jan. 5`, `March 2026`; capitals only, as may and march are words.
    pub(super) fn month_date(&self, at: usize) -> Option<Hit> {
        let (month, end) = self.word(at);
        if !self.at(at).is_uppercase() || !MONTHS.contains(&month.as_str()) {
            return None;
        }
        let end = end + usize::from(self.at(end) == '.');
        if self.at(end) != ' ' {
            return None;
        }
        if let Some((year, behind)) = self.digits(end + 1, 4..=4) {
            return (1900..2200).contains(&year).then(|| Hit::plain(behind, "date"));
        }
        let (day, mut behind) = self.digits(end + 1, 1..=2)?;
        let (suffix, after) = self.word(behind);
        if matches!(suffix.as_str(), "st" | "nd" | "rd" | "th") {
            behind = after;
        }
        (1..=31).contains(&day).then(|| Hit::plain(self.year(behind), "date"))
    }

    /// End of a year behind a day, or of the day.
    fn year(&self, end: usize) -> usize {
        let from = if self.at(end) == ',' { end + 2 } else { end + 1 };
        match self.digits(from, 4..=4) {
            Some((year, behind)) if self.at(from - 1) == ' ' && (1900..2200).contains(&year) => behind,
            _ => end,
        }
    }

    /// `Q3 2026`, `Q1`, `H1 2026`, `FY26`.
    pub(super) fn period(&self, at: usize) -> Option<Hit> {
        let (word, end) = self.word(at);
        let valid = match word.split_at_checked(1)? {
            ("q", quarter) => matches!(quarter, "1" | "2" | "3" | "4"),
            ("h", half) => matches!(half, "1" | "2"),
            ("f", rest) => rest
                .strip_prefix('y')
                .is_some_and(|year| matches!(year.len(), 2 | 4) && year.bytes().all(|byte| byte.is_ascii_digit())),
            _ => false,
        };
        (valid && self.at(at).is_uppercase()).then(|| Hit::plain(self.year(end), "date"))
    }
}
