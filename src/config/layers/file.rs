//! The file layer: TOML, with the line of every key.

use std::path::Path;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::super::error::{Finding, Origin};
use super::layer::{Layer, Origins};

/// Largest configuration file, bytes: a mistaken path should not be read into memory whole.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a file. What is wrong with it is noted, and the rest of it returned.
pub fn read(path: &Path, findings: &mut Vec<Finding>) -> Layer {
    let mut unreadable = |line, reason| {
        findings.push(Finding::Unreadable { origin: Origin::File { path: path.to_owned(), line }, reason });
        Layer::default()
    };
    match std::fs::metadata(path) {
        Ok(data) if data.len() > MAX_BYTES => {
            return unreadable(None, format!("the file has {} bytes; allowed: at most {MAX_BYTES}", data.len()));
        }
        Ok(_) => {}
        Err(error) => return unreadable(None, format!("can't read the file: {error}")),
    }
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return unreadable(None, format!("can't read the file: {error}")),
    };
    let (values, spans) = match (toml::from_str::<toml::Table>(&text), DeTable::parse(&text)) {
        (Ok(values), Ok(spans)) => (values, spans),
        (Err(error), _) | (_, Err(error)) => {
            let line = error.span().map(|span| line_of(&text, span.start));
            return unreadable(line, format!("not valid TOML: {}", error.message()));
        }
    };
    let mut origins = Origins::default();
    note_lines(spans.get_ref(), "", &mut |key, start| {
        origins.set(key, Origin::File { path: path.to_owned(), line: Some(line_of(&text, start)) });
    });
    let mut layer = Layer { values: to_json(toml::Value::Table(values)), origins };
    layer.reject_unknown(findings);
    layer
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

fn note_lines(table: &DeTable<'_>, prefix: &str, note: &mut impl FnMut(String, usize)) {
    for (key, value) in table {
        let full = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        note(full.clone(), key.span().start);
        if let DeValue::Table(nested) = value.get_ref() {
            note_lines(nested, &full, note);
        }
    }
}

/// TOML as JSON. Times become text; numbers that JSON can't hold (`nan`, `inf`) become text too, and so are refused as
/// numbers later.
pub fn to_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) if number.is_finite() => number.into(),
        toml::Value::Float(number) => Value::String(number.to_string().to_lowercase()),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => items.into_iter().map(to_json).collect(),
        toml::Value::Table(table) => {
            Value::Object(table.into_iter().map(|(key, value)| (key, to_json(value))).collect())
        }
    }
}
