//! Exponential backoff with full jitter.

use std::time::Duration;

/// How long to wait before a restart or a retry: between zero and `min · 2^failures`, at most `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Upper end of the first wait.
    pub min: Duration,
    /// Upper end of any wait.
    pub max: Duration,
    /// A child that ran this long starts over at `min`.
    pub healthy_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { min: Duration::from_millis(10), max: Duration::from_secs(10), healthy_after: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The upper end of the wait after `failures` earlier failures in a row.
    pub fn ceiling(&self, failures: u32) -> Duration {
        self.min.saturating_mul(1_u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX)).min(self.max.max(self.min))
    }

    /// A random wait between zero and [`Backoff::ceiling`] (full jitter, so that many do not come back at once).
    pub fn delay(&self, failures: u32) -> Duration {
        self.ceiling(failures).mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceiling_doubles_up_to_the_maximum() {
        let backoff = Backoff { min: Duration::from_millis(10), max: Duration::from_millis(70), ..Backoff::default() };
        let ceilings: Vec<u128> = (0..5).map(|failures| backoff.ceiling(failures).as_millis()).collect();
        assert_eq!(ceilings, [10, 20, 40, 70, 70]);
        assert_eq!(backoff.ceiling(u32::MAX), Duration::from_millis(70));
    }

    #[test]
    fn delays_fill_the_whole_range_below_the_ceiling() {
        let backoff = Backoff { min: Duration::from_secs(1), ..Backoff::default() };
        let delays: Vec<f64> = (0..2_000).map(|_| backoff.delay(0).as_secs_f64()).collect();
        assert!(delays.iter().all(|delay| (0.0..=1.0).contains(delay)));
        assert!(delays.iter().any(|delay| *delay < 0.05) && delays.iter().any(|delay| *delay > 0.95));
    }
}
