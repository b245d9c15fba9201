//! `[supervision]`: how the tree of actors is watched and restarted.

use std::time::Duration;

use super::problem::Problems;
use crate::supervisors::{Backoff, Intensity, Options, Placement};

/// How the tree of actors is watched and restarted. Live: intensity.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SupervisionConfig {
    /// How often actors are looked at for progress, milliseconds, 10 to 60000. Half a second finds a stuck actor soon
    /// after its `stuck_after_seconds` and costs nothing that could be measured.
    pub heartbeat_ms: u64,
    /// More restarts than this within `window_seconds` and a supervisor gives up, 1 to 10000. At the root the daemon then
    /// ends in order with exit code 1. Twenty a minute is far above what single bad messages cause, as crashes explained
    /// by a message that was dead-lettered do not count.
    pub max_restarts: usize,
    /// Length of the sliding window in which restarts are counted, seconds, 1 to 86400.
    pub window_seconds: u64,
    /// Upper end of the first random wait before a supervisor that gave up is started again by its parent,
    /// milliseconds, 1 to 60000.
    pub backoff_min_ms: u64,
    /// Upper end of any such wait, milliseconds, `backoff_min_ms` to 600000.
    pub backoff_max_ms: u64,
    /// A replaced actor that still holds its thread after this long has hung it, milliseconds, 10 to 60000. Its
    /// successor gets a new thread.
    pub hung_grace_ms: u64,
    /// More hung threads than this end the daemon, 0 to 1000, as a thread cannot be killed and each keeps its memory.
    pub max_hung_threads: usize,
    /// An actor or service silent for this long while it starts is replaced, seconds, 1 to 3600. Loading the model on
    /// a slow disk takes seconds.
    pub start_limit_seconds: u64,
    /// So many messages in a row may be given up after crashes, with no good one between, before the crashes speak
    /// against the actor rather than the messages, 1 to 10000. Keeps a broken stage from dead-lettering the whole stream.
    pub max_poison_streak: u32,
}

impl Default for SupervisionConfig {
    fn default() -> Self {
        Self {
            heartbeat_ms: 500,
            max_restarts: 20,
            window_seconds: 60,
            backoff_min_ms: 100,
            backoff_max_ms: 10_000,
            hung_grace_ms: 250,
            max_hung_threads: 4,
            start_limit_seconds: 60,
            max_poison_streak: 16,
        }
    }
}

impl SupervisionConfig {
    /// Notes every setting out of range.
    pub fn validate(&self, problems: &mut Problems) {
        problems.range("heartbeat_ms", self.heartbeat_ms, 10, 60_000);
        problems.range("max_restarts", self.max_restarts, 1, 10_000);
        problems.range("window_seconds", self.window_seconds, 1, 86_400);
        problems.range("backoff_min_ms", self.backoff_min_ms, 1, 60_000);
        problems.range("backoff_max_ms", self.backoff_max_ms, self.backoff_min_ms, 600_000);
        problems.range("hung_grace_ms", self.hung_grace_ms, 10, 60_000);
        problems.range("max_hung_threads", self.max_hung_threads, 0, 1_000);
        problems.range("start_limit_seconds", self.start_limit_seconds, 1, 3_600);
        problems.range("max_poison_streak", self.max_poison_streak, 1, 10_000);
    }

    /// For [`crate::supervisors::SupervisorSpec::intensity`] and [`crate::supervisors::Tree::set_intensity`].
    pub fn intensity(&self) -> Intensity {
        Intensity { max_restarts: self.max_restarts, window: Duration::from_secs(self.window_seconds) }
    }

    /// For [`crate::supervisors::start`].
    pub fn options(&self) -> Options {
        Options {
            placement: Placement::Arbiter,
            heartbeat: Duration::from_millis(self.heartbeat_ms),
            hung_grace: Duration::from_millis(self.hung_grace_ms),
            max_hung_threads: self.max_hung_threads,
            start_limit: Duration::from_secs(self.start_limit_seconds),
            max_poison_streak: self.max_poison_streak,
            supervisor_backoff: Backoff {
                min: Duration::from_millis(self.backoff_min_ms),
                max: Duration::from_millis(self.backoff_max_ms),
                ..Backoff::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_equal_the_runtimes() {
        let (config, mut problems) = (SupervisionConfig::default(), Problems::default());
        config.validate(&mut problems);
        assert_eq!(problems.into_found(), []);
        assert_eq!(config.options(), Options::default());
        assert_eq!(config.intensity(), Intensity::default());
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let config = SupervisionConfig { heartbeat_ms: 0, backoff_max_ms: 50, ..SupervisionConfig::default() };
        let mut problems = Problems::default();
        problems.section("supervision", |problems| config.validate(problems));
        let found: Vec<String> = problems.into_found().into_iter().map(|problem| problem.key).collect();
        assert_eq!(found, ["supervision.heartbeat_ms", "supervision.backoff_max_ms"]);
    }
}
