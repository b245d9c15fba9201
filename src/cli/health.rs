//! `tidemill health`.

use clap::Args;
use serde_json::Value;

use super::client::{Client, block_on};
use super::exit::Exit;
use super::options::{ConfigOptions, DaemonOptions};
use super::output;

/// Ask the running daemon whether it takes work, for the health checks of containers: exit code 0 if so, 1 if not, 69 if
/// nobody answers.
#[derive(Debug, Args)]
#[command(after_help = "Example: tidemill health --live")]
pub struct Health {
    /// Ask only whether the process answers, not whether it can take and finish work.
    #[arg(long)]
    live: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

impl Health {
    /// Asks and says.
    ///
    /// # Errors
    /// If the daemon is away.
    pub fn execute(self, config: &ConfigOptions) -> anyhow::Result<Exit> {
        let client = Client::new(&self.daemon, &config.load()?.config)?;
        let path = ["health", if self.live { "live" } else { "ready" }];
        let (healthy, body) = block_on(async { Ok(client.probe(&path).await?) })?;
        if self.json {
            output::json(&body)?;
        } else {
            output::line(in_words(healthy, self.live, &body))?;
        }
        Ok(if healthy { Exit::Done } else { Exit::Failed })
    }
}

fn in_words(healthy: bool, live: bool, body: &Value) -> String {
    match (healthy, live) {
        (true, true) => return "alive".to_owned(),
        (true, false) => return "ready".to_owned(),
        (false, _) if body["stopping"] == true => return "not ready: it is stopping".to_owned(),
        (false, _) => {}
    }
    let dependencies = body["dependencies"].as_array().into_iter().flatten();
    let away: Vec<String> = dependencies
        .filter(|dependency| dependency["healthy"] == false)
        .map(|dependency| {
            let text = |key: &str| output::clip(dependency[key].as_str().unwrap_or_default(), 200);
            format!("{} ({})", text("name"), text("detail"))
        })
        .collect();
    if away.is_empty() { "not ready: it starts".to_owned() } else { format!("not ready: {}", away.join(", ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_away_is_named() {
        let body = json!({"stopping": false, "dependencies": [
            {"name": "log", "healthy": true, "detail": "answers"},
            {"name": "documents", "healthy": false, "detail": "connection refused"}]});
        assert_eq!(in_words(false, false, &body), "not ready: documents (connection refused)");
        assert_eq!(in_words(false, false, &json!({"stopping": true})), "not ready: it is stopping");
        assert_eq!(in_words(true, true, &Value::Null), "alive");
    }
}
