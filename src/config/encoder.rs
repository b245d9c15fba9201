//! `[encoder]`: which model turns texts into vectors.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problems;

/// The kinds of encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EncoderKind {
    /// all-MiniLM-L6-v2 on the CPU; needs the files that `make model` fetches.
    Minilm,
    /// Hashed words and character n-grams: no files, very fast, lexical only. Vectors of the two kinds can't be mixed
    /// in one collection.
    Hashing,
    /// No vectors at all: exact and near copies are found by their words, nothing is scored or searchable.
    None,
}

/// Settings of the encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EncoderConfig {
    /// `minilm` (default): the sentence encoder. `hashing`: needs no model, but finds only texts that share words. `none`:
    /// documents get no vector and no sentiment, for a stream that is to be deduplicated and stored at full speed.
    pub kind: EncoderKind,
    /// Directory of `model.safetensors`, `tokenizer.json` and `config.json`. Default: where `make model` puts them.
    pub model_dir: PathBuf,
    /// Threads that compute, shared by encoder and sentiment model. 0 (default) takes every core; 0 to 512.
    pub threads: usize,
}

impl Default for EncoderConfig {
    fn default() -> Self {
        Self { kind: EncoderKind::Minilm, model_dir: PathBuf::from("models/all-minilm-l6-v2"), threads: 0 }
    }
}

impl EncoderConfig {
    /// Notes what is out of range.
    pub fn validate(&self, problems: &mut Problems) {
        problems.range("threads", self.threads, 0, 512);
        problems.require(
            !self.model_dir.as_os_str().is_empty(),
            "model_dir",
            self.model_dir.display(),
            "the path of a directory",
        );
    }
}
