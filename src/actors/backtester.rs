//! Backtests and sweeps as the daemon runs them: bars and signals out of the stores, the engine on the compute pool,
//! results into the store and the `backtests` topic. As the job kinds `backtest` and `sweep`, and at once for the API.

pub(crate) mod inputs;
pub(crate) mod sweep;

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use self::inputs::{Inputs, Source};
use super::services::Market;
use crate::backtest::request::Part;
use crate::backtest::source::SignalSource;
use crate::backtest::sweep::SweepRequest;
use crate::backtest::{BacktestRequest, BacktestResult, evaluate};
use crate::config::Config;
use crate::config::backtest::BacktestConfig;
use crate::jobs::{JobContext, JobFailure, Outcome};
use crate::kafka::log::{Log, LogError};
use crate::messages::backtest::{CURVE, RunFigures, RunKind, StoredRun};
use crate::messages::code::{ErrorCode, Rejection};
use crate::messages::correlation::CorrelationId;
use crate::messages::record::{CORRELATION_HEADER, NewRecord};
use crate::telemetry::metrics;
use crate::web::state::{Backtests, RunError};

/// Parts of a result that grow with its bars: left out of the topic where the record would be too large.
const LONG_PARTS: [&str; 3] = ["equity", "trades", "orders"];

/// Bars that are kept for the chart of a backtest.
const CURVE_BARS: usize = 400;

/// Runs backtests and sweeps. Cheap to clone.
#[derive(Clone)]
pub struct Backtester {
    market: Market,
    log: Arc<dyn Log>,
    /// Name of the `backtests` topic.
    topic: Arc<str>,
    config: Arc<ArcSwap<Config>>,
    /// Backtests that may begin outside of jobs.
    places: Arc<Semaphore>,
}

impl Backtester {
    /// Over open stores.
    #[must_use]
    pub fn new(market: Market, log: Arc<dyn Log>, config: Arc<ArcSwap<Config>>) -> Self {
        let now = config.load();
        let topic = now.kafka.topics.backtests.as_str().into();
        let places = Arc::new(Semaphore::new(now.backtest.concurrent));
        Self { market, log, topic, config, places }
    }

    /// The job `backtest`.
    ///
    /// # Errors
    /// [`JobFailure::Fatal`] for a request that makes no sense.
    pub async fn backtest_job(self, request: BacktestRequest, ctx: JobContext) -> Outcome {
        let id = Arc::clone(ctx.id());
        let correlation_id = ctx.correlation_id().to_owned();
        let run = self.simulate(id, request, &correlation_id, Some(&ctx)).await.map_err(job_failure)?;
        Ok(outcome(&run))
    }

    /// The job `sweep`.
    ///
    /// # Errors
    /// [`JobFailure::Fatal`] for a request that makes no sense.
    pub async fn sweep_job(self, request: SweepRequest, ctx: JobContext) -> Outcome {
        let run = self.sweep(request, &ctx).await.map_err(job_failure)?;
        Ok(outcome(&run))
    }

    fn limits(&self) -> BacktestConfig {
        self.config.load().backtest.clone()
    }

    /// Loads, simulates, keeps and tells.
    async fn simulate(
        &self,
        id: Arc<str>,
        mut request: BacktestRequest,
        correlation_id: &str,
        ctx: Option<&JobContext>,
    ) -> Result<StoredRun, RunError> {
        let limits = self.limits();
        request.portfolio_id.get_or_insert_with(|| id.to_string());
        let source = Source { market: &self.market, limits: &limits, job: ctx };
        let Inputs { prices, sentiment } = source.load(&mut request).await?;
        if let Some(ctx) = ctx {
            ctx.progress(0.5, format!("{} bars loaded", prices.len()));
        }
        let asked = request.clone();
        // whatever is asked for, a chart can be drawn later
        request.parts.push(Part::Equity);
        let mut result = on_the_pool(move || evaluate(&request, &prices, sentiment.as_ref())).await??;
        let curve = result.equity.as_ref().map(|equity| equity.thinned(CURVE_BARS));
        result.equity = result.equity.filter(|_| asked.wants(Part::Equity));
        let mut run = stored(id, &asked, &result, correlation_id, &limits)?;
        run.result[CURVE] = json!(curve);
        metrics::backtest_bars(&run.figures.device, run.figures.bars);
        self.keep(&run).await?;
        Ok(run)
    }

    /// Into the store, then to the topic.
    async fn keep(&self, run: &StoredRun) -> Result<(), RunError> {
        self.market.runs.save_run(run.clone()).await?;
        let whole = run.shown();
        match self.log.append(vec![self.record(run, &whole)]).await {
            Err(LogError::TooLarge { .. }) => {
                let mut short = whole;
                if let Some(fields) = short.as_object_mut() {
                    LONG_PARTS.iter().for_each(|part| drop(fields.remove(*part)));
                }
                self.log.append(vec![self.record(run, &short)]).await?;
            }
            done => drop(done?),
        }
        Ok(())
    }

