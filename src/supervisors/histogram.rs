//! A histogram of durations with fixed bounds in plain atomics.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::telemetry::metrics::SECONDS_BUCKETS;

/// Counts of durations by bucket of [`SECONDS_BUCKETS`].
#[derive(Debug)]
pub(super) struct Histogram {
    /// Upper bounds, nanoseconds.
    bounds: Box<[u64]>,
    /// One count per bound and one for what is above the last.
    counts: Box<[AtomicU64]>,
    /// Sum of all durations, nanoseconds.
    sum: AtomicU64,
}

/// Nanoseconds, at most about 584 years of them.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Default for Histogram {
    fn default() -> Self {
        let bounds: Box<[u64]> =
            SECONDS_BUCKETS.iter().map(|seconds| nanos(Duration::from_secs_f64(*seconds))).collect();
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        let value = nanos(duration);
        let bucket = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Durations counted so far.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Writes the series of one actor in Prometheus text format.
    pub fn render(&self, out: &mut String, metric: &str, actor: &str) {
        let mut total = 0;
        for (index, count) in self.counts.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            let bound = SECONDS_BUCKETS.get(index).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            let _ = writeln!(out, "{metric}_bucket{{actor=\"{actor}\",le=\"{bound}\"}} {total}");
        }
        let sum = Duration::from_nanos(self.sum.load(Ordering::Relaxed)).as_secs_f64();
        let _ = writeln!(out, "{metric}_sum{{actor=\"{actor}\"}} {sum}");
        let _ = writeln!(out, "{metric}_count{{actor=\"{actor}\"}} {total}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_inclusive() {
        let histogram = Histogram::default();
        for millis in [0, 1, 2, 120_000] {
            histogram.record(Duration::from_millis(millis));
        }
        let mut text = String::new();
        histogram.render(&mut text, "m", "a");
        assert!(text.contains("m_bucket{actor=\"a\",le=\"0.001\"} 2\n"), "{text}");
        assert!(text.contains("m_bucket{actor=\"a\",le=\"60\"} 3\n"), "{text}");
        assert!(text.contains("m_bucket{actor=\"a\",le=\"+Inf\"} 4\n"), "{text}");
        assert!(text.contains("m_count{actor=\"a\"} 4\n") && histogram.count() == 4, "{text}");
    }
}
