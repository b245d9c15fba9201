//! The log: one trait, two backends. Apache Kafka (`client`) and the embedded log (`embedded`), which a
//! produce-only Kafka listener (`listener`) opens to any Kafka client.

pub mod client;
pub mod embedded;
pub mod ledger;
pub mod listener;
pub mod log;
pub mod outbox;
pub mod partitioner;
pub mod source;
