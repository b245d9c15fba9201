//! The text engines: decoding, cleaning, fingerprints, near-duplicate memory, entities, categories. Pure.

pub mod clean;
pub mod decode;
pub mod fingerprint;
mod lsh;
pub mod near_duplicates;
