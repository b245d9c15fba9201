//! What is wrong with a configuration, named exactly.

use std::fmt;

/// One wrong setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Full key, such as `embedder.batch.max_tokens`.
    pub key: String,
    /// The value as given.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

/// Collects problems while sections check themselves.
#[derive(Debug, Default)]
pub struct Problems {
    prefix: Vec<String>,
    found: Vec<Problem>,
}

impl Problems {
    /// Runs `check` with `section` in front of its keys.
    pub fn section(&mut self, section: &str, check: impl FnOnce(&mut Self)) {
        self.prefix.push(section.to_owned());
        check(self);
        self.prefix.pop();
    }

    /// Notes a problem unless `holds`.
    pub fn require(&mut self, holds: bool, key: &str, value: impl fmt::Display, allowed: &str) {
        if !holds {
            let mut path = self.prefix.clone();
            path.push(key.to_owned());
            self.found.push(Problem { key: path.join("."), value: value.to_string(), allowed: allowed.to_owned() });
        }
    }

    /// Notes a problem unless `low <= value <= high`.
    pub fn range<T: PartialOrd + fmt::Display + Copy>(&mut self, key: &str, value: T, low: T, high: T) {
        self.require(value >= low && value <= high, key, value, &format!("{low} to {high}"));
    }

    /// All that was found.
    #[must_use]
    pub fn into_found(self) -> Vec<Problem> {
        self.found
    }
}

/// The keys of what a check finds, for tests.
#[cfg(test)]
pub(crate) fn keys_of(check: impl FnOnce(&mut Problems)) -> Vec<String> {
    let mut problems = Problems::default();
    check(&mut problems);
    problems.into_found().into_iter().map(|problem| problem.key).collect()
}
