//! The job `graph`: reads a repository, learns where its files sit among each other, stores that.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rayon::ThreadPool;
use serde::Deserialize;
use serde_json::{Value, json};

use super::compute::compute;
use super::memory;
use crate::config::graph::GraphConfig;
use crate::graph::learning::{LearnError, Learned, Plan, Progress, learn};
use crate::graph::node2vec::Node2VecConfig;
use crate::graph::repository::{Source, SourceError};
use crate::jobs::{JobContext, JobFailure, Outcome};
use crate::stores::documents::StoreError;
use crate::stores::graphs::{BATCH_FILES, FileVector, Graph, GraphStore};
use crate::supervisors::Backoff;
use crate::telemetry::metrics;

/// Attempts of one call to the store: a training took long, a short outage must not cost it.
const ATTEMPTS: u32 = 8;
/// Waits between them.
const WAIT: Backoff =
    Backoff { min: Duration::from_millis(100), max: Duration::from_secs(5), healthy_after: Duration::from_secs(30) };
/// Share of the job that learning is; the rest is storing.
const LEARNING: f64 = 0.95;

/// What of a graph's metrics says how it was learned.
const SETTINGS: &str = "settings";

/// What is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphRequest {
    /// Where the repository is.
    pub repo_url: String,
    /// Branch to read instead of the repository's own choice.
    #[serde(default)]
    pub branch: Option<String>,
    /// Start of the random numbers instead of the configured one.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Learns it anew although neither its commit nor the settings have changed since it was learned.
    #[serde(default)]
    pub force: bool,
}

/// Learns repositories.
pub struct GraphTrainer {
    store: Arc<dyn GraphStore>,
    /// Its directories are absolute.
    config: GraphConfig,
    /// The threads that read; the training has its own.
    pool: ThreadPool,
}

impl GraphTrainer {
    /// With threads of its own.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn new(store: Arc<dyn GraphStore>, config: GraphConfig) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(config.training.threads)
            .thread_name(|index| format!("graph-{index}"))
            .build()?;
        Ok(Self { store, config, pool })
    }

    /// Runs the job.
    ///
    /// # Errors
    /// If the repository can't be read, its graph can't be learned, or the store does not take it.
    pub async fn run(self: Arc<Self>, request: GraphRequest, ctx: JobContext) -> Outcome {
        let outcome = self.learn_and_store(&request, ctx).await;
        // what can't be given back is no reason to fail
        drop(compute(memory::give_back).await);
        outcome
    }

    async fn learn_and_store(self: Arc<Self>, request: &GraphRequest, ctx: JobContext) -> Outcome {
        let mut plan = self.plan(request).map_err(|error| JobFailure::Fatal(error.to_string()))?;
        let settings = settings(&plan);
        let known =
            if request.force { None } else { patiently(&ctx, || self.store.published(plan.source.url())).await? };
        let known = known.filter(|graph| graph.metrics[SETTINGS] == *settings);
        plan.known_commit = known.as_ref().map(|graph| graph.commit.clone());
        let (trainer, seen) = (Arc::clone(&self), ctx.clone());
        let learned = compute(move || learn(&plan, &trainer.pool, &|progress| observe(progress, &seen))).await?;
        let learned = match (learned, known) {
            (Err(LearnError::Unchanged { .. }), Some(graph)) => return Ok(unchanged(&graph, &ctx)),
            (learned, _) => learned.map_err(failure)?,
        };
        if let Some(loss) = learned.loss() {
            metrics::graph_training_loss(loss);
        }
        let started = Instant::now();
        let mut figures = learned.figures();
        let stored = self.store_all(graph_of(&learned, &settings, &ctx), &learned, &ctx).await?;
        figures["seconds"]["store"] = json!(started.elapsed().as_secs_f64());
        figures["graph_id"] = json!(stored);
        ctx.progress(1.0, format!("{} files, {} imports", learned.graph.files.len(), learned.file_edges()));
        Ok(figures)
    }

    fn plan(&self, request: &GraphRequest) -> Result<Plan, SourceError> {
        let mut source = Source::parse(&request.repo_url, self.config.repository.access())?;
        if let Some(branch) = &request.branch {
            source = source.with_branch(branch)?;
        }
        let mut training = self.config.training.clone();
        training.seed = request.seed.unwrap_or(training.seed);
        Ok(Plan {
            source,
            limits: self.config.repository.limits(),
            places: self.config.places(),
            options: self.config.options(),
            directed: self.config.directed,
            training,
            known_commit: None,
        })
    }

    /// Stores a training in batches and puts it in the place of the one before; its id.
    async fn store_all(&self, graph: Graph, learned: &Learned, ctx: &JobContext) -> Result<Arc<str>, JobFailure> {
        let id = Arc::clone(&graph.id);
        // a store that refuses has seen another training of the repository meanwhile: it is worth another attempt
        let done = self.store_files(graph, learned, ctx).await.map_err(|failure| match failure {
            JobFailure::Fatal(said) => JobFailure::Retry(said),
            other => other,
        });
        if done.is_err()
            && let Err(error) = self.store.abandon(&id).await
        {
            tracing::warn!(graph = %id, %error, "unfinished training is left for the next one to drop");
        }
        done.map(|()| id)
    }

    async fn store_files(&self, graph: Graph, learned: &Learned, ctx: &JobContext) -> Result<(), JobFailure> {
        let id = Arc::clone(&graph.id);
        patiently(ctx, || self.store.begin(graph.clone())).await?;
        let files = learned.graph.files.len();
        for first in (0..files).step_by(BATCH_FILES) {
            ctx.check()?;
            let batch: Vec<FileVector> =
                (first..files.min(first + BATCH_FILES)).filter_map(|index| file_of(learned, index)).collect();
            patiently(ctx, || self.store.add(&id, batch.clone())).await?;
            #[expect(clippy::cast_precision_loss, reason = "a share")]
            let share = first as f64 / files.max(1) as f64;
            ctx.progress(LEARNING + (1.0 - LEARNING) * share, format!("storing, {first} of {files} files"));
        }
        patiently(ctx, || self.store.publish(&id)).await
    }
}

