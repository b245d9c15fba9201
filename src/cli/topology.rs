//! `tidemill topology`.

use clap::Args;

use super::exit::Exit;
use super::local::{self, TopologyFormat};
use super::options::ConfigOptions;
use super::output;

/// Print the actors, their supervisors and the ways between them.
#[derive(Debug, Args)]
#[command(after_help = "Example: tidemill topology --format mermaid > topology.mmd")]
pub struct Topology {
    /// How to print it.
    #[arg(long, value_enum, default_value = "text")]
    format: TopologyFormat,
    /// The same as --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

impl Topology {
    /// Prints the topology.
    ///
    /// # Errors
    /// If the configuration is wrong.
    pub fn execute(self, config: &ConfigOptions) -> anyhow::Result<Exit> {
        let loaded = config.load()?;
        let format = if self.json { TopologyFormat::Json } else { self.format };
        output::line(local::topology(&loaded.config, format)?.trim_end())?;
        Ok(Exit::Done)
    }
}
