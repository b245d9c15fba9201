//! `tidemill jobs`.

use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::{Client, ClientError, block_on};
use super::exit::{Exit, UsageError};
use super::listing::{Listing, cell, fields};
use super::options::{ConfigOptions, DaemonOptions};
use super::{input, output};

/// The API's path.
const PATH: [&str; 2] = ["v1", "jobs"];
/// How often a job that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// List, show, submit, cancel and replay jobs.
#[derive(Debug, Subcommand)]
pub enum Jobs {
    /// List jobs, newest first.
    #[command(after_help = "Example: tidemill jobs ls --state dead --limit 20")]
    Ls(List),
    /// Show one job with progress, result and errors.
    #[command(after_help = "Example: tidemill jobs show 0198c1f4-...")]
    Show(One),
    /// Call jobs off: those that wait at once, those that run are asked to end.
    #[command(after_help = "Example: tidemill jobs cancel 0198c1f4-...")]
    Cancel(Many),
    /// Run dead, cancelled or skipped jobs again.
    #[command(after_help = "Example: tidemill jobs replay 0198c1f4-...")]
    Replay(Many),
    /// Put a job in the queue and print its id.
    #[command(after_help = "Example: tidemill jobs submit reindex '{\"dry_run\": true}' --wait")]
    Submit(Submit),
}

/// Which to list.
#[derive(Debug, Args)]
pub struct List {
    /// Only those in this state: queued, delayed, running, succeeded, dead, cancelled or skipped.
    #[arg(long)]
    state: Option<String>,
    /// Only those of this kind.
    #[arg(long)]
    kind: Option<String>,
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
    /// Id of the job.
    id: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

/// Which to cancel or replay.
#[derive(Debug, Args)]
pub struct Many {
    /// Ids of jobs.
    #[arg(required = true)]
    ids: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

/// What to put in the queue.
#[derive(Debug, Args)]
pub struct Submit {
    /// What kind of work, such as reindex.
    kind: String,
    /// What the work is given, as JSON; `-` reads standard input.
    #[arg(value_name = "JSON", default_value = "null")]
    payload: String,
    /// 0 to 9, 9 the most urgent [default: 5].
    #[arg(long)]
    priority: Option<u8>,
    /// Not before this time, RFC 3339.
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,
    /// Skip it if it did not start within so many seconds.
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<f64>,
    /// While a job with this key is not finished, that one is meant and none is added.
    #[arg(long)]
    key: Option<String>,
    /// Attempts until it is dead.
    #[arg(long, value_name = "ATTEMPTS")]
    max_attempts: Option<u32>,
    /// Wait until it is finished; exit code 1 unless it succeeded.
    #[arg(long)]
    wait: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

impl Jobs {
    /// Does what was asked.
    ///
    /// # Errors
    /// If the daemon is away or refuses.
    pub fn execute(self, config: &ConfigOptions) -> anyhow::Result<Exit> {
        let config = config.load()?.config;
        match self {
            Self::Ls(command) => command.execute(&Client::new(&command.daemon, &config)?),
            Self::Show(command) => command.execute(&Client::new(&command.daemon, &config)?),
            Self::Cancel(command) => command.execute(&Client::new(&command.daemon, &config)?, Action::Cancel),
            Self::Replay(command) => command.execute(&Client::new(&command.daemon, &config)?, Action::Replay),
            Self::Submit(command) => command.execute(&Client::new(&command.daemon, &config)?),
        }
    }
}

impl List {
    fn execute(&self, client: &Client) -> anyhow::Result<Exit> {
        let listing = Listing {
            path: &PATH,
            filters: &[("state", self.state.clone()), ("kind", self.kind.clone())],
            limit: self.limit,
            nothing: "no jobs",
            columns: &["id", "kind", "state", "priority", "attempts", "progress", "created_at", "reason"],
            shown,
        };
        listing.print(client, self.json)
    }
}

impl One {
    fn execute(&self, client: &Client) -> anyhow::Result<Exit> {
        let job: Map<String, Value> = block_on(async { Ok(client.get(&[PATH[0], PATH[1], &self.id], &[]).await?) })?;
        if self.json {
            output::json(&job)?;
        } else {
            fields(&job)?;
        }
        Ok(Exit::Done)
    }
}

/// What is done with jobs.
#[derive(Debug, Clone, Copy)]
enum Action {
    Cancel,
    Replay,
}

impl Many {
    /// Does it to each; goes on after those it can't be done to.
    fn execute(&self, client: &Client, action: Action) -> anyhow::Result<Exit> {
        let (mut good, mut failed): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
        for id in &self.ids {
            let outcome: Result<Value, ClientError> = block_on(async {
                Ok(match action {
                    Action::Cancel => client.delete(&[PATH[0], PATH[1], id]).await,
                    Action::Replay => client.post(&[PATH[0], PATH[1], id, "replay"], &json!({})).await,
                })
            })?;
            match outcome {
                Ok(job) => good.push(job),
                Err(ClientError::Refused { status: 404 | 409 | 429, message, .. }) => {
                    failed.push(json!({ "id": id, "message": message }));
                }
                Err(error) => return Err(error.into()),
            }
        }
        if self.json {
            output::json(&json!({ "items": good, "failures": failed }))?;
        } else {
            for job in &good {
                let told = job["cancel_requested"] == true && job["state"] == "running";
                let state = if told { "running, asked to end".to_owned() } else { cell(&job["state"]) };
                output::line(format_args!("{}  {state}", cell(&job["id"])))?;
            }
            for failure in &failed {
                output::note(format_args!("{}: {}", cell(&failure["id"]), cell(&failure["message"])));
            }
        }
        Ok(if failed.is_empty() { Exit::Done } else { Exit::Failed })
    }
}

impl Submit {
    fn execute(&self, client: &Client) -> anyhow::Result<Exit> {
        let body = self.body()?;
        let job: Map<String, Value> = block_on(async {
            let job: Map<String, Value> = client.post(&PATH, &body).await?;
            if self.wait { Ok(wait(client, job).await?) } else { Ok(job) }
        })?;
        if self.json {
            output::json(&job)?;
        } else if self.wait {
            fields(&job)?;
        } else {
            output::line(cell(job.get("id").unwrap_or(&Value::Null)))?;
        }
        let failed = self.wait && job.get("state") != Some(&json!("succeeded"));
        Ok(if failed { Exit::Failed } else { Exit::Done })
    }

