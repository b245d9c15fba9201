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
            output::line(tree(&told_once(answer), 0).join("\n"))?;
        }
        Ok(Exit::Done)
    }
}

/// The answer without what its documents say twice: the document as users see it repeats the way's head.
fn told_once(mut answer: Value) -> Value {
    let forget = |value: &mut Value, keys: &[&str]| {
        if let Some(table) = value.as_object_mut() {
            table.retain(|key, _| !keys.contains(&key.as_str()));
        }
    };
    for way in answer["documents"].as_array_mut().into_iter().flatten() {
        let document = &mut way["document"];
        let head = ["id", "document_id", "correlation_id", "verdict", "origin", "processed_at", "timings_ms"];
        forget(document, &head);
        forget(&mut document["analysis"], &head);
        forget(&mut document["analysis"], &["source", "published_at", "duplicate_of", "rule", "similarity"]);
    }
    answer
}

/// What is told first, in this order; the rest follows by name.
const FIRST: &[&str] = &[
    "verdict",
    "because",
    "advice",
    "document_id",
    "correlation_id",
    "origin",
    "topic",
    "partition",
    "offset",
    "processed_at",
    "stages",
    "total_ms",
    "models",
    "original",
    "dead_letter",
    "document",
    "source",
    "title",
    "text",
];

fn rank(name: &str) -> usize {
    FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len())
}

/// Longest text shown of one value.
const WIDTH: usize = 160;

/// An indented tree of names and values; stages in one line each.
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
        Value::Object(table) => {
            let mut entries: Vec<(&String, &Value)> = table.iter().collect();
            entries.sort_by_key(|(name, _)| rank(name));
            for (name, value) in entries {
                put(&output::clip(name, 60), value);
            }
        }
        Value::Array(items) if items.iter().all(|item| item["stage"].is_string() && item["ms"].is_number()) => {
            for item in items {
                let milliseconds = item["ms"].as_f64().unwrap_or_default();
                put(&scalar(&item["stage"]), &Value::String(format!("{milliseconds:.2} ms")));
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                put(&(index + 1).to_string(), value);
            }
        }
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

    #[test]
    fn way_is_told_in_order_and_once() {
        let document = json!({ "id": "d", "verdict": "stored", "title": "T", "analysis": { "verdict": "stored", "symbols": ["A"] } });
        let stages = json!([{ "stage": "embed", "ms": 7.961 }, { "stage": "sql", "ms": 1.0 }]);
        let way = json!({ "document": document, "stages": stages, "because": "B", "verdict": "stored" });
        let lines = tree(&told_once(json!({ "documents": [way] })), 0);
        let expected =
            ["documents:", "  1:", "    verdict: stored", "    because: B", "    stages:", "      embed: 7.96 ms"];
        assert_eq!(lines[..6], expected);
        assert_eq!(
            lines[6..],
            ["      sql: 1.00 ms", "    document:", "      title: T", "      analysis:", "        symbols: A"]
        );
    }
}
