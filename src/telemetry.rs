//! Telemetry: the metric catalogue, events that are log line and counter at once, log format.

pub mod catalogue;
pub mod events;
pub mod format;
pub mod logs;
pub mod metrics;
pub mod prometheus;
pub mod tap;
