//! Which settings a reload changes while the daemon runs.

/// Key patterns; `*` stands for any one name. Everything else needs a restart. What is listed here,
/// `actors::reloader` applies.
const LIVE: &[&str] = &[
    "daemon.config_poll_seconds",
    "logging.level",
    "documents.*",
    "dedup.exact",
    "dedup.minhash",
    "dedup.cosine",
    "dedup.minhash_threshold",
    "dedup.cosine_threshold",
    "dedup.window_seconds",
    "dedup.capacity",
    "dedup.original_wait_seconds",
    "sentiment.min_confidence",
    "backtest.device",
    "backtest.max_bars",
    "backtest.sync_bars",
    "backtest.max_signals",
    "backtest.max_sets",
    "backtest.max_rows",
    "backtest.max_result_bytes",
    "backtest.threads",
    "backtest.sweep_memory_mib",
    "backtest.sentiment.*",
    "supervision.max_restarts",
    "supervision.window_seconds",
    "actors.*.mailbox_capacity",
    "actors.*.batch_messages",
    "actors.*.batch_weight",
    "actors.*.batch_age_ms",
    "actors.*.attempts",
    "actors.*.stuck_after_seconds",
    "actors.*.drain_seconds",
    "actors.*.unavailable_limit_seconds",
    "actors.*.backoff_min_ms",
    "actors.*.backoff_max_ms",
];

/// Whether the daemon applies a changed value of this key without a restart.
#[must_use]
pub fn is_live(key: &str) -> bool {
    LIVE.iter().any(|pattern| matches(pattern, key))
}

fn matches(pattern: &str, key: &str) -> bool {
    let (mut names, mut keys) = (pattern.split('.'), key.split('.'));
    loop {
        match (names.next(), keys.next()) {
            (None, None) => return true,
            (Some(name), Some(key)) if name == "*" || name == key => {}
            (Some(_) | None, Some(_) | None) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::schema;
    use super::*;

    #[test]
    fn star_stands_for_one_name() {
        assert!(matches("a.*.c", "a.b.c"));
        assert!(!matches("a.*", "a.b.c"));
        assert!(!matches("a.*.c", "a.b"));
    }

    #[test]
    fn every_pattern_fits_a_key() {
        // A renamed key would lose its mark without a word.
        let known = schema::all_keys();
        for pattern in LIVE {
            assert!(known.iter().any(|key| matches(pattern, key)), "{pattern} fits no key");
        }
    }
}
