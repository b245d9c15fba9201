//! Every metric, declared once: name, kind, unit, labels, help.

use std::fmt::Write as _;

use metrics::Unit;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets, with sum and count.
    Histogram,
}

/// Who keeps a metric's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeper {
    /// The Prometheus recorder, written by `telemetry::metrics`.
    Recorder,
    /// `supervisors::metrics`, in plain atomics for speed; rendered beside the recorder's.
    Supervisors,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Full name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Unit of its values.
    pub unit: Unit,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
    /// Who keeps it.
    pub keeper: Keeper,
}

/// Declares metrics as rows of a table.
macro_rules! catalogue {
    ($($keeper:ident: $kind:ident $name:literal $unit:ident [$($label:literal),*] $help:literal;)*) => {
        /// Every metric, in the order of the manual.
        pub const CATALOGUE: &[Metric] = &[$(Metric {
            name: $name, kind: Kind::$kind, unit: Unit::$unit, labels: &[$($label),*], help: $help, keeper: Keeper::$keeper,
        }),*];
    };
}

catalogue! {
    Recorder: Counter "tidemill_documents_total" Count ["source", "verdict"] "Documents by source and verdict";
    Recorder: Histogram "tidemill_document_seconds" Seconds ["source"] "Time from acceptance to verdict";
    Recorder: Counter "tidemill_dead_letters_total" Count ["stage", "code"] "Dead letters by stage and code";
    Recorder: Counter "tidemill_intake_refused_total" Count ["intake", "code"] "Records refused because the pipeline is full";
    Supervisors: Counter "tidemill_actor_messages_received_total" Count ["actor"] "Messages that entered the mailbox";
    Supervisors: Counter "tidemill_actor_messages_processed_total" Count ["actor", "outcome"] "Messages whose work ended, by outcome";
    Supervisors: Gauge "tidemill_actor_mailbox_depth" Count ["actor"] "Messages waiting or in work";
    Supervisors: Gauge "tidemill_actor_mailbox_capacity" Count ["actor"] "Most messages the mailbox holds";
    Supervisors: Histogram "tidemill_actor_wait_seconds" Seconds ["actor"] "Time a message waited in the mailbox";
    Supervisors: Histogram "tidemill_actor_processing_seconds" Seconds ["actor"] "Time a message was in work";
    Supervisors: Counter "tidemill_actor_busy_seconds_total" Seconds ["actor"] "Time at work";
    Supervisors: Counter "tidemill_actor_idle_seconds_total" Seconds ["actor"] "Time without work";
    Supervisors: Counter "tidemill_actor_backpressure_seconds_total" Seconds ["actor"] "Time spent waiting for a full mailbox downstream";
    Supervisors: Counter "tidemill_actor_restarts_total" Count ["actor", "reason"] "Restarts by reason";
    Supervisors: Gauge "tidemill_actor_in_flight_age_seconds" Seconds ["actor"] "Age of the oldest message in work";
    Supervisors: Gauge "tidemill_actor_hung_threads" Count [] "Threads that hang and were replaced";
    Supervisors: Counter "tidemill_supervisor_escalations_total" Count ["supervisor"] "Times a supervisor gave up and escalated";
    Recorder: Gauge "tidemill_kafka_consumer_lag" Count ["topic", "partition"] "Records between committed offset and end";
    Recorder: Counter "tidemill_kafka_commits_total" Count ["outcome"] "Offset commits by outcome";
    Recorder: Gauge "tidemill_kafka_paused_partitions" Count [] "Partitions paused by back-pressure";
    Recorder: Counter "tidemill_log_appended_records_total" Count ["topic"] "Records appended to the log by topic";
    Recorder: Counter "tidemill_listener_requests_total" Count ["api", "outcome"] "Kafka listener requests by API and outcome";
    Recorder: Histogram "tidemill_embedding_batch_size" Count [] "Texts per encoder call";
    Recorder: Counter "tidemill_embedding_tokens_total" Count [] "Tokens encoded";
    Recorder: Histogram "tidemill_dedup_lookup_seconds" Seconds [] "Time of a batch's near-duplicate lookup in the vector index";
    Recorder: Histogram "tidemill_store_operations_seconds" Seconds ["store", "operation", "outcome"] "Time of store operations by store, operation and outcome";
    Recorder: Gauge "tidemill_store_pool_connections" Count ["store", "state"] "Connections of a store's pool by state: used, idle, or calls waiting for one";
    Recorder: Counter "tidemill_logbook_dropped_total" Count ["kind"] "Log lines and events that were not kept in the store because its queue was full or it was away";
    Recorder: Counter "tidemill_cache_requests_total" Count ["cache", "outcome"] "Cache requests by cache and outcome";
    Recorder: Counter "tidemill_jobs_total" Count ["kind", "state"] "Jobs that came into a state, by kind and state";
    Recorder: Gauge "tidemill_job_queue_depth" Count ["queue"] "Jobs that wait, by kind";
    Recorder: Histogram "tidemill_job_wait_seconds" Seconds ["kind"] "Time from when a job might start to its start";
    Recorder: Histogram "tidemill_job_run_seconds" Seconds ["kind"] "Time of one attempt of a job";
    Recorder: Counter "tidemill_bars_stored_total" Count [] "Bars written to the store";
    Recorder: Counter "tidemill_backtest_bars_total" Count ["device"] "Bars that backtests and sweeps went over, by device; each set of parameters counts";
    Recorder: Counter "tidemill_http_requests_total" Count ["route", "method", "status"] "HTTP requests by route, method and status";
    Recorder: Histogram "tidemill_http_request_seconds" Seconds ["route"] "Time of HTTP requests by route";
    Recorder: Counter "tidemill_worker_requests_total" Count ["worker", "outcome"] "Requests an API node passed on, by worker and outcome";
    Recorder: Counter "tidemill_config_reloads_total" Count ["outcome"] "Configuration reloads by outcome";
    Recorder: Gauge "tidemill_graph_training_loss" Count [] "Loss of the newest epoch of graph training that was measured";
    Recorder: Gauge "tidemill_build_info" Count ["version"] "Always 1; the version is a label";
}

