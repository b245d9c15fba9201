//! `tidemill top`.

mod samples;
mod view;

use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio::time::Instant;

use self::samples::Samples;
use self::view::View;
use super::client::{Client, ClientError, block_on};
use super::exit::{Exit, UsageError};
use super::options::{ConfigOptions, DaemonOptions};
use super::output;

/// Live view of actors, rates, depths and restarts. Ctrl-C ends it.
#[derive(Debug, Args)]
#[command(after_help = "Example: tidemill top --interval 0.5")]
pub struct Top {
    /// Seconds between two looks.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    interval: f64,
    /// Look once (over one interval) and end.
    #[arg(long)]
    once: bool,
    /// Print JSON instead, one object per look.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

/// One look at the daemon.
struct Look {
    at: Instant,
    samples: Samples,
    actors: Value,
}

impl Top {
    /// Shows the view until it is interrupted.
    ///
    /// # Errors
    /// If the daemon is away at the first look.
    pub fn execute(self, config: &ConfigOptions) -> anyhow::Result<Exit> {
        if !(0.1..=3600.0).contains(&self.interval) {
            return Err(UsageError(format!("--interval {} is not allowed; allowed: 0.1 to 3600", self.interval)).into());
        }
        let client = Client::new(&self.daemon, &config.load()?.config)?;
        block_on(self.follow(&client))
    }

    async fn follow(&self, client: &Client) -> anyhow::Result<Exit> {
        let mut before = look(client).await?;
        loop {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
                () = tokio::time::sleep(Duration::from_secs_f64(self.interval)) => {}
            }
            match look(client).await {
                Ok(now) => {
                    let seconds = now.at.duration_since(before.at).as_secs_f64();
                    self.show(client, &View::between(&before.samples, &now.samples, seconds, &now.actors))?;
                    before = now;
                }
                Err(error) if self.once => return Err(error.into()),
                // It may be restarting: stay, say so, and look again.
                Err(error) => output::note(format_args!("{error}")),
            }
            if self.once {
                return Ok(Exit::Done);
            }
        }
    }

    fn show(&self, client: &Client, view: &View) -> anyhow::Result<()> {
        if self.json {
            return Ok(output::line(serde_json::to_string(view)?)?);
        }
        let mut out = stdout().lock();
        if out.is_terminal() && !self.once {
            out.write_all(b"\x1b[H\x1b[2J")?;
        }
        writeln!(out, "{}\n{}", client.base(), view.text())?;
        Ok(out.flush()?)
    }
}

async fn look(client: &Client) -> Result<Look, ClientError> {
    let text = client.get_text(&["metrics"]).await?;
    // The states decorate the view; the metrics make it.
    let actors = client.get(&["v1", "actors"], &[]).await.unwrap_or_default();
    Ok(Look { at: Instant::now(), samples: Samples::parse(&text), actors })
}
