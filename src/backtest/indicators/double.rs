//! Sums that keep twice the digits, so that a window sliding over a million bars does not drift.

/// A sum as a large part and what rounding lost of it (Neumaier's summation).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DoubleSum {
    high: f64,
    low: f64,
}

impl DoubleSum {
    pub(super) fn add(&mut self, value: f64) {
        let (high, lost) = two_sum(self.high, value);
        self.high = high;
        self.low += lost;
    }

    /// Adds a square, with what its rounding lost; a negative `sign` takes it away.
    pub(super) fn add_square(&mut self, value: f64, sign: f64) {
        let (square, lost) = two_product(value, value);
        self.add(sign * square);
        self.low += sign * lost;
    }

    pub(super) fn value(self) -> f64 {
        self.high + self.low
    }

    /// `self - sum² / count`: the sum of squared residuals, when `self` is the sum of squares.
    pub(super) fn residual(self, sum: Self, count: f64) -> f64 {
        let (sum_high, sum_low) = two_sum(sum.high, sum.low);
        let (square, lost) = two_product(sum_high, sum_high);
        let rest = lost + 2.0 * sum_high * sum_low;
        let quotient = square / count;
        let (back, back_lost) = two_product(quotient, count);
        let remainder = ((square - back) - back_lost + rest) / count;
        (self.high - quotient) + (self.low - remainder)
    }
}

/// Knuth's exact sum: rounded sum and what was lost.
fn two_sum(one: f64, other: f64) -> (f64, f64) {
    let sum = one + other;
    let part = sum - one;
    (sum, (one - (sum - part)) + (other - part))
}

/// Dekker's exact product: rounded product and what was lost. Not `mul_add`, which is a slow call where the target has
/// no such instruction.
fn two_product(one: f64, other: f64) -> (f64, f64) {
    let product = one * other;
    let (one_high, one_low) = split(one);
    let (other_high, other_low) = split(other);
    let lost = ((one_high * other_high - product) + one_high * other_low + one_low * other_high) + one_low * other_low;
    (product, lost)
}

fn split(value: f64) -> (f64, f64) {
    let scaled = 134_217_729.0 * value;
    let high = scaled - (scaled - value);
    (high, value - high)
}
