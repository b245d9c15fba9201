//! The commands: one file per subcommand; no logic.

pub mod analyze;
pub mod backtest;
pub mod backup;
pub mod check;
pub mod client;
pub mod completions;
pub mod config;
pub mod dlq;
pub mod embed;
pub mod exit;
pub mod explain;
pub mod explain_error;
pub mod graph;
pub mod health;
pub mod input;
pub mod jobs;
mod listing;
pub mod local;
pub mod options;
pub mod output;
pub mod replay;
pub mod run;
pub mod search;
pub mod strategy_file;
pub mod sweep;
pub mod top;
pub mod topology;
pub mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::exit::Exit;
use self::options::ConfigOptions;

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 69 a service is unavailable, 78 configuration.
Environment: TIDEMILL_CONFIG, TIDEMILL__SECTION__KEY, TIDEMILL_DATA_DIR.

Example: tidemill run -c config/default.toml --sample";

/// A supervised stream processor that turns market text into deduplicated, scored, searchable documents.
#[derive(Debug, Parser)]
#[command(name = "tidemill", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    config: ConfigOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon until it is told to stop.
    Run(run::Run),
    /// Check the configuration, print the topology and try the services.
    Check(check::Check),
    /// Print the actors, their supervisors and the ways between them.
    Topology(topology::Topology),
    /// Send a file of documents or bars, one JSON object a line.
    Replay(replay::Replay),
    /// Find the documents nearest in meaning to a text.
    Search(search::Search),
    /// Print a document's whole way: origin, stages with timings, verdict.
    Explain(explain::Explain),
    /// Ask the running daemon whether it takes work.
    Health(health::Health),
    /// List, show, replay and purge dead letters.
    #[command(subcommand)]
    Dlq(dlq::Dlq),
    /// List, show, submit, cancel and replay jobs.
    #[command(subcommand)]
    Jobs(jobs::Jobs),
    /// Make, check and restore backups.
    #[command(subcommand)]
    Backup(backup::Backup),
    /// Print the embedding of a text.
    Embed(embed::Embed),
    /// Print sentiment, category and entities of a text; nothing is stored.
    Analyze(analyze::Analyze),
    /// Simulate a strategy on bars.
    Backtest(backtest::Backtest),
    /// Simulate many sets of a strategy's parameters.
    Sweep(sweep::Sweep),
    /// Train the local models.
    #[command(subcommand)]
    Train(train::TrainCommand),
    /// Learn where a repository's files, or a graph's nodes, sit among each other; no daemon is needed.
    Graph(graph::GraphCommand),
    /// Live view of actors, rates, depths and restarts.
    Top(top::Top),
    /// The configuration's schema, manual and defaults.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print a shell's completion script.
    Completions(completions::Completions),
    /// Say what an error code means and what to do.
    ExplainError(explain_error::ExplainError),
}

/// Parses the command line, does what it says, and gives the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    crate::tls::install_provider();
    let result = dispatch(cli);
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            let exit = Exit::of_error(&error);
            if exit != Exit::Done {
                output::complain(&error);
            }
            exit.into()
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    let Cli { config, command } = cli;
    match command {
        Command::Run(command) => command.execute(&config),
        Command::Check(command) => command.execute(&config),
        Command::Topology(command) => command.execute(&config),
        Command::Replay(command) => command.execute(&config),
        Command::Search(command) => command.execute(&config),
        Command::Explain(command) => command.execute(&config),
        Command::Health(command) => command.execute(&config),
        Command::Dlq(command) => command.execute(&config),
        Command::Jobs(command) => command.execute(&config),
        Command::Backup(command) => command.execute(&config),
        Command::Embed(command) => command.execute(&config),
        Command::Analyze(command) => command.execute(&config),
        Command::Backtest(command) => command.execute(&config),
        Command::Sweep(command) => command.execute(&config),
        Command::Train(command) => train::run(&command).map(|()| Exit::Done),
        Command::Graph(command) => command.execute(&config),
        Command::Top(command) => command.execute(&config),
        Command::Config(command) => command.execute(&config),
        Command::Completions(command) => command.execute(),
        Command::ExplainError(command) => command.execute(),
    }
}
