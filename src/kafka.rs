//! The log: one trait, two backends. Apache Kafka (`client`) and the embedded log (`embedded`), which a
//! produce-only Kafka listener (`listener`) opens to any Kafka client.

pub mod log;
