//! `tidemill config`.

use clap::Subcommand;

use super::exit::Exit;
use super::options::ConfigOptions;
use super::output;
use crate::config::{docs, schema};

/// The configuration's schema, manual and defaults.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the JSON schema, for editors and checks.
    #[command(after_help = "Example: tidemill config schema > tidemill.schema.json")]
    Schema,
    /// Print the manual, docs/configuration.md.
    #[command(after_help = "Example: tidemill config docs > docs/configuration.md")]
    Docs,
    /// Print every setting with its default and comment, config/default.toml.
    #[command(after_help = "Example: tidemill config defaults > my.toml")]
    Defaults,
    /// Print the settings in effect after all layers; secrets are redacted.
    #[command(after_help = "Example: TIDEMILL__LOGGING__LEVEL=debug tidemill config show -c config/production.toml")]
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

impl ConfigCommand {
    /// Prints what was asked for.
    ///
    /// # Errors
    /// If the configuration is wrong (only `show` reads it).
    pub fn execute(self, config: &ConfigOptions) -> anyhow::Result<Exit> {
        match self {
            Self::Schema => output::json(schema::json())?,
            Self::Docs => output::raw(&docs::manual())?,
            Self::Defaults => output::raw(&docs::default_file())?,
            Self::Show { json: true } => output::json(&config.load()?.config)?,
            Self::Show { json: false } => output::raw(&toml::to_string(&config.load()?.config)?)?,
        }
        Ok(Exit::Done)
    }
}
