//! `tidemill backtest`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, block_on};
use super::exit::Exit;
use super::options::{ConfigOptions, DaemonOptions};
use super::strategy_file::StrategyFile;
use super::{local, output};
use crate::backtest::chart::equity_chart;
use crate::backtest::request::Part;
use crate::backtest::result::Equity;
use crate::backtest::{BacktestRequest, evaluate};

/// Simulate a strategy on bars. The file is a request as `POST /v1/backtests` takes it, in TOML or JSON; `bars` in it
/// names a CSV or Parquet file and `columns` its columns. With `symbol` and `interval` instead, the running daemon's
/// store has the bars, or without a daemon the store itself.
#[derive(Debug, Args)]
#[command(after_help = "Example: tidemill backtest config/strategies/ma_crossover.toml")]
pub struct Backtest {
    /// The file, .toml or .json.
    file: PathBuf,
    /// Draw equity and drawdown as an SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print the whole result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

impl Backtest {
    /// Simulates and prints.
    ///
    /// # Errors
    /// If the file, its bars or the strategy make no sense; says where.
    pub fn execute(self, config: &ConfigOptions) -> anyhow::Result<Exit> {
        let config = config.load()?.config;
        let file = StrategyFile::read(&self.file)?;
        let mut request: BacktestRequest = file.request()?;
        if self.svg.is_some() && !request.wants(Part::Equity) {
            request.parts.push(Part::Equity);
        }
        let name = self.file.display().to_string();
        let result = if let Some(prices) = file.prices(&mut request, config.backtest.max_bars)? {
            serde_json::to_value(evaluate(&request, &prices, None).context(name)?)?
        } else {
            let client = Client::new(&self.daemon, &config)?;
            let mut body = file.body().clone();
            body["return"] = json!(request.parts);
            let asked = block_on(async { Ok(client.post(&["v1", "backtests"], &body).await) })?;
            match asked {
                Err(error) if error.is_away() && self.daemon.url.is_none() => {
                    local::backtest(&config, request).context(name)?
                }
                answer => answer?,
            }
        };
        if let (Some(path), Some(_)) = (&self.svg, result.get("equity")) {
            let equity: Equity = serde_json::from_value(result["equity"].clone())?;
            let title = self.file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            std::fs::write(path, equity_chart(&equity, &title)).with_context(|| path.display().to_string())?;
        }
        if self.json {
            output::json(&result)?;
        } else {
            output::line(describe(&result))?;
        }
        Ok(Exit::Done)
    }
}

/// The metrics as a table, or where to find them.
pub(super) fn describe(result: &Value) -> String {
    if let Some(job) = result["job_id"].as_str() {
        return format!("it is large and became a job: tidemill jobs show {job}");
    }
    let mut rows = vec![
        row("bars", &result["bars"]),
        row("initial_cash", &result["initial_cash"]),
        row("device", &result["device"]),
        row("computation_seconds", &result["computation_seconds"]),
    ];
    match result["metrics"].as_object() {
        Some(metrics) => rows.extend(metrics.iter().filter(|(name, _)| *name != "reasons").map(|(k, v)| row(k, v))),
        None => {
            for name in ["final_value", "total_return", "sharpe_ratio", "max_drawdown", "trades_count"] {
                rows.push(row(name, &result[name]));
            }
        }
    }
    output::table(&["metric", "value"], &rows)
}

fn row(name: &str, value: &Value) -> Vec<String> {
    vec![name.to_owned(), cell(value)]
}

/// A value in few characters.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Number(number) => match number.as_f64() {
            Some(number) if number.fract() == 0.0 && number.abs() < 1e15 => format!("{number:.0}"),
            Some(number) => format!("{number:.6}"),
            None => number.to_string(),
        },
        Value::String(text) => output::clip(text, 60),
        other => output::clip(&other.to_string(), 60),
    }
}
