//! Live reload: reads the layers again, applies what may change while the daemon runs, says what needs a restart, and
//! keeps the old settings when the new are invalid.

pub mod live;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch as channel;

use super::Config;
use super::error::{ConfigError, Finding};
use super::layers::{self, Loaded, Sources, layer};
use super::schema;
use crate::telemetry::events::ConfigReloaded;

pub use self::watch::watch;

/// Why a reload happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// A configuration file changed.
    File,
    /// SIGHUP came.
    Signal,
    /// `POST /v1/config/reload` was called.
    Api,
}

impl Trigger {
    /// As written in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Signal => "signal",
            Self::Api => "api",
        }
    }
}

/// What a reload did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReloadReport {
    /// Keys whose new values are in effect.
    pub applied: Vec<String>,
    /// Keys whose new values wait for a restart; their old values stay in effect.
    pub needs_restart: Vec<String>,
    /// What is wrong with the new settings; if there is anything, nothing was applied.
    pub errors: Vec<Finding>,
}

/// Holds the settings in effect and exchanges them.
#[derive(Debug)]
pub struct Reloader {
    sources: Sources,
    /// The settings in effect with the layers they came from. Held during a reload, so that reloads take turns.
    loaded: Mutex<Loaded>,
    /// The settings in effect, for those who follow them.
    published: channel::Sender<Arc<Config>>,
    /// Told when a reload begins and ends.
    watcher: Watcher,
}

/// Told when a reload begins and when it has ended.
pub type OnReload = Box<dyn Fn(ReloadPhase) + Send + Sync>;

/// Where a reload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadPhase {
    /// The layers are about to be read.
    Begins,
    /// What could be applied is.
    Ends,
}

/// Who is told, if anybody.
#[derive(Default)]
struct Watcher(OnceLock<OnReload>);

impl Watcher {
    fn tell(&self, phase: ReloadPhase) {
        if let Some(on_reload) = self.0.get() {
            on_reload(phase);
        }
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Watcher").field(&self.0.get().is_some()).finish()
    }
}

impl Reloader {
    /// Starts with settings that were loaded from these sources.
    #[must_use]
    pub fn new(sources: Sources, loaded: Loaded) -> Self {
        let published = channel::Sender::new(Arc::new(loaded.config.clone()));
        Self { sources, loaded: Mutex::new(loaded), published, watcher: Watcher::default() }
    }

    /// The settings in effect.
    #[must_use]
    pub fn current(&self) -> Arc<Config> {
        self.published.borrow().clone()
    }

    /// Follows the settings: the receiver wakes after every reload that applied something.
    #[must_use]
    pub fn subscribe(&self) -> channel::Receiver<Arc<Config>> {
        self.published.subscribe()
    }

    /// Has the beginning and end of every reload told, once; a second listener is ignored.
    pub fn on_reload(&self, told: OnReload) {
        let _ = self.watcher.0.set(told);
    }

    /// Where the settings come from.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Reads the layers again and applies what may change while the daemon runs. Reads files: call it where blocking for
    /// a moment is fine.
    pub fn reload(&self, trigger: Trigger) -> ReloadReport {
        let mut loaded = self.loaded.lock();
        self.watcher.tell(ReloadPhase::Begins);
        let report = match self.sources.load().and_then(|new| apply(&loaded, &new)) {
            Ok((effective, report)) => {
                if !report.applied.is_empty() {
                    self.published.send_replace(Arc::new(effective.config.clone()));
                }
                *loaded = effective;
                report
            }
            Err(ConfigError(errors)) => ReloadReport { errors, ..ReloadReport::default() },
        };
        ConfigReloaded { trigger: trigger.as_str(), report: &report }.emit();
        self.watcher.tell(ReloadPhase::Ends);
        report
    }
}

/// The old settings with the live ones of the new, and the report.
fn apply(old: &Loaded, new: &Loaded) -> Result<(Loaded, ReloadReport), ConfigError> {
    let mut effective = old.merged.clone();
    let mut origins = old.origins.clone();
    let mut report = ReloadReport::default();
    for key in changed(old, new) {
        if !live::is_live(&key) {
            report.needs_restart.push(key);
            continue;
        }
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        layer::take(&mut effective, &path);
        if let Some(value) = layer::get(&new.merged, &path) {
            layer::put_at(&mut effective, &path, value.clone());
        }
        origins.set(key.clone(), new.origins.of(&key));
        report.applied.push(key);
    }
    // Old and new values mixed must hold together as well.
    let effective = layers::finish(effective, origins, Vec::new())?;
    Ok((effective, report))
}

/// The keys whose values differ, in order.
fn changed(old: &Loaded, new: &Loaded) -> Vec<String> {
    let (before, after) = (flat(&old.config), flat(&new.config));
    let mut keys: Vec<String> = before.keys().chain(after.keys()).cloned().collect();
    keys.extend(schema::all_keys());
    keys.sort();
    keys.dedup();
    keys.retain(|key| {
        let path: Vec<&str> = key.split('.').collect();
        // Secrets look alike when serialised, so they are compared as they were set.
        let secret_differs = schema::is_secret(key) && layer::get(&old.merged, &path) != layer::get(&new.merged, &path);
        secret_differs || before.get(key) != after.get(key)
    });
    keys
}

/// Every value of the configuration by its full key; lists are one value.
fn flat(config: &Config) -> BTreeMap<String, Value> {
    fn walk(value: Value, key: &str, out: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(table) if !table.is_empty() => {
                for (name, value) in table {
                    let full = if key.is_empty() { name } else { format!("{key}.{name}") };
                    walk(value, &full, out);
                }
            }
            Value::Null => {}
            value => {
                out.insert(key.to_owned(), value);
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(serde_json::to_value(config).unwrap_or_default(), "", &mut out);
    out
}
