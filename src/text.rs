//! The text engines: decoding, cleaning, fingerprints, near-duplicate memory, entities, categories. Pure.
