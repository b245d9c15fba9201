//! On-balance volume.

use super::Indicator;

/// Sum of volumes, those of falling bars negative; the first bar and unchanged ones count as rising.
#[derive(Debug, Clone)]
pub struct OnBalanceVolume {
    before: f64,
    sum: f64,
}

impl OnBalanceVolume {
    /// Before the first bar.
    pub fn new() -> Self {
        Self { before: f64::NAN, sum: 0.0 }
    }
}

impl Default for OnBalanceVolume {
    fn default() -> Self {
        Self::new()
    }
}

impl Indicator for OnBalanceVolume {
    /// Close and volume.
    type Input = (f64, f64);
    type Output = f64;

    fn push(&mut self, (close, volume): (f64, f64)) -> f64 {
        self.sum += if close < self.before { -volume } else { volume };
        self.before = close;
        self.sum
    }
}
