//! `tidemill sweep`.

mod checkpoint;
mod stored;
mod walk;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::backtest::cell;
use super::client::Client;
use super::exit::Exit;
use super::options::{ConfigOptions, DaemonOptions};
use super::strategy_file::StrategyFile;
use super::{local, output};
use crate::actors::backtester::sweep::on_cores;
use crate::backtest::chart::heatmap;
use crate::backtest::request::Compat;
use crate::backtest::sweep::{
    self, Checkpoint, Keep, Ranking, SWEEP_METRICS, SurfaceRequest, SweepOptions, SweepRequest, SweepResult, SweepRow,
    SweepWatch,
};
use crate::backtest::walk_forward::{Window, splits};
use crate::stores::table_file::TableFile;

/// Rows printed.
const SHOWN: usize = 10;
/// Columns printed behind the parameters.
const METRICS: [&str; 5] = ["sharpe_ratio", "total_return", "max_drawdown", "trades_count", "final_value"];

/// Simulate many sets of a strategy's parameters on all cores, or on a GPU. The file is a request as `POST /v1/sweeps`
/// takes it, in TOML or JSON, with `bars` and `columns` as `tidemill backtest` has them; with `symbol` and `interval`
/// instead, the running daemon's store has the bars, or without a daemon the store itself.
#[derive(Debug, Args)]
#[command(after_help = "Example: tidemill sweep config/strategies/ma_sweep.toml --out best.parquet")]
pub struct Sweep {
    /// The file, .toml or .json.
    file: PathBuf,
    /// Write the rows kept, parameters then metrics, to a .parquet or .csv file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Draw a metric over two parameters as an SVG heat map: `surface` of the file, else the two parameters there are.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Keep here, every two seconds, how far the sweep is; where the file is there, go on from it. It is deleted at the end.
    /// Not with keep = "all", whose rows are written as they come; halving begins anew.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Choose on TRAIN bars the set that is best there (by keep), trade it on the TEST bars after them, and go on so to the
    /// end: what comes of choosing, on bars that nothing was chosen on. --svg then draws its equity.
    #[arg(long, value_name = "TRAIN,TEST", value_parser = walk::lengths, conflicts_with_all = ["out", "checkpoint"])]
    walk_forward: Option<(usize, usize)>,
    /// Let every choice see all bars from the first on instead of the last TRAIN.
    #[arg(long, requires = "walk_forward")]
    anchored: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

impl Sweep {
    /// Sweeps, writes and prints.
    ///
    /// # Errors
    /// If the file, its bars or the strategy make no sense; says where.
    pub fn execute(self, config: &ConfigOptions) -> anyhow::Result<Exit> {
        let config = config.load()?.config;
        let file = StrategyFile::read(&self.file)?;
        let mut request: SweepRequest = file.request()?;
        let keeps_all = matches!(request.keep, Keep::All(_));
        if keeps_all && self.out.is_none() && self.walk_forward.is_none() {
            bail!("{}: keep = \"all\" needs --out FILE for its rows", self.file.display());
        }
        if keeps_all && self.checkpoint.is_some() {
            bail!(
                "{}: keep = \"all\" cannot go on from a checkpoint: its rows are written as they come",
                self.file.display()
            );
        }
        if self.svg.is_some() && request.surface.is_none() && self.walk_forward.is_none() {
            request.surface = Some(surface(&request)?);
        }
        let limits = &config.backtest;
        let given = file.prices(&mut request.base, limits.max_bars)?;
        let served = match given {
            None => {
                let client = Client::new(&self.daemon, &config)?;
                stored::bars(&client, self.daemon.url.is_some(), &request.base, limits.max_bars)?
            }
            given @ Some(_) => given,
        };
        let (prices, sentiment) = match served {
            Some(prices) => (prices, None),
            None => local::inputs(&config, &mut request.base)?,
        };
        let resume = self.checkpoint.as_deref().map(checkpoint::read).transpose()?.flatten();
        let options = SweepOptions {
            sentiment: sentiment.as_ref(),
            max_sets: limits.max_sets,
            row_memory: limits.sweep_memory_mib << 20,
            resume: resume.as_ref(),
        };
        if let Some((train, test)) = self.walk_forward {
            let window = if self.anchored { Window::Anchored } else { Window::Rolling };
            let splits = splits(prices.len(), window, train, test).with_context(|| self.file.display().to_string())?;
            return self.walk(&mut request, &prices, &splits, (&options, limits.threads));
        }
        let columns: Vec<String> =
            request.params.keys().cloned().chain(SWEEP_METRICS.iter().map(|name| (*name).to_owned())).collect();
        let mut watch = Watch::new(self.out.as_deref(), &columns, self.checkpoint.clone())?;
        let sweeping = || sweep::run(&request, &prices, &options, &mut watch);
        let result = on_cores(limits.threads, sweeping).map_err(anyhow::Error::msg)?;
        watch.bar.finish_and_clear();
        let result = result.with_context(|| self.file.display().to_string())?;
        watch.finish(&result)?;
        if let Some(path) = &self.checkpoint {
            checkpoint::forget(path)?;
        }
        if let (Some(path), Some(surface)) = (&self.svg, &result.surface) {
            std::fs::write(path, heatmap(surface)).with_context(|| path.display().to_string())?;
        }
        self.report(&result)?;
        Ok(Exit::Done)
    }

