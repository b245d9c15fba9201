//! The job `drill`: pretended work for tests, which takes its time, fails, panics or does not listen. Exists only with
//! `[faults] enabled`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::jobs::{JobContext, JobFailure, Outcome};

/// How often it says how far it is.
const STEP: Duration = Duration::from_millis(50);
/// Longest drill.
const LONGEST: f64 = 3600.0;

/// What it pretends.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drill {
    /// How long it takes, seconds, at most an hour.
    pub seconds: f64,
    /// So many attempts fail before one succeeds.
    pub fail_attempts: u32,
    /// A failing attempt panics instead.
    pub panic: bool,
    /// A failing attempt says that no other will succeed.
    pub fatal: bool,
    /// It does not listen when it is told to end.
    pub stubborn: bool,
}

/// Runs the job.
///
/// # Errors
/// As it was asked to.
///
/// # Panics
/// As it was asked to.
pub async fn run(drill: Drill, ctx: JobContext) -> Outcome {
    let length = Duration::from_secs_f64(drill.seconds.clamp(0.0, LONGEST));
    let started = Instant::now();
    while started.elapsed() < length {
        let share = started.elapsed().as_secs_f64() / length.as_secs_f64();
        ctx.progress(share, format!("{:.0} % pretended", share * 100.0));
        let step = tokio::time::sleep(STEP.min(length.saturating_sub(started.elapsed())));
        if drill.stubborn {
            step.await;
            continue;
        }
        tokio::select! {
            () = step => {}
            () = ctx.stopping() => return Err(JobFailure::Stopped),
        }
    }
    if ctx.attempt() <= drill.fail_attempts {
        let text = format!("attempt {} fails as asked", ctx.attempt());
        assert!(!drill.panic, "{text}");
        return Err(if drill.fatal { JobFailure::Fatal(text) } else { JobFailure::Retry(text) });
    }
    Ok(json!({ "attempt": ctx.attempt() }))
}
