//! Layers: defaults, then files, then environment, then flags; the later wins, key by key.
//!
//! Every layer is read and checked against the schema before they are merged, so that one run reports everything that
//! is wrong in any of them, each with the place it was set.

pub mod environment;
pub mod file;
pub mod layer;
mod secrets;

use std::path::PathBuf;

use serde_json::Value;
use serde_path_to_error::Segment;

use self::layer::{Layer, Origins};
use super::Config;
use super::error::{ConfigError, Finding, Origin};
use super::problem::Problems;
use super::schema::{self, Node};
use super::secret::REDACTED;

/// The file that is read when none is named, if it is there.
pub const DEFAULT_FILE: &str = "config/default.toml";
/// The variable that names the files to read, separated by `:`.
pub const FILES_VARIABLE: &str = "TIDEMILL_CONFIG";

/// Where the settings come from. Kept by the daemon to read them again on reload.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Files, each over the one before it.
    pub files: Vec<PathBuf>,
    /// Environment variables, over the files. Others than ours are ignored.
    pub environment: Vec<(String, String)>,
    /// `section.key=value`, over everything.
    pub sets: Vec<String>,
}

impl std::fmt::Debug for Sources {
    /// Names only: values may be secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let variables: Vec<&str> = self.environment.iter().map(|(name, _)| name.as_str()).collect();
        let sets: Vec<&str> = self.sets.iter().map(|flag| flag.split('=').next().unwrap_or_default()).collect();
        let mut shown = formatter.debug_struct("Sources");
        shown.field("files", &self.files).field("environment", &variables).field("sets", &sets).finish()
    }
}

/// A valid configuration and how it came about.
#[derive(Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// What the layers set, merged, secrets included.
    pub(super) merged: Value,
    /// Where each of them was set.
    pub(super) origins: Origins,
}

impl std::fmt::Debug for Loaded {
    /// Without the merged layers: there secrets are plain.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Loaded")
            .field("config", &self.config)
            .field("origins", &self.origins)
            .finish_non_exhaustive()
    }
}

impl Loaded {
    /// Where the setting in effect was made.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.of(key)
    }

    /// The defaults, set by nobody.
    #[must_use]
    pub fn defaults() -> Self {
        Self { config: Config::default(), merged: Value::Object(serde_json::Map::new()), origins: Origins::default() }
    }
}

impl Sources {
    /// The sources of this process: the files named, else those of `TIDEMILL_CONFIG`, else `config/default.toml` if it
    /// is there; then its environment; then the flags.
    #[must_use]
    pub fn of_process(files: Vec<PathBuf>, sets: Vec<String>) -> Self {
        let environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("TIDEMILL_"))
            .collect();
        let named = environment.iter().find(|(name, value)| name == FILES_VARIABLE && !value.is_empty());
        let files = match (files.is_empty(), named) {
            (false, _) => files,
            (true, Some((_, list))) => std::env::split_paths(list).collect(),
            (true, None) => Some(PathBuf::from(DEFAULT_FILE)).into_iter().filter(|path| path.is_file()).collect(),
        };
        Self { files, environment, sets }
    }

    /// Reads, merges and checks all layers.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let mut findings = Vec::new();
        let mut merged = Layer::default();
        for path in &self.files {
            merged.put(file::read(path, &mut findings));
        }
        merged.put(environment::variables(&self.environment, &mut findings));
        merged.put(environment::flags(&self.sets, &mut findings));
        secrets::read_files(&mut merged, &mut findings);
        let Layer { values, origins } = merged;
        finish(values, origins, findings)
    }
}

/// Makes a configuration of merged values and checks it.
///
/// # Errors
/// Everything found before and now.
pub(super) fn finish(merged: Value, origins: Origins, mut findings: Vec<Finding>) -> Result<Loaded, ConfigError> {
    let config = typed(merged.clone(), &origins, &mut findings);
    let mut problems = Problems::default();
    config.validate(&mut problems);
    findings.extend(problems.into_found().into_iter().map(|problem| Finding::Invalid {
        origin: origins.of(&problem.key),
        value: shown(&problem.key, problem.value),
        key: problem.key,
        allowed: problem.allowed,
    }));
    if findings.is_empty() { Ok(Loaded { config, merged, origins }) } else { Err(ConfigError(findings)) }
}

/// Deserialises; a value of the wrong type is noted, taken out, and the rest tried again.
fn typed(mut values: Value, origins: &Origins, findings: &mut Vec<Finding>) -> Config {
    loop {
        let error = match serde_path_to_error::deserialize::<_, Config>(&values) {
            Ok(config) => return config,
            Err(error) => error,
        };
        let mut keys = Vec::new();
        let mut inside_list = false;
        for segment in error.path() {
            match segment {
                Segment::Map { key } => keys.push(key.clone()),
                Segment::Enum { .. } => {}
                Segment::Seq { .. } | Segment::Unknown => inside_list = true,
            }
            if inside_list {
                break;
            }
        }
        let key = keys.join(".");
        let Some(value) = layer::take(&mut values, &keys) else {
            // Nothing left to take out: say what serde says, so that the loop ends.
            findings
                .push(Finding::Unreadable { origin: origins.of(&key), reason: format!("{key}: {}", error.inner()) });
            return Config::default();
        };
        let allowed = match Node::at(&keys).map(Node::allowed) {
            Some(allowed) if inside_list => format!("{allowed} ({})", error.inner()),
            Some(allowed) => allowed,
            None => error.inner().to_string(),
        };
        findings.push(Finding::Invalid { origin: origins.of(&key), value: shown(&key, value), key, allowed });
    }
}

/// The value as it may be shown.
fn shown(key: &str, value: impl std::fmt::Display) -> String {
    if schema::is_secret(key) { REDACTED.to_owned() } else { value.to_string() }
}
