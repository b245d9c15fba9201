//! Model calls: CPU-bound work on the blocking pool, few at once, with a deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::app::App;
use super::error::{ApiError, ApiResult};
use crate::messages::code::ErrorCode;

/// Tells the work that nobody waits for it any more.
#[derive(Clone, Default)]
pub(crate) struct Abandoned(Arc<AtomicBool>);

impl Abandoned {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sets the flag when the request goes away or runs out of time.
struct AbandonOnDrop(Abandoned);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` once there is a place; its place stays taken until it has really ended.
pub(crate) async fn run<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&Abandoned) -> ApiResult<T> + Send + 'static,
) -> ApiResult<T> {
    let seconds = app.api.http.compute_timeout_seconds;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let place = Arc::clone(&app.compute).acquire_owned();
    let Ok(Ok(place)) = tokio::time::timeout_at(deadline, place).await else {
        return Err(app.overloaded("the models are busy with other requests"));
    };
    let abandoned = Abandoned::default();
    let _guard = AbandonOnDrop(abandoned.clone());
    let task = tokio::task::spawn_blocking(move || {
        let result = work(&abandoned);
        drop(place);
        result
    });
    match tokio::time::timeout_at(deadline, task).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(ApiError::new(ErrorCode::Internal, "the model call crashed")),
        Err(_) => {
            let message = format!("the model call took over {seconds} s (http.compute_timeout_seconds)");
            Err(ApiError::new(ErrorCode::Timeout, message).with_status(axum::http::StatusCode::GATEWAY_TIMEOUT))
        }
    }
}
