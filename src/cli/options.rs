//! Options that several commands share.

use std::path::PathBuf;

use clap::Args;

use crate::config::error::ConfigError;
use crate::config::layers::{Loaded, Sources};

/// Where the configuration comes from.
#[derive(Debug, Clone, Args)]
pub struct ConfigOptions {
    /// Configuration file; may be given again, the later over the earlier [default: config/default.toml if it is there].
    #[arg(short, long = "config", value_name = "FILE", global = true, help_heading = "Configuration")]
    config: Vec<PathBuf>,
    /// One setting, over files and environment; may be given again.
    #[arg(long, value_name = "SECTION.KEY=VALUE", global = true, help_heading = "Configuration")]
    set: Vec<String>,
}

impl ConfigOptions {
    /// The sources these options and this process's environment name.
    #[must_use]
    pub fn sources(&self) -> Sources {
        Sources::of_process(self.config.clone(), self.set.clone())
    }

    /// Loads the configuration.
    ///
    /// # Errors
    /// Everything wrong with it.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        self.sources().load()
    }
}

/// Which daemon to talk to.
#[derive(Debug, Clone, Args)]
pub struct DaemonOptions {
    /// The daemon's address, such as `http://10.0.0.5:8080` [default: `http.listen` of the configuration].
    #[arg(long, env = "TIDEMILL_URL", value_name = "URL")]
    pub url: Option<String>,
}
