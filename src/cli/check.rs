//! `tidemill check`.

use clap::Args;
use serde_json::json;

use super::exit::Exit;
use super::local::{self, TopologyFormat};
use super::options::ConfigOptions;
use super::output;

/// Check the configuration, print the topology and try the services.
#[derive(Debug, Args)]
#[command(after_help = "Example: tidemill check -c config/production.toml --offline")]
pub struct Check {
    /// Check only what needs no service.
    #[arg(long)]
    offline: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Check {
    /// Checks; exit code 78 for a wrong configuration, 69 for a service that does not answer.
    ///
    /// # Errors
    /// If the configuration is wrong.
    pub fn execute(self, config: &ConfigOptions) -> anyhow::Result<Exit> {
        let sources = config.sources();
        let loaded = sources.load()?;
        if !self.json {
            let files: Vec<String> = sources.files.iter().map(|path| path.display().to_string()).collect();
            let files = if files.is_empty() { "defaults only".to_owned() } else { files.join(", ") };
            output::line(format_args!("configuration is valid ({files})\n"))?;
            output::line(local::topology(&loaded.config, TopologyFormat::Text)?)?;
        }
        let services = if self.offline { Vec::new() } else { local::check(&loaded.config)? };
        if self.json {
            output::json(&json!({ "files": sources.files, "config": loaded.config, "services": services }))?;
        } else if !services.is_empty() {
            let mark = |healthy| if healthy { "ok" } else { "AWAY" }.to_owned();
            let rows: Vec<Vec<String>> =
                services.iter().map(|it| vec![it.name.clone(), mark(it.healthy), it.detail.clone()]).collect();
            output::line(format_args!("\n{}", output::table(&["service", "state", "detail"], &rows)))?;
        }
        Ok(if services.iter().all(|service| service.healthy) { Exit::Done } else { Exit::Unavailable })
    }
}
