//! Redis: what daemons share beside the stores of record.
//!
//! [`connection`] is the one connection everything goes over, [`lock`] a lock for short critical sections of the whole
//! installation, [`claims`] the duplicate memory that all daemons keep in step. Nothing here is a store of record: what Redis loses is rebuilt or waited for, never missing.

pub mod cache;
pub mod claims;
pub mod connection;
pub mod jobs;
pub mod lock;

pub use connection::Redis;
