//! Sweeps as jobs: rows go to the store while the engine runs, and with them how far it is, so that whoever takes the job
//! up again goes on from there.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::inputs::{self, Inputs, Source};
use super::{Backtester, finite, fits, on_the_pool, shown, strategy_name};
use crate::backtest::request::Compat;
use crate::backtest::sweep::{
    self, Checkpoint, Keep, Search, SweepError, SweepOptions, SweepRequest, SweepResult, SweepWatch,
};
use crate::config::backtest::BacktestConfig;
use crate::jobs::JobContext;
use crate::messages::backtest::{RunFigures, RunKind, StoredRun, SweepRow};
use crate::messages::code::{ErrorCode, Rejection};
use crate::stores::documents::StoreError;
use crate::telemetry::metrics;
use crate::web::state::RunError;

/// Stack of each thread that sweeps.
const STACK_BYTES: usize = 16 << 20;
/// Rows of one write.
const ROWS: usize = 1000;
/// Writes that may wait for the store before the engine does.
const WRITES: usize = 4;
/// Sets whose rows the stored result shows itself; the others are paged through.
const SHOWN: usize = 20;

/// How many sets a sweep has, the request checked as far as it can be without its bars.
pub(super) fn check(request: &SweepRequest, limits: &BacktestConfig) -> Result<u64, RunError> {
    let space = request.space()?;
    let sets = match request.search {
        Search::Grid => space.len(),
        Search::Random { sets, .. } | Search::Halving { sets, .. } => sets.min(space.len()),
    };
    let over = |field: &str, most: u64, key: &str| {
        let said = format!("the sweep has {sets} sets, at most {most} are taken (backtest.{key})");
        Err(Rejection::field(ErrorCode::InvalidBacktest, field, said).into())
    };
    match request.keep {
        _ if sets > limits.max_sets => over("params", limits.max_sets, "max_sets"),
        Keep::All(_) if sets > limits.max_rows => over("keep", limits.max_rows, "max_rows"),
        Keep::All(_) | Keep::Top(_) => Ok(sets),
    }
}

/// Runs `work` on threads of its own, 0 for one per core: they end with it, and have the room on their stacks that the
/// lanes take where nothing is optimised.
///
/// # Errors
/// If the system has no thread left.
pub fn on_cores<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> Result<R, String> {
    let name = |index| format!("tidemill-sweep-{index}");
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK_BYTES).thread_name(name);
    Ok(builder.build().map_err(|error| format!("no threads: {error}"))?.install(work))
}

impl Backtester {
    /// Loads, sweeps, keeps and tells. Goes on where an earlier attempt of the same job was.
    pub(super) async fn sweep(&self, mut request: SweepRequest, ctx: &JobContext) -> Result<StoredRun, RunError> {
        let limits = self.limits();
        check(&request, &limits)?;
        let id = ctx.id();
        request.base.portfolio_id.get_or_insert_with(|| id.to_string());
        let source = Source { market: &self.market, limits: &limits, job: Some(ctx) };
        let inputs = source.load(&mut request.base).await?;
        let kept = self.market.runs.checkpoint(id).await?;
        let resume: Option<Checkpoint> = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let request = Arc::new(request);
        let inputs = Arc::new(inputs);
        let run = |resume| self.watched((request.clone(), inputs.clone()), resume, &limits, ctx);
        let result = match run(resume.clone()).await {
            // bars or documents came in since: what was done is of another series
            Err(RunError::Rejected(refusal)) if resume.is_some() && refusal.field.as_deref() == Some("checkpoint") => {
                tracing::info!(job = %id, "the sweep begins anew, as its bars or signals have changed");
                run(None).await?
            }
            done => done?,
        };
        let run = stored(&request, &result, ctx, &limits)?;
        let rows = result.rows.iter().zip(0..).map(|(row, place)| kept_row(row, place, &result.names)).collect();
        self.write(ctx, rows).await?;
        metrics::backtest_bars(&run.figures.device, run.figures.bars.saturating_mul(run.figures.sets));
        self.keep(&run).await?;
        self.market.runs.save_checkpoint(id, None).await?;
        Ok(run)
    }

    /// Runs the engine on the compute pool and writes what it says on the way.
    async fn watched(
        &self,
        (request, inputs): (Arc<SweepRequest>, Arc<Inputs>),
        resume: Option<Checkpoint>,
        limits: &BacktestConfig,
        ctx: &JobContext,
    ) -> Result<SweepResult, RunError> {
        let (sender, receiver) = mpsc::channel(WRITES);
        let names: Vec<String> = request.params.keys().cloned().collect();
        let mut watch = Watch { ctx: ctx.clone(), names, rows: Vec::new(), sender };
        let (max_sets, row_memory, threads) = (limits.max_sets, limits.sweep_memory_mib << 20, limits.threads);
        let engine = on_the_pool(move || {
            let sentiment = inputs.sentiment.as_ref();
            let options = SweepOptions { sentiment, max_sets, row_memory, resume: resume.as_ref() };
            let result = on_cores(threads, || sweep::run(&request, &inputs.prices, &options, &mut watch));
            // what is left is sent, and the way closed
            (result, watch.flush())
        });
        let (ended, written) = futures_util::future::join(engine, self.take(receiver, ctx)).await;
        written?;
        let (result, flushed) = ended?;
        flushed.map_err(RunError::Failed)?;
        match result.map_err(RunError::Failed)? {
            Ok(result) => Ok(result),
            Err(SweepError::Backtest(error)) => Err(error.into()),
            Err(SweepError::Device(error)) => {
                Err(Rejection::field(ErrorCode::InvalidBacktest, "device", error.to_string()).into())
            }
            Err(SweepError::Cancelled { .. }) => Err(RunError::Stopped),
            Err(error @ SweepError::Row(_)) => Err(RunError::Failed(error.to_string())),
        }
    }

