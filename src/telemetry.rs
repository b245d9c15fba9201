//! Telemetry: the metric catalogue, events that are log line and counter at once, log format.

pub mod metrics;
