//! The layers of environment variables (`TIDEMILL__SECTION__KEY`) and flags (`--set section.key=value`).

use serde_json::Value;

use super::super::error::{Finding, Origin};
use super::super::schema::Node;
use super::layer::{self, Layer};

/// What our variables start with.
pub const PREFIX: &str = "TIDEMILL__";
/// The short variable for `daemon.data_dir`, under the long one.
pub const DATA_DIR_VARIABLE: &str = "TIDEMILL_DATA_DIR";

/// The layer of environment variables.
pub fn variables(environment: &[(String, String)], findings: &mut Vec<Finding>) -> Layer {
    let mut layer = Layer::default();
    let short = environment.iter().find(|(name, value)| name == DATA_DIR_VARIABLE && !value.is_empty());
    if let Some((name, value)) = short {
        let path = ["daemon".to_owned(), "data_dir".to_owned()];
        layer.set(&path, Value::String(value.clone()), Origin::Environment(name.clone()));
    }
    let mut ours: Vec<&(String, String)> = environment.iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    ours.sort();
    for (name, value) in ours {
        let path = name[PREFIX.len()..].split("__").map(str::to_owned).collect();
        set(&mut layer, path, value, Origin::Environment(name.clone()), findings);
    }
    layer
}

/// The layer of `--set` flags.
pub fn flags(sets: &[String], findings: &mut Vec<Finding>) -> Layer {
    let mut layer = Layer::default();
    for flag in sets {
        let Some((key, value)) = flag.split_once('=') else {
            let reason = "needs the form section.key=value".to_owned();
            findings.push(Finding::Unreadable { origin: Origin::Flag(format!("--set {flag}")), reason });
            continue;
        };
        let path = key.trim().split('.').map(str::to_owned).collect();
        set(&mut layer, path, value, Origin::Flag(format!("--set {}", key.trim())), findings);
    }
    layer
}

fn set(layer: &mut Layer, path: Vec<String>, value: &str, origin: Origin, findings: &mut Vec<Finding>) {
    let path = spelled_as_declared(path);
    if let Some(node) = Node::at(&path) {
        layer.set(&path, parse(node, value), origin);
    } else {
        let suggestion = layer::suggestion(&path);
        findings.push(Finding::UnknownKey { origin, key: path.join("."), suggestion });
    }
}

/// Variables are upper case by custom, keys lower: takes over the spelling of the schema. Below a map of plain values
/// what is left of the path is one name with dots in it, such as `sasl.password` in `kafka.properties`.
fn spelled_as_declared(path: Vec<String>) -> Vec<String> {
    let mut spelled: Vec<String> = Vec::with_capacity(path.len());
    let mut node = Some(Node::root());
    let mut names = path.into_iter();
    while let Some(given) = names.next() {
        let key = node.and_then(|node| node.declared_key(&given)).map_or_else(|| given.to_lowercase(), str::to_owned);
        let value = node.and_then(|node| node.child(&key));
        let plain_map = node.is_some_and(Node::is_map) && value.is_some_and(|value| !value.is_table());
        spelled.push(key);
        if plain_map {
            let rest: Vec<String> = names.by_ref().map(|name| name.to_lowercase()).collect();
            if let (Some(last), false) = (spelled.last_mut(), rest.is_empty()) {
                *last = format!("{last}.{}", rest.join("."));
            }
        }
        node = value;
    }
    spelled
}

/// The text as the type the schema wants: as it is where text is wanted, else as a TOML value; a list may also be given
/// bare, separated by commas.
fn parse(node: Node<'_>, text: &str) -> Value {
    let types = node.types();
    if types.contains(&"string") {
        return Value::String(text.to_owned());
    }
    let parsed = toml::from_str::<toml::Table>(&format!("value = {}", text.trim())).ok();
    match parsed.and_then(|mut table| if table.len() == 1 { table.remove("value") } else { None }) {
        Some(value) => super::file::to_json(value),
        None if types.contains(&"array") => text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| Value::String(item.to_owned()))
            .collect(),
        None => Value::String(text.to_owned()),
    }
}
