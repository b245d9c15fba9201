//! The commands: one file per subcommand; no logic.
