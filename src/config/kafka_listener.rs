//! `[kafka_listener]`: the port at which any Kafka client can hand records to the embedded log.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problems;

/// The produce-only Kafka listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaListenerConfig {
    /// Whether it listens. Default true; only used with the embedded log.
    pub enabled: bool,
    /// Address and port. Default `127.0.0.1:9092`, Kafka's usual port. Beyond loopback only with `allow_remote`.
    pub listen: String,
    /// Whether it may listen beyond loopback, although it asks nobody for a password. Default false.
    pub allow_remote: bool,
    /// `host:port` that clients are told to connect to. Empty (default): the address they connected to.
    pub advertised: String,
    /// Whether a client that asks for an unknown topic gets it. Default false: a typing error would lose records
    /// to a topic nobody reads.
    pub auto_create_topics: bool,
    /// Partitions of such topics, 1 to 64. Default 1.
    pub auto_create_partitions: i32,
    /// Largest request, 64 KiB to 256 MiB. Default 16 MiB; a larger one closes the connection.
    pub max_request_bytes: usize,
    /// Largest record (key, value and headers), 1 KiB to 256 MiB. Default 12 MiB: less than the log's limit, so
    /// that every record accepted fits into the dead letters too.
    pub max_record_bytes: usize,
    /// Largest batch once decompressed, 64 KiB to 256 MiB. Default 32 MiB.
    pub max_batch_bytes: usize,
    /// Most connections, 1 to 100,000; further ones are closed at once. Default 256.
    pub max_connections: usize,
    /// Requests of one connection that are read ahead while one is handled, 1 to 100. Default 5, as many as
    /// idempotent producers send.
    pub max_in_flight_requests: usize,
    /// Bytes of requests held at once over all connections, 1 MiB to 16 GiB; reading waits beyond. Default 128 MiB.
    pub max_buffered_bytes: usize,
    /// Batches decompressed and held at once over all connections, 1 to 1,000. Default 16.
    pub max_concurrent_batches: usize,
    /// A connection silent for this long is closed, 1 to 86,400 seconds. Default 600, as Kafka's.
    pub idle_timeout_seconds: u64,
    /// A request begun must arrive whole, and an answer be taken, within this time, 100 to 600,000 milliseconds.
    /// Default 30,000.
    pub io_timeout_ms: u64,
    /// Longest time a request is held while the log is full; shorter if the producer's own timeout is. 0 to 600,000
    /// milliseconds. Default 20,000.
    pub max_hold_ms: u64,
}

impl Default for KafkaListenerConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: "127.0.0.1:9092".to_owned(),
            allow_remote: false,
            advertised: String::new(),
            auto_create_topics: false,
            auto_create_partitions: 1,
            max_request_bytes: 16 << 20,
            max_record_bytes: 12 << 20,
            max_batch_bytes: 32 << 20,
            max_connections: 256,
            max_in_flight_requests: 5,
            max_buffered_bytes: 128 << 20,
            max_concurrent_batches: 16,
            idle_timeout_seconds: 600,
            io_timeout_ms: 30_000,
            max_hold_ms: 20_000,
        }
    }
}

impl KafkaListenerConfig {
    /// Notes what is out of range.
    pub fn validate(&self, problems: &mut Problems) {
        let address = self.listen.parse::<SocketAddr>();
        problems.require(address.is_ok(), "listen", &self.listen, "an IP address and port, such as 127.0.0.1:9092");
        let open = address.is_ok_and(|address| !address.ip().is_loopback());
        problems.require(
            !open || self.allow_remote,
            "listen",
            &self.listen,
            "a loopback address, or allow_remote = true: anyone who reaches this port can write",
        );
        let advertised = self.advertised.is_empty() || self.advertised_address().is_some();
        problems.require(advertised, "advertised", &self.advertised, "host:port, or empty");
        problems.range("auto_create_partitions", self.auto_create_partitions, 1, 64);
        problems.range("max_request_bytes", self.max_request_bytes, 64 << 10, 256 << 20);
        problems.range("max_record_bytes", self.max_record_bytes, 1 << 10, 256 << 20);
        problems.range("max_batch_bytes", self.max_batch_bytes, 64 << 10, 256 << 20);
        problems.range("max_connections", self.max_connections, 1, 100_000);
        problems.range("max_in_flight_requests", self.max_in_flight_requests, 1, 100);
        problems.range("max_buffered_bytes", self.max_buffered_bytes, 1 << 20, 16 << 30);
        problems.require(
            self.max_buffered_bytes >= self.max_request_bytes,
            "max_buffered_bytes",
            self.max_buffered_bytes,
            "at least max_request_bytes",
        );
        problems.range("max_concurrent_batches", self.max_concurrent_batches, 1, 1_000);
        problems.range("idle_timeout_seconds", self.idle_timeout_seconds, 1, 86_400);
        problems.range("io_timeout_ms", self.io_timeout_ms, 100, 600_000);
        problems.range("max_hold_ms", self.max_hold_ms, 0, 600_000);
    }

    /// Host and port of `advertised`, if it is set and well formed.
    #[must_use]
    pub fn advertised_address(&self) -> Option<(String, u16)> {
        let (host, port) = self.advertised.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (!host.is_empty()).then_some((host.to_owned(), port.parse().ok()?))
    }
}
