//! One layer of settings, with where each was set.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::error::{Finding, Origin};
use super::super::schema::{self, Node};
use super::super::suggest;

/// Where settings were made, by full key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    /// Notes where a key was set.
    pub fn set(&mut self, key: String, origin: Origin) {
        self.0.insert(key, origin);
    }

    /// Where a key, or the nearest table around it, was set.
    #[must_use]
    pub fn of(&self, key: &str) -> Origin {
        let mut key = key;
        loop {
            if let Some(origin) = self.0.get(key) {
                return origin.clone();
            }
            match key.rfind(['.', '[']) {
                Some(end) => key = &key[..end],
                None => return Origin::Default,
            }
        }
    }
}

/// Settings and where they were made.
#[derive(Clone)]
pub struct Layer {
    /// A JSON object of sections.
    pub values: Value,
    /// Where each was set.
    pub origins: Origins,
}

impl Default for Layer {
    fn default() -> Self {
        Self { values: Value::Object(Map::new()), origins: Origins::default() }
    }
}

impl Layer {
    /// Lays another layer over this one.
    pub fn put(&mut self, over: Self) {
        merge(&mut self.values, over.values);
        self.origins.0.extend(over.origins.0);
    }

    /// Sets one key.
    pub fn set(&mut self, path: &[String], value: Value, origin: Origin) {
        put_at(&mut self.values, path, value);
        self.origins.set(path.join("."), origin);
    }

    /// Takes out the keys the schema does not know, noting each.
    pub fn reject_unknown(&mut self, findings: &mut Vec<Finding>) {
        let mut unknown = Vec::new();
        find_unknown(&self.values, Node::root(), &mut Vec::new(), &mut unknown);
        for path in unknown {
            take(&mut self.values, &path);
            let key = path.join(".");
            let origin = self.origins.of(&key);
            findings.push(Finding::UnknownKey { origin, suggestion: suggestion(&path), key });
        }
    }
}

/// The known key that may have been meant by an unknown one.
pub fn suggestion(path: &[String]) -> Option<String> {
    let (last, parents) = path.split_last()?;
    let parent = Node::at(parents);
    if let Some(near) = parent.and_then(|node| suggest::nearest(last, node.keys())) {
        let mut full = parents.to_vec();
        full.push(near.to_owned());
        return Some(full.join("."));
    }
    let known = schema::all_keys();
    let same_name: Vec<&String> = known.iter().filter(|key| key.rsplit('.').next() == Some(last.as_str())).collect();
    match same_name.as_slice() {
        [only] => Some((*only).clone()),
        _ => suggest::nearest(&path.join("."), known.iter().map(String::as_str)).map(str::to_owned),
    }
}

fn find_unknown(values: &Value, node: Node<'_>, path: &mut Vec<String>, unknown: &mut Vec<Vec<String>>) {
    let Value::Object(table) = values else { return };
    if !node.is_table() {
        return; // a table where a value belongs: the type check will say so
    }
    for (key, value) in table {
        path.push(key.clone());
        match node.child(key) {
            Some(child) => find_unknown(value, child, path, unknown),
            None => unknown.push(path.clone()),
        }
        path.pop();
    }
}

fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                match under.get_mut(&key) {
                    Some(existing) => merge(existing, value),
                    None => {
                        under.insert(key, value);
                    }
                }
            }
        }
        (under, over) => *under = over,
    }
}

/// Takes the value at a path out of a tree.
pub fn take(values: &mut Value, path: &[String]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    let parent = parents.iter().try_fold(values, |value, key| value.get_mut(key))?;
    parent.as_object_mut()?.remove(last)
}

/// The value at a path.
pub fn get<'a, S: AsRef<str>>(values: &'a Value, path: &[S]) -> Option<&'a Value> {
    path.iter().try_fold(values, |value, key| value.get(key.as_ref()))
}

/// Puts a value at a path, making the tables on the way.
pub fn put_at(values: &mut Value, path: &[String], value: Value) {
    let nested = path.iter().rev().fold(value, |nested, key| Value::Object(Map::from_iter([(key.clone(), nested)])));
    merge(values, nested);
}
