//! Which settings a reload changes while the daemon runs.

use super::super::schema;

/// Key patterns; `*` stands for any one name. Everything else needs a restart.
const LIVE: &[&str] = &["logging.level", "daemon.config_poll_seconds"];

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

/// The patterns that fit no key of the schema: a renamed key would lose its mark without a word.
#[must_use]
pub fn dangling() -> Vec<&'static str> {
    let known = |pattern: &str| {
        let mut node = Some(schema::Node::root());
        for name in pattern.split('.') {
            node = node.and_then(|node| node.child(name));
        }
        node.is_some()
    };
    LIVE.iter().copied().filter(|pattern| !known(pattern)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_stands_for_one_name() {
        assert!(matches("a.*.c", "a.b.c"));
        assert!(!matches("a.*", "a.b.c"));
        assert!(!matches("a.*.c", "a.b"));
    }

    #[test]
    fn every_pattern_fits_a_key() {
        assert_eq!(dangling(), Vec::<&str>::new());
    }
}