    fn report(&self, result: &SweepResult) -> anyhow::Result<()> {
        let objects = result.rows.iter().map(|row| row.to_json(&result.names, Compat::Strict));
        if self.json {
            return output::json(&json!({
                "params": result.names, "sets": result.sets, "tried": result.tried, "bars": result.bars,
                "rows": objects.collect::<Vec<_>>(), "surface": result.surface, "gpu_used": result.gpu_used,
                "device": result.device, "computation_seconds": result.computation_seconds,
            }));
        }
        let names: Vec<&str> = result.names.iter().map(String::as_str).chain(METRICS).collect();
        let rows: Vec<Vec<String>> = objects
            .take(SHOWN)
            .map(|row| names.iter().map(|name| cell(row.get(*name).unwrap_or(&Value::Null))).collect())
            .collect();
        if !rows.is_empty() {
            output::line(output::table(&names, &rows))?;
        }
        output::line(format_args!(
            "{} sets of {} bars on {} in {:.3} s",
            result.tried, result.bars, result.device, result.computation_seconds
        ))?;
        Ok(())
    }
}

/// The surface of a sweep that names none: its two parameters, by the metric that the best are kept by.
fn surface(request: &SweepRequest) -> anyhow::Result<SurfaceRequest> {
    let names: Vec<&String> = request.params.keys().collect();
    let [x, y] = names[..] else {
        bail!("--svg needs two parameters: name them as surface = {{ x = \"...\", y = \"...\" }}");
    };
    let (metric, order) = match &request.keep {
        Keep::Top(top) => (top.by.clone(), top.order),
        Keep::All(_) => ("sharpe_ratio".to_owned(), Ranking::default()),
    };
    Ok(SurfaceRequest { x: x.clone(), y: y.clone(), metric, order })
}

/// Shows how far it is and writes every row where all are kept.
struct Watch {
    bar: ProgressBar,
    table: Option<TableFile>,
    checkpoint: Option<PathBuf>,
    shown: Instant,
}

impl Watch {
    fn new(out: Option<&Path>, columns: &[String], checkpoint: Option<PathBuf>) -> anyhow::Result<Self> {
        let bar = ProgressBar::new(0);
        bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} sets {elapsed}, {eta} left")?);
        let table = out.map(|path| TableFile::create(path, columns)).transpose()?;
        Ok(Self { bar, table, checkpoint, shown: Instant::now() })
    }

    /// Writes the best and puts the table in its place.
    fn finish(mut self, result: &SweepResult) -> anyhow::Result<()> {
        for row in &result.rows {
            self.row(row.clone()).map_err(anyhow::Error::msg)?;
        }
        match self.table {
            Some(table) => Ok(table.finish()?),
            None => Ok(()),
        }
    }
}

impl SweepWatch for Watch {
    fn progress(&mut self, done: u64, total: u64) {
        if self.shown.elapsed() >= Duration::from_millis(100) {
            self.shown = Instant::now();
            self.bar.set_length(total);
            self.bar.set_position(done);
        }
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        if let Some(path) = &self.checkpoint
            && let Err(error) = checkpoint::write(path, checkpoint)
        {
            tracing::warn!(path = %path.display(), %error, "the checkpoint is not kept, the sweep goes on");
        }
    }

    fn row(&mut self, row: SweepRow) -> Result<(), String> {
        let Some(table) = &mut self.table else { return Ok(()) };
        let metrics = row.metrics.0.iter().map(|value| value.is_finite().then_some(*value));
        let cells: Vec<Option<f64>> = row.values.iter().copied().map(Some).chain(metrics).collect();
        table.push(&cells).map_err(|error| error.to_string())
    }
}
