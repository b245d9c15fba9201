//! `tidemill completions`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::exit::Exit;
use super::{Cli, output};

/// Print a shell's completion script.
#[derive(Debug, Args)]
#[command(after_help = "Example: tidemill completions bash > /etc/bash_completion.d/tidemill")]
pub struct Completions {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    ///
    /// # Errors
    /// If standard output is closed.
    pub fn execute(self) -> anyhow::Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "tidemill", &mut script);
        output::raw(&String::from_utf8(script)?)?;
        Ok(Exit::Done)
    }
}
