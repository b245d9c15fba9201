//! `tidemill run`.

use std::sync::Arc;

use clap::Args;

use super::exit::Exit;
use super::local::{self, RunOptions};
use super::options::ConfigOptions;
use crate::config::reload::Reloader;
use crate::telemetry::logs;

/// Run the daemon until it is told to stop: SIGINT or SIGTERM drain and stop it, a second one stops it at once.
#[derive(Debug, Args)]
#[command(after_help = "Example: tidemill run -c config/default.toml --set logging.format=json --sample")]
pub struct Run {
    /// Feed the bundled sample of invented headlines.
    #[arg(long)]
    sample: bool,
}

impl Run {
    /// Runs the daemon.
    ///
    /// # Errors
    /// If the configuration is wrong, or the daemon can't start or fails.
    pub fn execute(self, config: &ConfigOptions) -> anyhow::Result<Exit> {
        let sources = config.sources();
        let loaded = sources.load()?;
        let log_level = logs::install(&loaded.config.logging)?;
        let reloader = Arc::new(Reloader::new(sources, loaded));
        local::run(RunOptions { reloader, log_level, sample: self.sample })
    }
}
