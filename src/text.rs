//! The text engines: decoding, cleaning, fingerprints, near-duplicate memory, entities, categories. Pure.

pub mod category;
pub mod clean;
mod companies;
pub mod decode;
pub mod entities;
pub mod fingerprint;
mod lsh;
pub mod near_duplicates;
