//! What is wrong with a configuration and where it was set.

use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A configuration file, with the line if known.
    File {
        /// As it was given.
        path: PathBuf,
        /// From 1.
        line: Option<usize>,
    },
    /// An environment variable.
    Environment(String),
    /// A command-line flag, as written without its value.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(formatter, "defaults"),
            Self::File { path, line: Some(line) } => write!(formatter, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(formatter, "{}", path.display()),
            Self::Environment(name) => write!(formatter, "environment {name}"),
            Self::Flag(flag) => write!(formatter, "flag {flag}"),
        }
    }
}

/// One thing wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// There is no such key.
    UnknownKey {
        /// Where it was set.
        origin: Origin,
        /// The key as given.
        key: String,
        /// The known key that may have been meant.
        suggestion: Option<String>,
    },
    /// The value has the wrong type or is out of range.
    Invalid {
        /// Where it was set.
        origin: Origin,
        /// Full key.
        key: String,
        /// The value as given; secrets redacted.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// A layer can't be read at all.
    Unreadable {
        /// Which layer.
        origin: Origin,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { origin, key, suggestion } => {
                write!(formatter, "{origin}: unknown key {key}")?;
                match suggestion {
                    Some(known) => write!(formatter, "; did you mean {known}?"),
                    None => Ok(()),
                }
            }
            Self::Invalid { origin, key, value, allowed } => {
                write!(formatter, "{origin}: {key} = {value} is not allowed; allowed: {allowed}")
            }
            Self::Unreadable { origin, reason } => write!(formatter, "{origin}: {reason}"),
        }
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Everything wrong with a configuration, reported at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(
    /// In the order of the layers, then of the keys.
    pub Vec<Finding>,
);

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems = if self.0.len() == 1 { "problem" } else { "problems" };
        write!(formatter, "the configuration has {} {problems}", self.0.len())?;
        self.0.iter().try_for_each(|finding| write!(formatter, "\n  {finding}"))
    }
}

impl std::error::Error for ConfigError {}