/// Passes progress on, and word to stop back.
fn observe(progress: Progress, ctx: &JobContext) -> ControlFlow<()> {
    if ctx.is_stopping() {
        return ControlFlow::Break(());
    }
    ctx.progress(progress.fraction() * LEARNING, progress.words());
    if let Progress::Learning(step) = progress
        && let Some(loss) = step.loss
    {
        metrics::graph_training_loss(loss);
        tracing::info!(job = %ctx.id(), epoch = step.epoch, loss, "graph training");
    }
    ControlFlow::Continue(())
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn failure(error: LearnError) -> JobFailure {
    if error.is_cancelled() {
        JobFailure::Stopped
    } else if error.is_retriable() {
        JobFailure::Retry(error.to_string())
    } else {
        JobFailure::Fatal(error.to_string())
    }
}

/// What decides what is learned from a commit, in one line; threads decide how fast.
fn settings(plan: &Plan) -> String {
    let Plan { limits, options, directed, training, .. } = plan;
    let training = Node2VecConfig { threads: 0, ..training.clone() };
    let program = env!("CARGO_PKG_VERSION");
    format!("{program} {limits:?} {options:?} directed: {directed} {training:?}")
}

/// What the job says where there was nothing to learn.
fn unchanged(graph: &Graph, ctx: &JobContext) -> Value {
    let reason = format!("commit {} was learned at {} with the same settings", graph.commit, graph.trained_at);
    ctx.progress(1.0, format!("unchanged: {reason}"));
    json!({
        "unchanged": true,
        "reason": reason,
        "repo_url": graph.repo_url,
        "commit": graph.commit,
        "graph_id": graph.id,
        "files": graph.files,
        "edges": graph.edges,
    })
}

fn graph_of(learned: &Learned, settings: &str, ctx: &JobContext) -> Graph {
    let now = Utc::now();
    let mut metrics = learned.figures();
    metrics[SETTINGS] = json!(settings);
    Graph {
        id: uuid::Uuid::now_v7().to_string().into(),
        repo_url: learned.url.as_str().into(),
        commit: learned.commit.clone(),
        job_id: ctx.id().to_string(),
        correlation_id: ctx.correlation_id().to_owned(),
        trained_at: DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now),
        dimension: u32::try_from(learned.embeddings.dimension).unwrap_or(u32::MAX),
        files: learned.graph.files.len() as u64,
        connected_files: learned.connected_files(),
        edges: learned.file_edges(),
        metrics,
    }
}

fn file_of(learned: &Learned, index: usize) -> Option<FileVector> {
    let node = u32::try_from(index).ok()?;
    let file = learned.graph.files.get(index)?;
    Some(FileVector {
        path: file.path.as_str().into(),
        language: file.language.name().into(),
        imports: learned.imports[index],
        imported_by: learned.imported_by[index],
        vector: learned.embeddings.row(node)?.into(),
    })
}

/// Calls the store, again and again while it is away.
async fn patiently<T, F>(ctx: &JobContext, mut call: impl FnMut() -> F) -> Result<T, JobFailure>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut failures = 0;
    loop {
        match call().await {
            Ok(done) => return Ok(done),
            Err(error) if error.is_retriable() && failures + 1 < ATTEMPTS => {
                tracing::warn!(job = %ctx.id(), %error, "store of graphs is away, waiting");
                tokio::select! {
                    () = ctx.stopping() => return Err(JobFailure::Stopped),
                    () = tokio::time::sleep(WAIT.delay(failures)) => failures += 1,
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}