    fn record(&self, run: &StoredRun, value: &Value) -> NewRecord {
        NewRecord {
            topic: Arc::clone(&self.topic),
            partition: None,
            timestamp_ms: None,
            key: Some(Bytes::copy_from_slice(run.id.as_bytes())),
            value: value.to_string().into(),
            headers: vec![(CORRELATION_HEADER.to_owned(), Bytes::from(run.correlation_id.clone()))],
        }
    }
}

impl Backtests for Backtester {
    fn run_now<'a>(
        &'a self,
        request: BacktestRequest,
        correlation_id: &'a CorrelationId,
    ) -> BoxFuture<'a, Result<Option<StoredRun>, RunError>> {
        Box::pin(async move {
            let limits = self.limits();
            let source = Source { market: &self.market, limits: &limits, job: None };
            if source.bars(&request).await? > limits.sync_bars {
                return Ok(None);
            }
            let closed = |_| RunError::Failed("the simulator is closed".to_owned());
            let place = Arc::clone(&self.places).acquire_owned().await.map_err(closed)?;
            let (itself, correlation_id) = (self.clone(), correlation_id.to_string());
            // a client that goes away takes neither the place nor the result with it
            let running = tokio::spawn(async move {
                let _place = place;
                let id = uuid::Uuid::now_v7().to_string().into();
                itself.simulate(id, request, &correlation_id, None).await
            });
            let crashed = |error| RunError::Failed(format!("the simulation crashed: {error}"));
            running.await.map_err(crashed)?.map(Some)
        })
    }

    fn check_sweep(&self, request: &SweepRequest) -> Result<u64, RunError> {
        sweep::check(request, &self.limits())
    }
}

/// Runs `work` where it may take its time.
async fn on_the_pool<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, RunError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| RunError::Failed(format!("the simulation crashed: {error}")))
}

/// A result as it is kept.
fn stored(
    id: Arc<str>,
    request: &BacktestRequest,
    result: &BacktestResult,
    correlation_id: &str,
    limits: &BacktestConfig,
) -> Result<StoredRun, RunError> {
    let figures = RunFigures {
        initial_cash: Some(result.initial_cash),
        final_value: finite(result.final_value),
        total_return: finite(result.total_return),
        sharpe_ratio: json!(result.sharpe_ratio).as_f64(),
        max_drawdown: json!(result.max_drawdown).as_f64(),
        trades_count: i64::try_from(result.trades_count).ok(),
        gpu_used: result.gpu_used,
        device: result.device.clone(),
        computation_seconds: result.computation_seconds,
        bars: result.bars,
        sets: 1,
    };
    let result = serde_json::to_value(result).map_err(|error| RunError::Failed(error.to_string()))?;
    fits(&result, limits)?;
    Ok(StoredRun {
        portfolio_id: request.portfolio_id.clone().unwrap_or_else(|| id.to_string()),
        id,
        kind: RunKind::Backtest,
        correlation_id: correlation_id.to_owned(),
        created_at: inputs::now(),
        symbol: request.symbol.clone(),
        interval: request.interval.map(|interval| interval.to_string()),
        strategy: strategy_name(&request.signals).to_owned(),
        figures,
        request: shown(request),
        result,
    })
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// Refuses what is too large to be kept.
fn fits(result: &Value, limits: &BacktestConfig) -> Result<(), Rejection> {
    let (bytes, most) = (result.to_string().len(), limits.max_result_bytes);
    if bytes <= most {
        return Ok(());
    }
    let said = format!(
        "the result has {bytes} bytes, at most {most} are kept (backtest.max_result_bytes): ask for fewer parts in return"
    );
    Err(Rejection::field(ErrorCode::TooLarge, "return", said))
}

/// The request without the columns it brought.
fn shown(request: &BacktestRequest) -> Value {
    let mut shown = json!(BacktestRequest { prices: None, ..request.clone() });
    if matches!(request.signals, SignalSource::Columns(_) | SignalSource::Orders(_)) {
        shown["signals"] = json!("given");
    }
    shown
}

fn strategy_name(signals: &SignalSource) -> &'static str {
    match signals {
        SignalSource::Sentiment(_) => "sentiment",
        SignalSource::Holding => "holding",
        SignalSource::Columns(_) => "signals",
        SignalSource::Orders(_) => "orders",
        SignalSource::Strategy(strategy) => strategy.name(),
    }
}

/// What a job says of its run: where to find it, and the figures.
fn outcome(run: &StoredRun) -> Value {
    json!({ "backtest_id": run.id, "portfolio_id": run.portfolio_id, "figures": run.figures })
}

/// How a failed run ends its job.
fn job_failure(error: RunError) -> JobFailure {
    match error {
        RunError::Rejected(rejection) => JobFailure::Fatal(match rejection.field {
            Some(field) if !rejection.message.starts_with(&field) => format!("{field}: {}", rejection.message),
            Some(_) | None => rejection.message,
        }),
        RunError::Store(error) => error.into(),
        RunError::Log(error) if !error.is_retriable() => JobFailure::Fatal(error.to_string()),
        RunError::Log(error) => JobFailure::Retry(error.to_string()),
        RunError::Stopped => JobFailure::Stopped,
        RunError::Failed(said) => JobFailure::Retry(said),
    }
}
