//! Moving means and deviations.

use serde::{Deserialize, Serialize};

use super::Indicator;
use super::double::DoubleSum;

/// Which mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MeanKind {
    /// Of the last `window` values, each alike.
    #[default]
    Simple,
    /// Of all values, the newer the heavier.
    Exponential,
}

/// The last `window` values and how many of them are missing.
#[derive(Debug, Clone)]
struct Window {
    values: Vec<f64>,
    next: usize,
    filled: usize,
    missing: usize,
}

impl Window {
    fn new(window: usize) -> Self {
        Self { values: vec![0.0; window.max(1)], next: 0, filled: 0, missing: 0 }
    }

    /// Takes a value, gives the one that leaves; missing ones count as nothing.
    fn push(&mut self, value: f64) -> (f64, f64) {
        let full = self.filled == self.values.len();
        let old = if full { self.values[self.next] } else { f64::NAN };
        self.missing -= usize::from(full && old.is_nan());
        self.missing += usize::from(value.is_nan());
        self.values[self.next] = value;
        self.next = if self.next + 1 == self.values.len() { 0 } else { self.next + 1 };
        self.filled += usize::from(!full);
        (if value.is_nan() { 0.0 } else { value }, if old.is_nan() { 0.0 } else { old })
    }

    /// Whether every value of the window is known.
    fn complete(&self) -> bool {
        self.filled == self.values.len() && self.missing == 0
    }

    #[expect(clippy::cast_precision_loss, reason = "no window has 2^53 bars")]
    fn len(&self) -> f64 {
        self.values.len() as f64
    }
}

/// Simple moving mean.
#[derive(Debug, Clone)]
pub struct RollingMean {
    window: Window,
    sum: DoubleSum,
}

impl RollingMean {
    /// Over `window` values, at least 1.
    pub fn new(window: usize) -> Self {
        Self { window: Window::new(window), sum: DoubleSum::default() }
    }
}

impl Indicator for RollingMean {
    type Input = f64;
    type Output = f64;

    fn push(&mut self, value: f64) -> f64 {
        let (new, old) = self.window.push(value);
        self.sum.add(new);
        self.sum.add(-old);
        if self.window.complete() { self.sum.value() / self.window.len() } else { f64::NAN }
    }
}

/// Moving standard deviation over n (not n − 1).
#[derive(Debug, Clone)]
pub struct RollingDeviation {
    window: Window,
    sum: DoubleSum,
    squares: DoubleSum,
}

impl RollingDeviation {
    /// Over `window` values, at least 1.
    pub fn new(window: usize) -> Self {
        Self { window: Window::new(window), sum: DoubleSum::default(), squares: DoubleSum::default() }
    }
}

impl Indicator for RollingDeviation {
    type Input = f64;
    type Output = f64;

    fn push(&mut self, value: f64) -> f64 {
        let (new, old) = self.window.push(value);
        self.sum.add(new);
        self.sum.add(-old);
        self.squares.add_square(new, 1.0);
        self.squares.add_square(old, -1.0);
        if !self.window.complete() {
            return f64::NAN;
        }
        let count = self.window.len();
        let residual = self.squares.residual(self.sum, count);
        // What is left of equal values is rounding.
        if residual <= self.squares.value() * 1e-28 { 0.0 } else { (residual / count).sqrt() }
    }
}

/// Exponential moving mean. A missing value gives the mean before it and lets older values fade.
#[derive(Debug, Clone)]
pub struct ExponentialMean {
    alpha: f64,
    window: usize,
    known: usize,
    mean: f64,
    old_weight: f64,
}

impl ExponentialMean {
    /// With the span `window`, at least 1; known from the `window`-th value on.
    #[expect(clippy::cast_precision_loss, reason = "no window has 2^53 bars")]
    pub fn new(window: usize) -> Self {
        let window = window.max(1);
        Self { alpha: 2.0 / (window as f64 + 1.0), window, known: 0, mean: f64::NAN, old_weight: 1.0 }
    }
}

impl Indicator for ExponentialMean {
    type Input = f64;
    type Output = f64;

    fn push(&mut self, value: f64) -> f64 {
        if self.known == 0 {
            if !value.is_nan() {
                self.mean = value;
                self.known = 1;
            }
        } else {
            self.old_weight *= 1.0 - self.alpha;
            if !value.is_nan() {
                self.known += 1;
                self.mean = (self.old_weight * self.mean + self.alpha * value) / (self.old_weight + self.alpha);
                self.old_weight = 1.0;
            }
        }
        if self.known >= self.window { self.mean } else { f64::NAN }
    }
}

/// A moving mean of either kind.
#[derive(Debug, Clone)]
pub enum Mean {
    /// Simple.
    Simple(RollingMean),
    /// Exponential.
    Exponential(ExponentialMean),
}

impl Mean {
    /// Of `kind` over `window` values.
    pub fn new(kind: MeanKind, window: usize) -> Self {
        match kind {
            MeanKind::Simple => Self::Simple(RollingMean::new(window)),
            MeanKind::Exponential => Self::Exponential(ExponentialMean::new(window)),
        }
    }
}

impl Indicator for Mean {
    type Input = f64;
    type Output = f64;

    fn push(&mut self, value: f64) -> f64 {
        match self {
            Self::Simple(mean) => mean.push(value),
            Self::Exponential(mean) => mean.push(value),
        }
    }
}
