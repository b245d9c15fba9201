//! The Prometheus recorder: installed once per process, histograms with buckets.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use super::metrics::{self, BATCH_BUCKETS, SECONDS_BUCKETS};

/// Why metrics can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The buckets are refused.
    #[error("metric buckets are invalid: {0}")]
    Buckets(#[from] BuildError),
    /// Another recorder is there already.
    #[error("another metrics recorder is installed already")]
    Taken,
}

/// Time between two rounds of upkeep: histogram samples are held in memory until then.
const UPKEEP: Duration = Duration::from_secs(5);

static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();

/// Installs the recorder, or gives the one installed before. `handle.render()` is the text for `/metrics`.
///
/// # Errors
/// [`InstallError::Taken`] if something else installed a recorder of its own.
pub fn install() -> Result<PrometheusHandle, InstallError> {
    static TURN: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
    let _turn = TURN.lock();
    if let Some(handle) = INSTALLED.get() {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets(SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full("tidemill_embedding_batch_size".to_owned()), BATCH_BUCKETS)?
        .build_recorder();
    let handle = recorder.handle();
    ::metrics::set_global_recorder(recorder).map_err(|_| InstallError::Taken)?;
    metrics::describe();
    metrics::build_info();
    Ok(INSTALLED.get_or_init(|| handle).clone())
}

/// Folds histogram samples into their buckets now and then, until stopped, so that they do not pile up when nobody
/// scrapes.
pub async fn upkeep(handle: PrometheusHandle, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => handle.run_upkeep(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn histograms_are_exported_with_buckets() {
        let handle = install().unwrap();
        metrics::documents_judged("buckets-test", "stored", &[Duration::from_millis(3)]);
        metrics::batch_embedded(32, 900);
        let text = handle.render();
        for expected in [
            "tidemill_document_seconds_bucket{source=\"buckets-test\",le=\"0.005\"} 1",
            "tidemill_document_seconds_bucket{source=\"buckets-test\",le=\"+Inf\"} 1",
            "tidemill_embedding_batch_size_bucket{le=\"32\"}",
            "# TYPE tidemill_embedding_batch_size histogram",
            "tidemill_build_info{version=",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }

    #[test]
    fn installing_twice_gives_the_same_recorder() {
        let (first, second) = (install().unwrap(), install().unwrap());
        metrics::offsets_committed("install-test");
        let line = "tidemill_kafka_commits_total{outcome=\"install-test\"} 1";
        assert!(first.render().contains(line) && second.render().contains(line));
    }
}
