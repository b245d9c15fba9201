//! The one place where the commands meet the assembled daemon.

use std::sync::Arc;

use serde_json::Value;

use super::exit::{Exit, UnavailableError};
use crate::config::Config;
use crate::config::reload::Reloader;
use crate::config::secret::Secret;
use crate::telemetry::logs::LogLevel;

/// What `run` is told.
#[derive(Debug)]
pub struct RunOptions {
    /// The settings and their reload; `config::reload::watch` has to be started on it.
    pub reloader: Arc<Reloader>,
    /// Changes the level of the running log.
    pub log_level: LogLevel,
    /// Whether to feed the bundled sample.
    pub sample: bool,
}

/// How a service answered `check`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ServiceCheck {
    /// Which service.
    pub name: String,
    /// Whether it answered.
    pub healthy: bool,
    /// In words.
    pub detail: String,
}

/// How to print the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TopologyFormat {
    /// An indented tree.
    Text,
    /// A mermaid flowchart.
    Mermaid,
    /// One JSON object.
    Json,
}

fn unassembled<T>() -> anyhow::Result<T> {
    Err(UnavailableError("this build has no daemon".to_owned()).into())
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// If it can't start or ended by escalation.
pub fn run(_options: RunOptions) -> anyhow::Result<Exit> {
    unassembled()
}

/// The topology's text.
///
/// # Errors
/// If the configuration describes none.
pub fn topology(_config: &Config, _format: TopologyFormat) -> anyhow::Result<String> {
    unassembled()
}

/// Tries every service.
///
/// # Errors
/// If trying itself fails.
pub fn check(_config: &Config) -> anyhow::Result<Vec<ServiceCheck>> {
    unassembled()
}

/// Embeds without a daemon.
///
/// # Errors
/// If the model can't be loaded.
pub fn embed(_config: &Config, _texts: &[String]) -> anyhow::Result<Vec<Vec<f32>>> {
    unassembled()
}

/// Analyzes without a daemon: per text an object with sentiment, category and entities.
///
/// # Errors
/// If the models can't be loaded.
pub fn analyze(_config: &Config, _texts: &[String]) -> anyhow::Result<Vec<Value>> {
    unassembled()
}

/// Where the daemon of this configuration listens, and its token.
///
/// # Errors
/// If the token's file can't be read.
pub fn endpoint(_config: &Config) -> anyhow::Result<(String, Option<Secret>)> {
    Ok(("127.0.0.1:8080".to_owned(), None))
}
