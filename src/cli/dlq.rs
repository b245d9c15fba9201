//! `tidemill dlq`.

use std::io::{BufRead as _, IsTerminal as _};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::{Client, ClientError, block_on};
use super::exit::{Exit, UsageError};
use super::listing::{Listing, cell, fields};
use super::options::{ConfigOptions, DaemonOptions};
use super::output;

/// The API's path.
const PATH: [&str; 2] = ["v1", "dead-letters"];

/// List, show, replay and purge dead letters.
#[derive(Debug, Subcommand)]
pub enum Dlq {
    /// List dead letters, newest first.
    #[command(after_help = "Example: tidemill dlq ls --code TM0005 --limit 20")]
    Ls(List),
    /// Show one dead letter with its error, history and original bytes.
    #[command(after_help = "Example: tidemill dlq show 0b6f3c2e-...")]
    Show(One),
    /// Send the original records of dead letters through the pipeline again.
    #[command(after_help = "Example: tidemill dlq replay --all")]
    Replay(Replay),
    /// Delete dead letters: those named, else all, after asking.
    #[command(after_help = "Example: tidemill dlq purge --yes")]
    Purge(Purge),
}

/// Which to list.
#[derive(Debug, Args)]
pub struct List {
    /// Only those of this stage.
    #[arg(long)]
    stage: Option<String>,
    /// Only those with this error code.
    #[arg(long)]
    code: Option<String>,
    /// Only those replayed (true), or only those not (false).
    #[arg(long, value_name = "BOOL")]
    replayed: Option<bool>,
    /// How many at most.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

/// Which to show.
#[derive(Debug, Args)]
pub struct One {
    /// Id of the dead letter.
    id: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

/// Which to replay.
#[derive(Debug, Args)]
pub struct Replay {
    /// Ids of dead letters.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// All that were not replayed yet.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

/// Which to delete.
#[derive(Debug, Args)]
pub struct Purge {
    /// Ids of dead letters; none means all.
    ids: Vec<String>,
    /// Delete all without asking.
    #[arg(long, conflicts_with = "ids")]
    yes: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

/// What is done with dead letters.
#[derive(Debug, Clone, Copy)]
enum Action {
    Replay,
    Purge,
}

impl Action {
    /// The word for it once it is done.
    const fn done(self) -> &'static str {
        match self {
            Self::Replay => "replayed",
            Self::Purge => "purged",
        }
    }

    /// The field of the daemon's answer that says how many.
    const fn count(self) -> &'static str {
        match self {
            Self::Replay => "replayed",
            Self::Purge => "deleted",
        }
    }
}

impl Dlq {
    /// Does what was asked.
    ///
    /// # Errors
    /// If the daemon is away or refuses.
    pub fn execute(self, config: &ConfigOptions) -> anyhow::Result<Exit> {
        let config = config.load()?.config;
        match self {
            Self::Ls(command) => command.execute(&Client::new(&command.daemon, &config)?),
            Self::Show(command) => command.execute(&Client::new(&command.daemon, &config)?),
            Self::Replay(command) => {
                let client = Client::new(&command.daemon, &config)?;
                let all =
                    block_on(async { if command.all { Ok(Some(replay_all(&client).await?)) } else { Ok(None) } })?;
                match all {
                    Some(answer) => report(Action::Replay, &answer, command.json),
                    None => each(Action::Replay, &client, &command.ids, command.json),
                }
            }
            Self::Purge(command) => {
                let client = Client::new(&command.daemon, &config)?;
                if command.ids.is_empty() {
                    if !command.yes && !confirmed(&client)? {
                        output::note("nothing was deleted");
                        return Ok(Exit::Failed);
                    }
                    let answer: Value = block_on(async { Ok(client.delete(&PATH).await?) })?;
                    return report(Action::Purge, &answer, command.json);
                }
                each(Action::Purge, &client, &command.ids, command.json)
            }
        }
    }
}

impl List {
    fn execute(&self, client: &Client) -> anyhow::Result<Exit> {
        let listing = Listing {
            path: &PATH,
            filters: &[
                ("stage", self.stage.clone()),
                ("code", self.code.clone()),
                ("replayed", self.replayed.map(|replayed| replayed.to_string())),
            ],
            limit: self.limit,
            nothing: "no dead letters",
            columns: &["id", "dead_at", "stage", "code", "attempts", "replayed_at", "error"],
            shown: |letter, name| cell(&letter[name]),
        };
        listing.print(client, self.json)
    }
}

impl One {
    fn execute(&self, client: &Client) -> anyhow::Result<Exit> {
        let letter: Map<String, Value> = block_on(async { Ok(client.get(&[PATH[0], PATH[1], &self.id], &[]).await?) })?;
        if self.json {
            output::json(&letter)?;
        } else {
            fields(&letter)?;
        }
        Ok(Exit::Done)
    }
}

/// Asks the person at the terminal whether to delete everything; without one that is a mistake of the command line.
fn confirmed(client: &Client) -> anyhow::Result<bool> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(
            UsageError("purge without ids deletes all dead letters: name them, or give --yes".to_owned()).into()
        );
    }
    output::note(format_args!("delete all dead letters of {}? There is no way back. [y/N]", client.base()));
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Replays all that were not replayed yet; the daemon does as many in one call as it has time for.
async fn replay_all(client: &Client) -> Result<Value, ClientError> {
    let (mut replayed, mut failures) = (0, Vec::new());
    loop {
        let mut answer: Value = client.post(&["v1", "dead-letters", "replay"], &json!({})).await?;
        let now = answer["replayed"].as_u64().unwrap_or_default();
        replayed += now;
        failures.extend(answer["failures"].as_array_mut().map(std::mem::take).unwrap_or_default());
        // Without progress it would be asked the same for ever.
        if now == 0 || answer["complete"] != Value::Bool(false) {
            return Ok(json!({ "replayed": replayed, "failures": failures }));
        }
    }
}

/// Does one thing to each of the ids; goes on after those that are not there.
fn each(action: Action, client: &Client, ids: &[String], as_json: bool) -> anyhow::Result<Exit> {
    let (mut good, mut missing) = (Vec::new(), Vec::new());
    for id in ids {
        let outcome: Result<Value, ClientError> = block_on(async {
            Ok(match action {
                Action::Purge => client.delete(&[PATH[0], PATH[1], id]).await,
                Action::Replay => client.post(&[PATH[0], PATH[1], id, "replay"], &json!({})).await,
            })
        })?;
        match outcome {
            Ok(_) => good.push(id),
            Err(ClientError::Refused { status: 404, .. }) => missing.push(id),
            Err(error) => return Err(error.into()),
        }
    }
    let done = action.done();
    if as_json {
        output::json(&json!({ done: good, "missing": missing }))?;
    } else {
        output::line(format_args!("{done} {}", good.len()))?;
        for id in &missing {
            output::note(format_args!("there is no dead letter {}", output::clip(id, 60)));
        }
    }
    Ok(if missing.is_empty() { Exit::Done } else { Exit::Failed })
}

fn report(action: Action, answer: &Value, as_json: bool) -> anyhow::Result<Exit> {
    let failures: &[Value] = answer["failures"].as_array().map_or(&[], Vec::as_slice);
    if as_json {
        output::json(answer)?;
    } else {
        for failure in failures {
            output::note(format_args!("{}: {}", cell(&failure["id"]), cell(&failure["message"])));
        }
        output::line(format_args!("{} {}", action.done(), cell(&answer[action.count()])))?;
    }
    Ok(if failures.is_empty() { Exit::Done } else { Exit::Failed })
}
