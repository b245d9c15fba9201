//! The job `backup`: copies the stores to the target of the configuration, and deletes what is not kept any more.

use std::sync::Arc;

use chrono::Utc;
use serde::Deserialize;
use serde_json::json;

use crate::backup::retention::expired;
use crate::backup::target::{Access, Target};
use crate::backup::{BackupError, create};
use crate::config::Config;
use crate::jobs::{JobContext, JobFailure, Outcome};

/// What is asked for: nothing can be. A job that named its target would write wherever who submits it likes.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackupRequest {}

impl From<BackupError> for JobFailure {
    fn from(error: BackupError) -> Self {
        if error.may_pass() { Self::Retry(error.to_string()) } else { Self::Fatal(error.to_string()) }
    }
}

/// Runs the job.
///
/// # Errors
/// If a store can't be read or the target not be written.
pub async fn run(config: Arc<Config>, _: BackupRequest, ctx: JobContext) -> Outcome {
    tokio::select! {
        biased;
        () = ctx.stopping() => Err(JobFailure::Stopped),
        done = back_up(&config, &ctx) => done,
    }
}

async fn back_up(config: &Config, ctx: &JobContext) -> Outcome {
    let target = Target::open(&config.backup.target, &config.backup, Access::Write)?;
    let progress = |fraction: f64, message: String| ctx.progress(fraction * 0.95, message);
    let manifest = create::create(config, &target, &progress).await?;
    let drift = manifest.figures.drift();
    for difference in &drift {
        tracing::warn!(backup = %manifest.id, difference, "the stores of a backup do not fit each other");
    }
    let gone = expired(&target.list().await?, config.backup.keep(), Utc::now());
    for id in &gone {
        ctx.progress(0.97, format!("deleting backup {id}"));
        target.delete(id).await?;
    }
    tracing::info!(backup = %manifest.id, target = target.shown(), bytes = manifest.bytes(), deleted = gone.len(), "backup made");
    Ok(json!({
        "id": manifest.id,
        "target": target.shown(),
        "bytes": manifest.bytes(),
        "documents": manifest.figures.store.documents,
        "to_replay": manifest.figures.to_replay(),
        "drift": drift,
        "deleted": gone,
    }))
}