    /// Writes rows and checkpoints in the order they come; a checkpoint is kept after the rows before it.
    async fn take(&self, mut words: mpsc::Receiver<Word>, ctx: &JobContext) -> Result<(), StoreError> {
        while let Some(word) = words.recv().await {
            match word {
                Word::Rows(rows) => self.write(ctx, rows).await?,
                Word::Checkpoint(checkpoint) => {
                    self.market.runs.save_checkpoint(ctx.id(), Some(checkpoint)).await?;
                }
            }
        }
        Ok(())
    }

    async fn write(&self, ctx: &JobContext, mut rows: Vec<SweepRow>) -> Result<(), StoreError> {
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(ROWS));
            self.market.runs.write_sweep_rows(ctx.id(), ctx.correlation_id(), rows).await?;
            rows = rest;
        }
        Ok(())
    }
}

/// What the engine says on its way.
enum Word {
    Rows(Vec<SweepRow>),
    Checkpoint(Vec<u8>),
}

/// Passes on what the engine says, and tells it to stop.
struct Watch {
    ctx: JobContext,
    names: Vec<String>,
    /// Not sent yet.
    rows: Vec<SweepRow>,
    sender: mpsc::Sender<Word>,
}

impl Watch {
    fn send(&self, word: Word) -> Result<(), String> {
        self.sender.blocking_send(word).map_err(|_| "the store does not take it".to_owned())
    }

    fn flush(&mut self) -> Result<(), String> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        self.send(Word::Rows(rows))
    }
}

impl SweepWatch for Watch {
    fn cancelled(&mut self) -> bool {
        self.ctx.is_stopping() || self.sender.is_closed()
    }

    fn progress(&mut self, done: u64, total: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let share = done as f64 / total.max(1) as f64;
        self.ctx.progress(share.min(0.99), format!("{done} of {total} sets"));
    }

    fn row(&mut self, row: sweep::SweepRow) -> Result<(), String> {
        self.rows.push(kept_row(&row, row.set, &self.names));
        if self.rows.len() < ROWS { Ok(()) } else { self.flush() }
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        // a checkpoint that can't be sent means that the store is away: the next row or look says so
        let sent = self.flush().and_then(|()| {
            let bytes = serde_json::to_vec(checkpoint).map_err(|error| error.to_string())?;
            self.send(Word::Checkpoint(bytes))
        });
        if let Err(error) = sent {
            tracing::debug!(job = %self.ctx.id(), error, "checkpoint is not kept");
        }
    }
}

/// A row as it is kept: parameters and metrics apart.
fn kept_row(row: &sweep::SweepRow, position: u64, names: &[String]) -> SweepRow {
    let whole = row.to_json(names, Compat::Strict);
    let (params, metrics): (Map<String, Value>, Map<String, Value>) =
        whole.into_iter().partition(|(name, _)| names.contains(name));
    SweepRow { position, params, metrics }
}

fn stored(
    request: &SweepRequest,
    result: &SweepResult,
    ctx: &JobContext,
    limits: &BacktestConfig,
) -> Result<StoredRun, RunError> {
    let best = result.rows.first().map(|row| &row.metrics);
    let metric = |name: &str| best.and_then(|metrics| metrics.get(name)).and_then(finite);
    let figures = RunFigures {
        initial_cash: Some(request.base.init_cash),
        final_value: metric("final_value"),
        total_return: metric("total_return"),
        sharpe_ratio: metric("sharpe_ratio"),
        max_drawdown: metric("max_drawdown"),
        #[expect(clippy::cast_possible_truncation, reason = "a count")]
        trades_count: metric("trades_count").map(|count| count as i64),
        gpu_used: result.gpu_used,
        device: result.device.clone(),
        computation_seconds: result.computation_seconds,
        bars: result.bars,
        sets: result.tried,
    };
    let shown_rows = result.rows.iter().take(SHOWN).map(|row| row.to_json(&result.names, Compat::Strict));
    let portfolio_id = request.base.portfolio_id.clone().unwrap_or_else(|| ctx.id().to_string());
    let mut body = json!({
        "portfolio_id": portfolio_id,
        "params": result.names,
        "sets": result.sets,
        "tried": result.tried,
        "bars": result.bars,
        "best": shown_rows.collect::<Vec<_>>(),
        "rows": match request.keep {
            Keep::All(_) => result.tried,
            Keep::Top(_) => result.rows.len() as u64,
        },
        "gpu_used": result.gpu_used,
        "device": result.device,
        "computation_seconds": result.computation_seconds,
    });
    if let Some(surface) = &result.surface {
        body["surface"] = json!(surface);
    }
    fits(&body, limits)?;
    let mut asked = json!(request);
    if let (Value::Object(asked), Value::Object(base)) = (&mut asked, shown(&request.base)) {
        asked.extend(base);
    }
    Ok(StoredRun {
        id: Arc::clone(ctx.id()),
        portfolio_id,
        kind: RunKind::Sweep,
        correlation_id: ctx.correlation_id().to_owned(),
        created_at: inputs::now(),
        symbol: request.base.symbol.clone(),
        interval: request.base.interval.map(|interval| interval.to_string()),
        strategy: strategy_name(&request.base.signals).to_owned(),
        figures,
        request: asked,
        result: body,
    })
}
