//! `[logging]`: log lines.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use super::problem::Problems;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line, for machines.
    Json,
    /// One line of text, for people.
    Pretty,
}

/// When text lines are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogColor {
    /// If standard error is a terminal and `NO_COLOR` is not set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Log lines, written to standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoggingConfig {
    /// Lowest level written: `error`, `warn`, `info`, `debug` or `trace`; with directives per module if wanted, such as
    /// `info,tidemill::kafka=debug`.
    pub level: String,
    /// `json` for log collectors, `pretty` for a terminal. Both write exactly one line per event.
    pub format: LogFormat,
    /// Colours of the pretty format.
    pub color: LogColor,
}

impl Default for LoggingConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Pretty, color: LogColor::Auto }
    }
}

impl LoggingConfig {
    /// Notes settings that are out of range.
    pub fn validate(&self, problems: &mut Problems) {
        let valid = !self.level.trim().is_empty() && EnvFilter::try_new(&self.level).is_ok();
        let allowed = "error, warn, info, debug or trace, or directives such as \"info,tidemill::kafka=debug\"";
        problems.require(valid, "level", format_args!("{:?}", self.level), allowed);
    }
}
