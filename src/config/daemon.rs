//! `[daemon]`: the process.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problems;

/// Names, in the data directory, the encoder whose vectors it holds.
pub const ENCODER_FILE: &str = "encoder";
/// Holds, in the data directory, what tells this daemon's transactions from others'.
pub const DAEMON_ID_FILE: &str = "daemon-id";

/// The process: where it keeps its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DaemonConfig {
    /// Directory of everything that must survive a restart: the embedded log, the database, the vector index. Made if
    /// it is not there. Relative to the working directory. The variable `TIDEMILL_DATA_DIR` sets it too. One daemon per
    /// directory.
    pub data_dir: PathBuf,
    /// Seconds between looks at the configuration files for changes, 1 to 3600; 0 turns watching off, SIGHUP and
    /// `POST /v1/config/reload` still reload. The default of one second costs one `stat` per file.
    pub config_poll_seconds: u64,
}

impl Default for DaemonConfig {
    fn default() -> Self {
        Self { data_dir: "data".into(), config_poll_seconds: 1 }
    }
}

impl DaemonConfig {
    /// Notes settings that are out of range.
    pub fn validate(&self, problems: &mut Problems) {
        let path_set = |path: &PathBuf| !path.as_os_str().is_empty();
        problems.require(path_set(&self.data_dir), "data_dir", "\"\"", "a path");
        problems.range("config_poll_seconds", self.config_poll_seconds, 0, 3600);
    }
}