    fn body(&self) -> anyhow::Result<Value> {
        let text = input::texts(&self.payload)?.join("\n");
        let payload: Value =
            serde_json::from_str(&text).map_err(|error| UsageError(format!("the payload is no JSON: {error}")))?;
        let mut body = json!({ "kind": self.kind, "payload": payload });
        let given = [
            ("priority", self.priority.map(Value::from)),
            ("run_at", self.run_at.clone().map(Value::from)),
            ("ttl_seconds", self.ttl.map(Value::from)),
            ("key", self.key.clone().map(Value::from)),
            ("max_attempts", self.max_attempts.map(Value::from)),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        Ok(body)
    }
}

/// Looks at the job until it is finished; a daemon that restarts meanwhile is waited for.
async fn wait(client: &Client, mut job: Map<String, Value>) -> anyhow::Result<Map<String, Value>> {
    let id = job.get("id").and_then(Value::as_str).map(str::to_owned).context("the daemon's answer has no id")?;
    let finished = ["succeeded", "dead", "cancelled", "skipped"];
    let mut shown = String::new();
    loop {
        let state = job.get("state").and_then(Value::as_str).unwrap_or_default();
        if finished.contains(&state) {
            return Ok(job);
        }
        let now = format!("{state} {}", job.get("message").map(cell).unwrap_or_default());
        if now != shown {
            output::note(&now);
            shown = now;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        match client.get(&[PATH[0], PATH[1], &id], &[]).await {
            Ok(newer) => job = newer,
            Err(error) if error.is_unavailable() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn shown(job: &Value, column: &str) -> String {
    match column {
        "progress" => format!("{:.0} %", job["progress"].as_f64().unwrap_or_default() * 100.0),
        "attempts" => format!("{}/{}", job["attempts"], job["max_attempts"]),
        _ => cell(&job[column]),
    }
}
