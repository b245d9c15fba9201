//! One typed function for every metric of the [`super::catalogue`]: the only places that write them.
//!
//! Label values are bounded: sources over a fixed number are counted as `other`. Per-actor metrics (`tidemill_actor_*`,
//! `tidemill_supervisor_*`) are kept by `supervisors::metrics` in plain atomics for speed and rendered beside these.

use std::collections::BTreeSet;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use parking_lot::Mutex;

use super::catalogue::{CATALOGUE, Keeper, Kind, Metric};

/// Bounds of every duration histogram, seconds.
pub const SECONDS_BUCKETS: &[f64] =
    &[0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Bounds of the batch-size histogram.
pub const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Most distinct values of the `source` label.
const MAX_SOURCES: usize = 64;

/// Registers names, units and help texts with the installed recorder.
pub fn describe() {
    for metric in CATALOGUE.iter().filter(|metric| metric.keeper == Keeper::Recorder) {
        let Metric { name, unit, help, .. } = *metric;
        match metric.kind {
            Kind::Counter => describe_counter!(name, unit, help),
            Kind::Gauge => describe_gauge!(name, unit, help),
            Kind::Histogram => describe_histogram!(name, unit, help),
        }
    }
}

/// Keeps the `source` label bounded: the first sources seen keep their name, later ones are `other`.
fn source_label(source: &str) -> String {
    static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut seen = SEEN.lock();
    if seen.contains(source) {
        return source.to_owned();
    }
    if seen.len() < MAX_SOURCES {
        seen.insert(source.to_owned());
        return source.to_owned();
    }
    "other".to_owned()
}

/// Verdicts of one kind were made durable; each `since_accepted` runs from the record's own time.
pub fn documents_judged(source: &str, verdict: &'static str, since_accepted: &[Duration]) {
    let source = source_label(source);
    let count = since_accepted.len() as u64;
    counter!("tidemill_documents_total", "source" => source.clone(), "verdict" => verdict).increment(count);
    let seconds = histogram!("tidemill_document_seconds", "source" => source);
    since_accepted.iter().for_each(|since| seconds.record(since.as_secs_f64()));
}

/// The group's lag in one partition.
pub fn consumer_lag(topic: &str, partition: i32, records: i64) {
    let labels = [("topic", topic.to_owned()), ("partition", partition.to_string())];
    #[expect(clippy::cast_precision_loss, reason = "a lag over 2^52 records is not exact, and does not matter")]
    gauge!("tidemill_kafka_consumer_lag", &labels).set(records as f64);
}

/// Offsets were committed, or failed to be.
pub fn offsets_committed(outcome: &'static str) {
    counter!("tidemill_kafka_commits_total", "outcome" => outcome).increment(1);
}

/// So many more partitions are paused now.
pub fn paused_partitions(change: f64) {
    gauge!("tidemill_kafka_paused_partitions").increment(change);
}

/// Bars were made durable.
pub fn bars_stored(count: u64) {
    counter!("tidemill_bars_stored_total").increment(count);
}

/// A backtest or sweep went over so many bars, sets of parameters times bars each.
pub fn backtest_bars(device: &str, bars: u64) {
    counter!("tidemill_backtest_bars_total", "device" => device.to_owned()).increment(bars);
}

/// A dead letter was made durable.
pub fn dead_letter(stage: &str, code: &'static str) {
    counter!("tidemill_dead_letters_total", "stage" => stage.to_owned(), "code" => code).increment(1);
}

/// The encoder took a batch.
pub fn batch_embedded(texts: usize, tokens: u64) {
    #[expect(clippy::cast_precision_loss, reason = "batches are small")]
    histogram!("tidemill_embedding_batch_size").record(texts as f64);
    counter!("tidemill_embedding_tokens_total").increment(tokens);
}

/// One near-duplicate lookup.
pub fn dedup_lookup(elapsed: Duration) {
    histogram!("tidemill_dedup_lookup_seconds").record(elapsed.as_secs_f64());
}

/// One store operation.
pub fn store_operation(store: &'static str, operation: &'static str, outcome: &'static str, elapsed: Duration) {
    histogram!("tidemill_store_operations_seconds", "store" => store, "operation" => operation, "outcome" => outcome)
        .record(elapsed.as_secs_f64());
}

/// How busy a store's pool is.
pub fn store_pool(store: &'static str, used: usize, idle: usize, waiting: usize) {
    for (state, count) in [("used", used), ("idle", idle), ("waiting", waiting)] {
        #[expect(clippy::cast_precision_loss, reason = "pools are small")]
        gauge!("tidemill_store_pool_connections", "store" => store, "state" => state).set(count as f64);
    }
}

/// Log lines (`line`) or events (`event`) were not kept.
pub fn logbook_dropped(kind: &'static str, count: u64) {
    counter!("tidemill_logbook_dropped_total", "kind" => kind).increment(count);
}

/// Entries asked of a cache, or taken out of it: `hit`, `miss`, `error` or `invalidated`.
pub fn cache_requests(cache: &'static str, outcome: &'static str, count: u64) {
    counter!("tidemill_cache_requests_total", "cache" => cache, "outcome" => outcome).increment(count);
}

/// A job came into a state. Kinds are those of the program, so the label is bounded.
pub fn job_state(kind: &str, state: &'static str) {
    counter!("tidemill_jobs_total", "kind" => kind.to_owned(), "state" => state).increment(1);
}

/// How many jobs of a kind wait.
pub fn job_queue_depth(kind: &str, jobs: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a queue over 2^52 jobs is not exact, and does not matter")]
    gauge!("tidemill_job_queue_depth", "queue" => kind.to_owned()).set(jobs as f64);
}

/// A job started this long after it might.
pub fn job_started(kind: &str, waited: Duration) {
    histogram!("tidemill_job_wait_seconds", "kind" => kind.to_owned()).record(waited.as_secs_f64());
}

/// An attempt of a job ended.
pub fn job_ran(kind: &str, took: Duration) {
    histogram!("tidemill_job_run_seconds", "kind" => kind.to_owned()).record(took.as_secs_f64());
}

/// One HTTP request; `route` is the route's pattern, never the path.
pub fn http_request(route: &str, method: &str, status: u16, elapsed: Duration) {
    let labels = [("route", route.to_owned()), ("method", method.to_owned()), ("status", status.to_string())];
    counter!("tidemill_http_requests_total", &labels).increment(1);
    histogram!("tidemill_http_request_seconds", "route" => route.to_owned()).record(elapsed.as_secs_f64());
}

/// A worker was asked in a client's place; `worker` is one of the configuration.
pub fn worker_request(worker: &str, outcome: &'static str) {
    counter!("tidemill_worker_requests_total", "worker" => worker.to_owned(), "outcome" => outcome).increment(1);
}

/// Records were appended to one of our topics.
pub fn records_appended(topic: &str, count: u64) {
    counter!("tidemill_log_appended_records_total", "topic" => topic.to_owned()).increment(count);
}

/// The Kafka listener answered a request.
pub fn listener_request(api: &'static str, outcome: &'static str) {
    counter!("tidemill_listener_requests_total", "api" => api, "outcome" => outcome).increment(1);
}

/// A way in refused records for want of room.
pub fn intake_refused(intake: &'static str, code: &'static str) {
    counter!("tidemill_intake_refused_total", "intake" => intake, "code" => code).increment(1);
}

/// The configuration was reloaded, or the new one refused.
pub fn config_reloaded(outcome: &'static str) {
    counter!("tidemill_config_reloads_total", "outcome" => outcome).increment(1);
}

/// The loss of an epoch of graph training.
pub fn graph_training_loss(loss: f64) {
    gauge!("tidemill_graph_training_loss").set(loss);
}

/// Which build this is.
pub fn build_info() {
    gauge!("tidemill_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}
