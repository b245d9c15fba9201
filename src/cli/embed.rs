//! `tidemill embed`.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::client::{Client, block_on};
use super::exit::Exit;
use super::local;
use super::options::{ConfigOptions, DaemonOptions};
use super::{input, output};

/// Print the embedding of a text: by the running daemon, else by the model itself.
#[derive(Debug, Args)]
#[command(after_help = "Example: printf 'first text\\nsecond text\\n' | tidemill embed - > vectors.ndjson")]
pub struct Embed {
    /// The text, or - for the lines of standard input.
    text: String,
    /// Print one JSON array; without it, one JSON array of numbers per line and text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

#[derive(Debug, Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    index: usize,
    embedding: Vec<f32>,
}

impl Embed {
    /// Embeds and prints.
    ///
    /// # Errors
    /// If there is no text, or neither daemon nor model.
    pub fn execute(self, config: &ConfigOptions) -> anyhow::Result<Exit> {
        let config = config.load()?.config;
        let texts = input::texts(&self.text)?;
        let client = Client::new(&self.daemon, &config)?;
        let asked =
            client.about_texts(&["v1", "embeddings"], &texts, |texts| json!({ "input": texts }), Answer::vectors);
        let vectors = match block_on(async { Ok(asked.await) })? {
            Err(error) if error.is_away() && self.daemon.url.is_none() => local::embed(&config, &texts)?,
            answer => answer?,
        };
        if self.json {
            output::line(serde_json::to_string(&vectors)?)?;
        } else {
            for vector in &vectors {
                output::line(serde_json::to_string(vector)?)?;
            }
        }
        Ok(Exit::Done)
    }
}

impl Answer {
    /// In the order of the texts.
    fn vectors(mut self) -> Vec<Vec<f32>> {
        self.data.sort_by_key(|item| item.index);
        self.data.into_iter().map(|item| item.embedding).collect()
    }
}
