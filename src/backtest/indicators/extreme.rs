//! Moving maximum and minimum.

use std::collections::VecDeque;

use super::Indicator;

/// Candidates of a window's maximum in falling order, each with its bar.
#[derive(Debug, Clone)]
struct Extreme {
    window: usize,
    row: usize,
    last_missing: Option<usize>,
    candidates: VecDeque<(usize, f64)>,
}

impl Extreme {
    fn new(window: usize) -> Self {
        Self { window: window.max(1), row: 0, last_missing: None, candidates: VecDeque::new() }
    }

    fn push(&mut self, value: f64) -> f64 {
        let row = self.row;
        self.row += 1;
        if value.is_nan() {
            self.last_missing = Some(row);
        } else {
            while self.candidates.back().is_some_and(|(_, candidate)| *candidate <= value) {
                self.candidates.pop_back();
            }
            self.candidates.push_back((row, value));
        }
        while self.candidates.front().is_some_and(|(candidate, _)| candidate + self.window <= row) {
            self.candidates.pop_front();
        }
        let whole = row + 1 >= self.window && self.last_missing.is_none_or(|missing| missing + self.window <= row);
        match self.candidates.front() {
            Some((_, largest)) if whole => *largest,
            Some(_) | None => f64::NAN,
        }
    }
}

/// Largest of the last values.
#[derive(Debug, Clone)]
pub struct RollingMaximum(Extreme);

impl RollingMaximum {
    /// Over `window` values, at least 1.
    pub fn new(window: usize) -> Self {
        Self(Extreme::new(window))
    }
}

impl Indicator for RollingMaximum {
    type Input = f64;
    type Output = f64;

    fn push(&mut self, value: f64) -> f64 {
        self.0.push(value)
    }
}

/// Smallest of the last values.
#[derive(Debug, Clone)]
pub struct RollingMinimum(Extreme);

impl RollingMinimum {
    /// Over `window` values, at least 1.
    pub fn new(window: usize) -> Self {
        Self(Extreme::new(window))
    }
}

impl Indicator for RollingMinimum {
    type Input = f64;
    type Output = f64;

    fn push(&mut self, value: f64) -> f64 {
        -self.0.push(-value)
    }
}
