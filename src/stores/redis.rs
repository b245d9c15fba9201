//! Redis: what daemons share beside the stores of record.
//!
//! [`connection`] is the one connection everything goes over, [`lock`] a lock for short critical sections of the whole
//! installation. Nothing here is a store of record: what Redis loses is rebuilt or waited for, never missing.

pub mod connection;
pub mod lock;

pub use connection::Redis;