/// The catalogue as rows of a Markdown table, for docs/operations.md.
#[must_use]
pub fn table() -> String {
    let mut out = String::new();
    for Metric { name, kind, labels, help, .. } in CATALOGUE {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a String can't fail.
        let _ = writeln!(out, "| `{name}` | {kind} | {} | {help} |", labels.join(", "));
    }
    out
}

/// The metric that a series belongs to: histograms have series with `_bucket`, `_sum` and `_count` behind their name.
#[must_use]
pub fn of_series(series: &str) -> Option<&'static Metric> {
    let named = |name: &str| CATALOGUE.iter().find(|metric| metric.name == name);
    let histogram = || {
        let name = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| series.strip_suffix(suffix))?;
        named(name).filter(|metric| metric.kind == Kind::Histogram)
    };
    named(series).filter(|metric| metric.kind != Kind::Histogram).or_else(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for metric in CATALOGUE {
            let (name, kind) = (metric.name, metric.kind);
            assert!(name.starts_with("tidemill_"), "{name}");
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            let timed = name.trim_end_matches("_total").ends_with("_seconds");
            assert_eq!(timed, metric.unit == Unit::Seconds, "{name}");
            assert_eq!(CATALOGUE.iter().filter(|other| other.name == name).count(), 1, "{name} is declared once");
        }
    }

    #[test]
    fn series_leads_to_its_metric() {
        let name = |series| of_series(series).map(|metric| metric.name);
        assert_eq!(name("tidemill_document_seconds_bucket"), Some("tidemill_document_seconds"));
        assert_eq!(name("tidemill_documents_total"), Some("tidemill_documents_total"));
        assert_eq!(name("tidemill_document_seconds"), None, "a histogram has no series of its bare name");
        assert_eq!(name("tidemill_documents_total_bucket"), None);
    }
}
