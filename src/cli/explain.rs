//! `tidemill explain`.

use clap::Args;
use serde_json::Value;

use super::client::{Client, block_on};
use super::exit::Exit;
use super::options::{ConfigOptions, DaemonOptions};
use super::output;

/// Print a document's whole way: origin, stages with timings, models, verdict.
#[derive(Debug, Args)]
#[command(after_help = "Example: tidemill explain 5f0c9c1e-6a0f-5a44-9d1b-5a7b6c1d2e3f")]
pub struct Explain {
    /// Id of a document, or a correlation id.
    id: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

impl Explain {
    /// Asks the daemon and prints the way.
    ///
    /// # Errors
    /// If the daemon is away or knows no such id.
    pub fn execute(self, config: &ConfigOptions) -> anyhow::Result<Exit> {
        let client = Client::new(&self.daemon, &config.load()?.config)?;
        let answer: Value = block_on(async { Ok(client.get(&["v1", "explain", &self.id], &[]).await?) })?;
        if self.json {
            output::json(&answer)?;
        } else {
            output::line(tree(&answer, 0).join("\n"))?;
        }
        Ok(Exit::Done)
    }
}

/// Longest text shown of one value.
const WIDTH: usize = 160;

/// An indented tree of an answer: names, values, nothing hidden.
fn tree(value: &Value, depth: usize) -> Vec<String> {
    let indent = "  ".repeat(depth);
    let mut lines = Vec::new();
    let mut put = |name: &str, value: &Value| match value {
        Value::Object(table) if table.is_empty() => lines.push(format!("{indent}{name}: none")),
        Value::Array(items) if items.is_empty() => lines.push(format!("{indent}{name}: none")),
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let items: Vec<String> = items.iter().map(scalar).collect();
            lines.push(format!("{indent}{name}: {}", items.join(", ")));
        }
        Value::Object(_) | Value::Array(_) => {
            lines.push(format!("{indent}{name}:"));
            lines.extend(tree(value, depth + 1));
        }
        plain => lines.push(format!("{indent}{name}: {}", scalar(plain))),
    };
    match value {
        Value::Object(table) => table.iter().for_each(|(name, value)| put(&output::clip(name, 60), value)),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, value)| put(&(index + 1).to_string(), value)),
        plain => put("value", plain),
    }
    lines
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => output::clip(text, WIDTH),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tree_shows_every_value_once() {
        let value = json!({ "a": 1, "b": { "c": ["x", "y"], "d": [] }, "e": [{ "f": "line\nline" }] });
        assert_eq!(tree(&value, 0), ["a: 1", "b:", "  c: x, y", "  d: none", "e:", "  1:", "    f: line line"]);
    }
}
