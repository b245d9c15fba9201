//! Entries and exits, one pair a bar.

use serde::{Deserialize, Serialize};

use super::error::BacktestError;

/// Columns of signals. With short columns the four decide themselves; without, the request's direction says what
/// entries and exits mean.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signals {
    /// Where to enter (long).
    pub entries: Vec<bool>,
    /// Where to leave (long).
    pub exits: Vec<bool>,
    /// Where to enter short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_entries: Option<Vec<bool>>,
    /// Where to leave short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_exits: Option<Vec<bool>>,
}

impl Signals {
    /// Long entries and exits.
    pub fn new(entries: Vec<bool>, exits: Vec<bool>) -> Self {
        Self { entries, exits, short_entries: None, short_exits: None }
    }

    /// Enters at every bar and never leaves.
    pub fn holding(bars: usize) -> Self {
        Self::new(vec![true; bars], vec![false; bars])
    }

    /// Whether the short side has columns of its own.
    pub fn has_short_side(&self) -> bool {
        self.short_entries.is_some() || self.short_exits.is_some()
    }

    /// Checks that every column has one value a bar.
    ///
    /// # Errors
    /// [`BacktestError::Length`] with the column's name.
    pub fn check(&self, bars: usize) -> Result<(), BacktestError> {
        let columns = [
            ("signals.entries", Some(&self.entries)),
            ("signals.exits", Some(&self.exits)),
            ("signals.short_entries", self.short_entries.as_ref()),
            ("signals.short_exits", self.short_exits.as_ref()),
        ];
        for (field, column) in columns {
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
        Ok(())
    }

    /// The same signals one bar later; the last bar's are lost.
    #[must_use]
    pub fn delayed(&self) -> Self {
        let later = |column: &[bool]| {
            let mut shifted = Vec::with_capacity(column.len());
            shifted.extend((!column.is_empty()).then_some(false));
            shifted.extend_from_slice(&column[..column.len().saturating_sub(1)]);
            shifted
        };
        Self {
            entries: later(&self.entries),
            exits: later(&self.exits),
            short_entries: self.short_entries.as_deref().map(later),
            short_exits: self.short_exits.as_deref().map(later),
        }
    }
}

/// Bars looked at together.
const GROUP: usize = 16;

/// The first bar from `from` on at which one of `columns` is set; columns that are empty never are.
pub(crate) fn first_set(columns: &[&[bool]], from: usize) -> Option<usize> {
    let bars = columns.iter().map(|column| column.len()).max()?;
    (from..bars).step_by(GROUP).find_map(|start| {
        let set = |bit: &bool| *bit;
        // Bit by bit only where there is one: most groups have none.
        if !columns.iter().any(|column| group(column, start).iter().fold(false, |any, bit| any | bit)) {
            return None;
        }
        columns.iter().filter_map(|column| group(column, start).iter().position(set)).min().map(|bar| start + bar)
    })
}

fn group(column: &[bool], start: usize) -> &[bool] {
    let rest = column.get(start..).unwrap_or_default();
    &rest[..rest.len().min(GROUP)]
}
