//! CPU-bound work off the reactor threads.

use crate::messages::code::ErrorCode;
use crate::models::ModelError;
use crate::supervisors::Fault;

/// Runs `work` on the blocking pool and waits for it. A panic in it goes on in the caller, so that the supervisor sees
/// which messages were in flight.
///
/// # Errors
/// [`Fault::Broken`] if the runtime is going down.
pub async fn compute<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(Fault::broken(format!("compute pool is closed: {error}"))),
    }
}

/// A model that can't answer for a text rejects that text.
#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
pub fn model_fault(error: ModelError) -> Fault {
    match error {
        ModelError::Encoding(_) => Fault::reject(ErrorCode::EncodingFailed, error.to_string()),
        ModelError::Missing { .. }
        | ModelError::Damaged { .. }
        | ModelError::Weights { .. }
        | ModelError::Elsewhere
        | ModelError::NoEncoder => Fault::broken(error.to_string()),
    }
}
