//! Secrets from files: a section with `NAME` (a secret) and `NAME_file` takes the secret from either.

use std::path::Path;

use serde_json::Value;

use super::super::error::{Finding, Origin};
use super::super::schema::{self, Node};
use super::layer::{self, Layer};

/// Largest secret, bytes.
const MAX_BYTES: usize = 64 * 1024;

/// Reads every `NAME_file` that stands beside a secret `NAME` into it.
pub fn read_files(layer: &mut Layer, findings: &mut Vec<Finding>) {
    for file_key in schema::all_keys() {
        let Some(secret_key) = file_key.strip_suffix("_file") else { continue };
        let secret_path: Vec<String> = secret_key.split('.').map(str::to_owned).collect();
        let file_path: Vec<&str> = file_key.split('.').collect();
        let is_secret = Node::at(&secret_path).is_some_and(Node::is_secret);
        let Some(Value::String(file)) = layer::get(&layer.values, &file_path).cloned().filter(|_| is_secret) else {
            continue;
        };
        let origin = layer.origins.of(&file_key);
        let both = layer::get(&layer.values, &secret_path).is_some_and(|value| !value.is_null());
        let invalid = |value: &str, allowed: String| Finding::Invalid {
            origin: origin.clone(),
            key: file_key.clone(),
            value: format!("{value:?}"),
            allowed,
        };
        if both {
            findings.push(invalid(&file, format!("{file_key} or {secret_key}, not both")));
            continue;
        }
        match read(Path::new(&file)) {
            Ok(secret) => {
                // From here on it is as if the secret had been given itself.
                let file_path: Vec<String> = file_key.split('.').map(str::to_owned).collect();
                layer::take(&mut layer.values, &file_path);
                let origin = Origin::File { path: file.into(), line: None };
                layer.set(&secret_path, Value::String(secret), origin);
            }
            Err(reason) => findings.push(invalid(&file, format!("a readable file with one secret ({reason})"))),
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let secret = text.trim_end_matches(['\r', '\n']);
    match secret.len() {
        0 => Err("it is empty".to_owned()),
        length if length > MAX_BYTES => Err(format!("it has {length} bytes, over {MAX_BYTES}")),
        _ => Ok(secret.to_owned()),
    }
}
