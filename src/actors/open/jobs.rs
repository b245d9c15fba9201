//! The job queue and every kind of job.

use std::sync::Arc;

use super::OpenError;
use super::data_dir::lock_data_dir;
use super::redis::open_redis;
use crate::actors::backtester::Backtester;
use crate::actors::graph_trainer::GraphTrainer;
use crate::actors::{backup, drill, reindex};
use crate::config::Config;
use crate::config::jobs::{JobsBackend, JobsConfig};
use crate::jobs::Registry;
use crate::stores::documents::DocumentStore;
use crate::stores::graphs::GraphStore;
use crate::stores::jobs::{Clock, JobQueue};
use crate::stores::redis::Redis;
use crate::stores::redis::jobs::RedisJobs;
use crate::stores::sqlite::jobs::SqliteJobs;
use crate::stores::vectors::VectorIndex;

/// Opens the job queue. What ran in an embedded queue when the process before ended goes back at once: nobody else has it.
pub(super) async fn open_jobs(config: &Config, redis: Option<&Redis>) -> Result<Arc<dyn JobQueue>, OpenError> {
    let rules = config.jobs.rules();
    match config.jobs.backend {
        JobsBackend::Sqlite => {
            let path = config.daemon.data_dir.join(&config.jobs.sqlite_path);
            let queue = SqliteJobs::open(&path, &config.store, rules, Clock::System)?;
            let given_back = queue.recover().await?;
            if given_back > 0 {
                tracing::info!(jobs = given_back, "jobs of the process before wait again");
            }
            Ok(Arc::new(queue))
        }
        JobsBackend::Redis => {
            let redis = redis.ok_or(OpenError::WithoutRedis("jobs.backend: redis"))?;
            Ok(Arc::new(RedisJobs::new(redis.clone(), rules, Clock::System)))
        }
    }
}

/// The settings of jobs, with those that other sections say.
pub(super) fn jobs_config(config: &Config) -> JobsConfig {
    let mut jobs = config.jobs.clone();
    jobs.kinds.graph.capacity.get_or_insert(config.graph.pending);
    jobs
}

/// Every kind of job this daemon knows.
pub(super) fn kinds(
    config: &Config,
    documents: &Arc<dyn DocumentStore>,
    vectors: &Arc<dyn VectorIndex>,
    graphs: (&Arc<dyn GraphStore>, Arc<GraphTrainer>),
    backtester: &Backtester,
) -> Registry {
    let (documents, vectors) = (Arc::clone(documents), Arc::clone(vectors));
    let (graphs, trainer) = (Arc::clone(graphs.0), graphs.1);
    let summary = "compares the vector index with the store of documents and repairs it";
    let registry = Registry::default().register("reindex", summary, move |request, ctx| {
        reindex::run(Arc::clone(&documents), Arc::clone(&vectors), Arc::clone(&graphs), request, ctx)
    });
    let (one, many) = (backtester.clone(), backtester.clone());
    let registry = registry
        .register("backtest", "simulates a strategy on bars", move |request, ctx| {
            one.clone().backtest_job(request, ctx)
        })
        .register("sweep", "simulates many sets of a strategy's parameters", move |request, ctx| {
            many.clone().sweep_job(request, ctx)
        });
    let summary = "reads a repository and learns where its files sit among each other";
    let registry = registry.register("graph", summary, move |request, ctx| Arc::clone(&trainer).run(request, ctx));
    let registry = if config.backup.target.is_empty() {
        registry
    } else {
        let config = Arc::new(config.clone());
        let summary = "copies the stores to backup.target and deletes backups that are not kept any more";
        registry.register("backup", summary, move |request, ctx| backup::run(Arc::clone(&config), request, ctx))
    };
    if config.faults.enabled {
        return registry.register("drill", "pretends to work, for tests", drill::run);
    }
    registry
}

/// Opens the job queue and asks it, for checks.
///
/// # Errors
/// Why it does not answer.
pub async fn try_jobs(config: &Config) -> Result<(), OpenError> {
    let _lock = lock_data_dir(&config.daemon.data_dir)?;
    let redis = open_redis(config)?;
    Ok(open_jobs(config, redis.as_ref()).await?.check().await?)
}
