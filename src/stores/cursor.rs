//! Opaque cursors: where a page of a listing ended.

use crate::stores::documents::{Page, StoreError};

/// Most items of one page.
const MAX_LIMIT: usize = 1000;

/// The last item of a page: listings go on below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The item's time, microseconds.
    pub(super) time_us: i64,
    /// The item's row.
    pub(super) seq: i64,
}

impl Cursor {
    /// Above every item.
    pub(super) const START: Self = Self { time_us: i64::MAX, seq: i64::MAX };

    /// As users see it; `listing` keeps the cursors of different listings apart.
    pub(super) fn encode(self, listing: char) -> String {
        format!("{listing}{:016x}{:016x}", self.time_us, self.seq)
    }

    /// Reads a cursor of a listing that goes up; `None` at its start.
    pub(super) fn rising(text: Option<&str>, listing: char) -> Result<Option<Self>, StoreError> {
        text.map(|text| Self::decode(Some(text), listing)).transpose()
    }

    /// Reads a cursor back.
    pub(super) fn decode(text: Option<&str>, listing: char) -> Result<Self, StoreError> {
        let Some(text) = text else { return Ok(Self::START) };
        let parse = || {
            let digits = text.strip_prefix(listing)?;
            let valid = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            let half = |range| u64::from_str_radix(digits.get::<std::ops::Range<usize>>(range)?, 16).ok();
            if !valid {
                return None;
            }
            Some(Self { time_us: half(0..16)?.cast_signed(), seq: half(16..32)?.cast_signed() })
        };
        parse().ok_or_else(|| StoreError::InvalidQuery("cursor is not one this listing gave".to_owned()))
    }
}

/// Checks a page's size.
pub(super) fn checked_limit(limit: usize) -> Result<usize, StoreError> {
    if (1..=MAX_LIMIT).contains(&limit) {
        Ok(limit)
    } else {
        Err(StoreError::InvalidQuery(format!("limit must be 1 to {MAX_LIMIT}, got {limit}")))
    }
}

/// Most items of one page of market data.
const MAX_MARKET_LIMIT: usize = 10_000;

/// Checks the size of a page of bars or signals, which are small.
pub(super) fn checked_market_limit(limit: usize) -> Result<usize, StoreError> {
    if (1..=MAX_MARKET_LIMIT).contains(&limit) {
        Ok(limit)
    } else {
        Err(StoreError::InvalidQuery(format!("limit must be 1 to {MAX_MARKET_LIMIT}, got {limit}")))
    }
}

/// Cuts one row too many off and says where the page ended.
pub(super) fn page<T>(rows: &mut Vec<(T, Cursor)>, limit: usize, listing: char) -> Page<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|(_, cursor)| cursor.encode(listing));
    Page { items: rows.drain(..).map(|(item, _)| item).collect(), next_cursor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_were() {
        for cursor in [Cursor { time_us: -5, seq: 7 }, Cursor::START, Cursor { time_us: i64::MIN, seq: 0 }] {
            assert_eq!(Cursor::decode(Some(&cursor.encode('d')), 'd'), Ok(cursor));
        }
    }

    #[test]
    fn foreign_cursors_are_refused() {
        let other = Cursor::START.encode('l');
        for text in ["", "d", "dxyz", "d+00000000000000+000000000000000", &other, "dé"] {
            assert!(matches!(Cursor::decode(Some(text), 'd'), Err(StoreError::InvalidQuery(_))), "{text}");
        }
    }
}
