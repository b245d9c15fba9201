//! `[backtest]`: limits of backtests and sweeps, and how sentiment becomes signals.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problems;
use crate::backtest::device::DeviceChoice;
use crate::backtest::sentiment_signals::{CENTURY_SECONDS, SentimentSettings};

/// Backtests and sweeps. Live: all but `concurrent`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BacktestConfig {
    /// Where requests compute that leave the choice to the daemon: `auto` (default: a GPU where there is one), `cpu` or
    /// `cuda:N`.
    pub device: String,
    /// Most bars of one backtest or sweep, 1 to 100,000,000. Default 10,000,000: 400 MB of prices.
    pub max_bars: u64,
    /// Backtests of at most this many bars are answered at once, others become jobs; 0 to 100,000,000. Default
    /// 1,000,000, which takes a fraction of a second.
    pub sync_bars: u64,
    /// Backtests worked on at once outside of jobs, 1 to 64. Default 2; further ones wait, and are refused with 429 after
    /// `http.compute_timeout_seconds`.
    pub concurrent: usize,
    /// Most documents' signals one backtest reads, 1 to 10,000,000. Default 1,000,000.
    pub max_signals: u64,
    /// Most sets of parameters of one sweep, 1 to 1,000,000,000,000. Default 100,000,000.
    pub max_sets: u64,
    /// Most sets of one sweep whose rows are stored, 1 to 10,000,000: with `keep = "all"` larger sweeps are refused.
    /// Default 1,000,000.
    pub max_rows: u64,
    /// Largest result that is stored, in bytes of JSON, 65,536 to 1,073,741,824. Default 67,108,864. Equity and orders of
    /// long backtests are large: ask for fewer parts.
    pub max_result_bytes: usize,
    /// Threads of one sweep, 0 to 256. Default 0: as many as there are cores.
    pub threads: usize,
    /// Bytes one sweep may take for shared indicator series, in mebibytes, 16 to 65,536. Default 256.
    pub sweep_memory_mib: usize,
    /// How sentiment becomes signals, unless a request says otherwise.
    pub sentiment: SentimentSettings,
}

impl Default for BacktestConfig {
    fn default() -> Self {
        Self {
            device: "auto".to_owned(),
            max_bars: 10_000_000,
            sync_bars: 1_000_000,
            concurrent: 2,
            max_signals: 1_000_000,
            max_sets: 100_000_000,
            max_rows: 1_000_000,
            max_result_bytes: 64 * 1024 * 1024,
            threads: 0,
            sweep_memory_mib: 256,
            sentiment: SentimentSettings::default(),
        }
    }
}

impl BacktestConfig {
    /// Notes every setting out of range.
    pub fn validate(&self, problems: &mut Problems) {
        let device = self.device.parse::<DeviceChoice>().is_ok();
        problems.require(device, "device", &self.device, "auto, cpu or cuda:N");
        problems.range("max_bars", self.max_bars, 1, 100_000_000);
        problems.range("sync_bars", self.sync_bars, 0, 100_000_000);
        problems.range("concurrent", self.concurrent, 1, 64);
        problems.range("max_signals", self.max_signals, 1, 10_000_000);
        problems.range("max_sets", self.max_sets, 1, 1_000_000_000_000);
        problems.range("max_rows", self.max_rows, 1, 10_000_000);
        problems.range("max_result_bytes", self.max_result_bytes, 65_536, 1024 * 1024 * 1024);
        problems.range("threads", self.threads, 0, 256);
        problems.range("sweep_memory_mib", self.sweep_memory_mib, 16, 65_536);
        problems.section("sentiment", |problems| {
            let SentimentSettings { half_life_seconds, prior, enter_above, exit_below, latency_seconds, .. } =
                self.sentiment;
            let positive = half_life_seconds > 0.0 && half_life_seconds <= CENTURY_SECONDS;
            problems.require(positive, "half_life_seconds", half_life_seconds, "over 0, at most 3153600000");
            problems.range("prior", prior, 0.0, 1e6);
            let inside = enter_above > 0.0 && enter_above <= 1.0;
            problems.require(inside, "enter_above", enter_above, "over 0, at most 1");
            let below = (-1.0..enter_above).contains(&exit_below);
            problems.require(below, "exit_below", exit_below, "-1 to below enter_above");
            problems.range("latency_seconds", latency_seconds, 0.0, CENTURY_SECONDS);
        });
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::config::problem::keys_of;

    fn problems(toml: &str) -> Vec<String> {
        let config: BacktestConfig = toml::from_str(toml).unwrap();
        keys_of(|problems| config.validate(problems))
    }

    #[test]
    fn wrong_settings_are_named_by_their_key() {
        assert_eq!(problems(""), [""; 0]);
        assert_eq!(problems("device = \"gpu\"\nmax_bars = 0"), ["device", "max_bars"]);
        assert_eq!(
            problems("[sentiment]\nenter_above = 2.0\nhalf_life_seconds = 0"),
            ["sentiment.half_life_seconds", "sentiment.enter_above"]
        );
        assert_eq!(problems("[sentiment]\nexit_below = 0.2"), ["sentiment.exit_below"]);
        assert!(toml::from_str::<BacktestConfig>("[sentiment]\nclock = \"mine\"").is_err());
    }
}
