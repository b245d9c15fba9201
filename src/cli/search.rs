//! `tidemill search`.

use clap::Args;
use serde_json::Value;

use super::client::{Client, block_on};
use super::exit::Exit;
use super::options::{ConfigOptions, DaemonOptions};
use super::output;

/// Find the documents nearest in meaning to a text.
#[derive(Debug, Args)]
#[command(after_help = "Example: tidemill search 'rate cut hopes' -k 5 --source news")]
pub struct Search {
    /// What to look for.
    text: String,
    /// How many documents at most.
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=200))]
    k: u16,
    /// Only documents of this source.
    #[arg(long)]
    source: Option<String>,
    /// Only documents with this symbol.
    #[arg(long)]
    symbol: Option<String>,
    /// Only documents at or after this time (RFC 3339).
    #[arg(long)]
    since: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

impl Search {
    /// Asks the daemon and prints the hits.
    ///
    /// # Errors
    /// If the daemon is away or refuses.
    pub fn execute(self, config: &ConfigOptions) -> anyhow::Result<Exit> {
        let client = Client::new(&self.daemon, &config.load()?.config)?;
        let mut query = vec![("q", self.text), ("k", self.k.to_string())];
        for (name, value) in [("source", self.source), ("symbol", self.symbol), ("since", self.since)] {
            query.extend(value.map(|value| (name, value)));
        }
        let answer: Value = block_on(async { Ok(client.get(&["v1", "search"], &query).await?) })?;
        if self.json {
            output::json(&answer)?;
            return Ok(Exit::Done);
        }
        let rows: Vec<Vec<String>> = answer["results"].as_array().into_iter().flatten().map(row).collect();
        if rows.is_empty() {
            output::note("nothing found");
        } else {
            output::line(output::table(&["similarity", "id", "source", "sentiment", "text"], &rows))?;
        }
        Ok(Exit::Done)
    }
}

fn row(hit: &Value) -> Vec<String> {
    let text = |value: &Value| output::clip(value.as_str().unwrap_or_default(), 90);
    let headline = if hit["title"].is_string() { &hit["title"] } else { &hit["text"] };
    vec![
        format!("{:.3}", hit["similarity"].as_f64().unwrap_or_default()),
        output::clip(hit["id"].as_str().unwrap_or_default(), 40),
        text(&hit["source"]),
        text(&hit["analysis"]["sentiment"]["label"]),
        text(headline),
    ]
}
