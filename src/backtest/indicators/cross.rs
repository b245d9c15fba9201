//! Where one series crosses another.

use super::Indicator;

/// True where the first series is above the second and was below it before. Equality neither crosses nor forgets; a
/// missing value forgets.
#[derive(Debug, Clone, Default)]
pub struct Crossing {
    was_below: bool,
}

impl Crossing {
    /// Before the first bar.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Indicator for Crossing {
    /// The series that rises and the one it crosses.
    type Input = (f64, f64);
    type Output = bool;

    fn push(&mut self, (one, other): (f64, f64)) -> bool {
        if one.is_nan() || other.is_nan() {
            self.was_below = false;
            return false;
        }
        let crossed = self.was_below && one > other;
        self.was_below = one < other || (self.was_below && !crossed);
        crossed
    }
}

/// Where `one` crosses `other` from below.
pub fn crossed_above(one: &[f64], other: &[f64]) -> Vec<bool> {
    Crossing::new().over(one.iter().copied().zip(other.iter().copied()))
}

/// Where `one` crosses `other` from above.
pub fn crossed_below(one: &[f64], other: &[f64]) -> Vec<bool> {
    crossed_above(other, one)
}
