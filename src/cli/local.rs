//! What the commands do in this process, without asking a running daemon.

use std::sync::Arc;

use serde_json::Value;

use super::exit::{Exit, SettingError, UnavailableError};
use crate::actors::backtester::inputs::{Inputs, Source};
use crate::actors::daemon::{self, DaemonError};
use crate::actors::open::{models, open_market};
use crate::actors::{check, sentiment_analyzer};
use crate::backtest::{BacktestRequest, Prices, Signals, evaluate};
use crate::config::Config;
use crate::config::reload::Reloader;
use crate::config::secret::Secret;
use crate::models::Models;
use crate::telemetry::logs::LogLevel;

/// What `run` is told.
#[derive(Debug)]
pub struct RunOptions {
    /// The settings and their reload.
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

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// If it can't start or ended by escalation.
pub fn run(options: RunOptions) -> anyhow::Result<Exit> {
    match daemon::run(options.reloader, options.log_level, options.sample) {
        Ok(()) => Ok(Exit::Done),
        Err(DaemonError::Open(error)) if error.is_setting() => Err(SettingError(error.to_string()).into()),
        Err(DaemonError::Open(error)) if error.is_unavailable() => Err(UnavailableError(error.to_string()).into()),
        Err(error) => Err(error.into()),
    }
}

/// The topology's text.
///
/// # Errors
/// If it can't be written as JSON.
pub fn topology(config: &Config, format: TopologyFormat) -> anyhow::Result<String> {
    let topology = daemon::topology(config);
    Ok(match format {
        TopologyFormat::Text => topology.to_text(),
        TopologyFormat::Mermaid => topology.to_mermaid(),
        TopologyFormat::Json => serde_json::to_string_pretty(&topology)?,
    })
}

/// Tries every service: the data directory, the addresses, the models, the log and the stores.
///
/// # Errors
/// If trying itself fails.
pub fn check(config: &Config) -> anyhow::Result<Vec<ServiceCheck>> {
    let answers = runtime()?.block_on(check::services(config));
    Ok(answers
        .into_iter()
        .map(|answer| ServiceCheck { name: answer.name, healthy: answer.healthy, detail: answer.detail })
        .collect())
}

/// Embeds without a daemon.
///
/// # Errors
/// If the model can't be loaded.
pub fn embed(config: &Config, texts: &[String]) -> anyhow::Result<Vec<Vec<f32>>> {
    let encoder = models(config)?.encoder;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    Ok(encoder.encode(&texts)?.into_iter().map(|encoded| encoded.vector.to_vec()).collect())
}

/// Analyzes without a daemon: per text an object with sentiment, category and entities.
///
/// # Errors
/// If the models can't be loaded.
pub fn analyze(config: &Config, texts: &[String]) -> anyhow::Result<Vec<Value>> {
    let Models { encoder, sentiment } = models(config)?;
    let opinions = sentiment_analyzer::analyze(&*encoder, &*sentiment, texts, config.sentiment.min_confidence)?;
    Ok(opinions.into_iter().map(|opinion| serde_json::json!(opinion)).collect())
}

/// Simulates on bars of the store, without a daemon; nothing is kept.
///
/// # Errors
/// If the store can't be had, or the request or its bars make no sense.
pub fn backtest(config: &Config, mut request: BacktestRequest) -> anyhow::Result<Value> {
    let (prices, sentiment) = inputs(config, &mut request)?;
    Ok(serde_json::to_value(evaluate(&request, &prices, sentiment.as_ref())?)?)
}

/// Bars of the store, and signals where the request asks for sentiment, without a daemon.
///
/// # Errors
/// If a daemon uses the store, it can't be had, or has no such bars.
pub fn inputs(config: &Config, request: &mut BacktestRequest) -> anyhow::Result<(Prices, Option<Signals>)> {
    runtime()?.block_on(async {
        let (market, _lock) = open_market(config).await?;
        let source = Source { market: &market, limits: &config.backtest, job: None };
        let Inputs { prices, sentiment } = source.load(request).await?;
        Ok((prices, sentiment))
    })
}

/// Where the daemon of this configuration listens, and its token. A daemon that took any free port says which in its
/// data directory.
///
/// # Errors
/// If the token's file can't be read.
pub fn endpoint(config: &Config) -> anyhow::Result<(String, Option<Secret>)> {
    let token = config.http.resolve_token()?;
    let listen = daemon::announced(&config.daemon.data_dir).unwrap_or_else(|| config.http.listen.clone());
    Ok((listen, token))
}

/// For commands that work here.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
