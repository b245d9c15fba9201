//! The commands: one file per subcommand; no logic.

pub mod train;
