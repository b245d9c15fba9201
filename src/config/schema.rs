//! The JSON schema of the configuration and what is read off it: known keys, types in words, secrets.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Config;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Config>().to_value()
});

/// The JSON schema (draft 2020-12) of the whole configuration.
#[must_use]
pub fn json() -> &'static Value {
    &SCHEMA
}

/// One place in the schema.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a>(&'a Value);

impl Node<'static> {
    /// The whole configuration.
    #[must_use]
    pub fn root() -> Self {
        Self(&SCHEMA)
    }

    /// The place a key path leads to, if the schema knows it.
    #[must_use]
    pub fn at<S: AsRef<str>>(path: &[S]) -> Option<Self> {
        path.iter().try_fold(Self::root(), |node, key| node.child(key.as_ref()))
    }
}

impl<'a> Node<'a> {
    /// This schema and every alternative in it (`anyOf`, `oneOf`, `allOf`).
    fn alternatives(self) -> Vec<Self> {
        let mut found = vec![self];
        for keyword in ["anyOf", "oneOf", "allOf"] {
            let nested = self.0.get(keyword).and_then(Value::as_array).into_iter().flatten();
            found.extend(nested.flat_map(|schema| Self(schema).alternatives()));
        }
        found
    }

    /// The schema of a key, whether it is declared or one of a map's free names.
    #[must_use]
    pub fn child(self, key: &str) -> Option<Self> {
        let alternatives = self.alternatives();
        let declared = alternatives.iter().find_map(|node| node.0.get("properties")?.get(key));
        let free =
            || alternatives.iter().find_map(|node| node.0.get("additionalProperties").filter(|it| it.is_object()));
        declared.or_else(free).map(Node)
    }

    /// The schema of the first declared key; for maps and tables whose keys are all alike.
    #[must_use]
    pub fn any_child(self) -> Option<Self> {
        self.keys().into_iter().next().and_then(|key| self.child(key))
    }

    /// The declared key equal to `given` but for case.
    #[must_use]
    pub fn declared_key(self, given: &str) -> Option<&'a str> {
        self.keys().into_iter().find(|key| key.eq_ignore_ascii_case(given))
    }

    /// The declared keys.
    #[must_use]
    pub fn keys(self) -> Vec<&'a str> {
        let objects = self.alternatives().into_iter().filter_map(|node| node.0.get("properties")?.as_object());
        objects.flat_map(|properties| properties.keys().map(String::as_str)).collect()
    }

    /// Whether it is a table: with declared keys, or a map.
    #[must_use]
    pub fn is_table(self) -> bool {
        let is_table = |node: &Self| node.0.get("properties").is_some() || node.0.get("additionalProperties").is_some();
        self.alternatives().iter().any(is_table)
    }

    /// Whether it is a map with free names.
    #[must_use]
    pub fn is_map(self) -> bool {
        self.is_table() && self.keys().is_empty()
    }

    /// The names of the JSON types it takes; empty if it does not say.
    #[must_use]
    pub fn types(self) -> Vec<&'a str> {
        let mut types = Vec::new();
        for node in self.alternatives() {
            match node.0.get("type") {
                Some(Value::String(name)) => types.push(name.as_str()),
                Some(Value::Array(names)) => types.extend(names.iter().filter_map(Value::as_str)),
                _ if node.0.get("enum").is_some() || node.0.get("const").is_some() => types.push("string"),
                _ => {}
            }
        }
        types
    }

    /// Whether it may be left out (null in JSON).
    #[must_use]
    pub fn is_optional(self) -> bool {
        self.types().contains(&"null")
    }

    /// Whether its value must never be shown.
    #[must_use]
    pub fn is_secret(self) -> bool {
        self.alternatives().iter().any(|node| node.0.get("format").and_then(Value::as_str) == Some("password"))
    }

    /// Its doc comment.
    #[must_use]
    pub fn doc(self) -> &'a str {
        self.0.get("description").and_then(Value::as_str).unwrap_or_default()
    }

    /// The words it is restricted to, each with its doc comment.
    #[must_use]
    pub fn words(self) -> Vec<(&'a str, &'a str)> {
        let mut words = Vec::new();
        for node in self.alternatives() {
            if let Some(names) = node.0.get("enum").and_then(Value::as_array) {
                words.extend(names.iter().filter_map(Value::as_str).map(|name| (name, "")));
            }
            if let Some(name) = node.0.get("const").and_then(Value::as_str) {
                words.push((name, node.doc()));
            }
        }
        words
    }

    /// What it takes, in words.
    #[must_use]
    pub fn allowed(self) -> String {
        let words = self.words();
        if !words.is_empty() {
            let names: Vec<String> = words.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            return names.join(", ");
        }
        let mut kinds: Vec<String> = Vec::new();
        for node in self.alternatives() {
            for kind in node.own_types() {
                let text = node.type_in_words(kind);
                if kind != "null" && !kinds.contains(&text) {
                    kinds.push(text);
                }
            }
        }
        if kinds.is_empty() { "any value".to_owned() } else { kinds.join(" or ") }
    }

    fn own_types(self) -> Vec<&'a str> {
        match self.0.get("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    fn type_in_words(self, kind: &str) -> String {
        match kind {
            "string" => "text".to_owned(),
            "boolean" => "true or false".to_owned(),
            "integer" => self.integer_in_words(),
            "number" => "a number".to_owned(),
            "array" => match self.0.get("items") {
                Some(items) => format!("a list of {}", Node(items).allowed()),
                None => "a list".to_owned(),
            },
            "object" => "a table".to_owned(),
            other => other.to_owned(),
        }
    }

    fn integer_in_words(self) -> String {
        let low = self.0.get("minimum").and_then(Value::as_i64);
        let high =
            self.0.get("maximum").and_then(Value::as_i64).or(match self.0.get("format").and_then(Value::as_str) {
                Some("uint32") => Some(i64::from(u32::MAX)),
                Some("int32") => Some(i64::from(i32::MAX)),
                _ => None,
            });
        match (low, high) {
            (Some(low), Some(high)) => format!("an integer from {low} to {high}"),
            (Some(low), None) => format!("an integer of {low} or more"),
            (None, Some(high)) => format!("an integer of at most {high}"),
            (None, None) => "an integer".to_owned(),
        }
    }
}

/// Names of keys whose values are secret whatever their type is.
const SECRET_NAMES: &[&str] = &["token", "password", "secret", "api_key"];

/// Whether the value of a key must never be shown: by its type ([`super::secret::Secret`]) or by its name.
#[must_use]
pub fn is_secret(key: &str) -> bool {
    let path: Vec<&str> = key.split('.').collect();
    let named = path.last().is_some_and(|name| SECRET_NAMES.contains(name));
    named || Node::at(&path).is_some_and(Node::is_secret)
}

/// Every declared key below the root, as a full path; maps stand for themselves.
#[must_use]
pub fn all_keys() -> Vec<String> {
    fn walk(node: Node<'_>, path: &str, found: &mut Vec<String>) {
        for key in node.keys() {
            let full = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            match node.child(key) {
                Some(child) if child.is_table() && !child.is_map() => walk(child, &full, found),
                _ => found.push(full),
            }
        }
    }
    let mut found = Vec::new();
    walk(Node::root(), "", &mut found);
    found
}
