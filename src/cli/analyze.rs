//! `tidemill analyze`.

use std::fmt::Write as _;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, block_on};
use super::exit::Exit;
use super::local;
use super::options::{ConfigOptions, DaemonOptions};
use super::{input, output};

/// Print sentiment, category and entities of a text, by the running daemon, else by the models themselves. Nothing is
/// stored.
#[derive(Debug, Args)]
#[command(after_help = "Example: tidemill analyze 'Acme beats earnings estimates, $ACME up 12%'")]
pub struct Analyze {
    /// The text, or - for the lines of standard input.
    text: String,
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

#[derive(Debug, Deserialize)]
struct Answer {
    results: Vec<Value>,
}

impl Analyze {
    /// Analyzes and prints.
    ///
    /// # Errors
    /// If there is no text, or neither daemon nor models.
    pub fn execute(self, config: &ConfigOptions) -> anyhow::Result<Exit> {
        let config = config.load()?.config;
        let texts = input::texts(&self.text)?;
        let client = Client::new(&self.daemon, &config)?;
        let asked = client.about_texts(
            &["v1", "analyze"],
            &texts,
            |texts| json!({ "texts": texts }),
            |answer: Answer| answer.results,
        );
        let results = match block_on(async { Ok(asked.await) })? {
            Err(error) if error.is_away() && self.daemon.url.is_none() => local::analyze(&config, &texts)?,
            answer => answer?,
        };
        if self.json {
            output::json(&results)?;
            return Ok(Exit::Done);
        }
        for (text, result) in texts.iter().zip(&results) {
            output::line(describe(text, result))?;
        }
        Ok(Exit::Done)
    }
}

fn describe(text: &str, result: &Value) -> String {
    let sentiment = &result["sentiment"];
    let word = |value: &Value| output::clip(value.as_str().unwrap_or("-"), 40);
    let mut out = format!(
        "{} ({:+.3}) · {} · {}",
        word(&sentiment["label"]),
        sentiment["score"].as_f64().unwrap_or_default(),
        word(&result["category"]["label"]),
        output::clip(text, 100),
    );
    for entity in result["entities"].as_array().into_iter().flatten() {
        // Writing to a String can't fail.
        let _ = write!(out, "\n  {:<8} {}", word(&entity["type"]), word(&entity["text"]));
        if let Some(symbol) = entity["symbol"].as_str() {
            let _ = write!(out, " → {}", output::clip(symbol, 32));
        }
    }
    out
}
