//! The sentence encoder all-MiniLM-L6-v2: six transformer layers, mean pooling, vectors of length 1.

use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

pub mod files;
pub mod forward;
pub mod tokens;
pub mod weights;

use self::files::ModelFiles;
use self::forward::Batch;
use self::tokens::Tokens;
use self::weights::{LAYERS, WIDTH, Weights};
use super::compute::Compute;
use super::kernels::pool::{l2_normalise, mean};
use super::{Encoded, Encoder, ModelError, Trunk};
use crate::messages::analysis::EmbeddingInfo;

/// The model's name in results.
pub const NAME: &str = "all-MiniLM-L6-v2";

/// all-MiniLM-L6-v2 on the CPU.
#[derive(Debug)]
pub struct MiniLm {
    info: EmbeddingInfo,
    tokens: Tokens,
    weights: Arc<Weights>,
    compute: Compute,
    /// After how many layers the hidden states are kept for the sentiment model.
    trunk_layers: Option<usize>,
}

impl MiniLm {
    /// Loads and checks the model in `directory`.
    ///
    /// # Errors
    /// [`ModelError::Missing`] or [`ModelError::Damaged`], naming the file.
    pub fn open(directory: &Path, compute: Compute) -> Result<Self, ModelError> {
        let files = ModelFiles::check(directory)?;
        Ok(Self {
            info: Self::described(),
            tokens: Tokens::open(&files.tokenizer)?,
            weights: Arc::new(Weights::open(&files.weights)?),
            compute,
            trunk_layers: None,
        })
    }

    /// Name and dimension, which need no file.
    #[must_use]
    pub fn described() -> EmbeddingInfo {
        EmbeddingInfo { model: NAME.into(), dimension: WIDTH }
    }

    /// Keeps the hidden states after `layers` layers with every result.
    ///
    /// # Panics
    /// If the model has fewer layers.
    #[must_use]
    pub fn with_trunk(mut self, layers: usize) -> Self {
        assert!(layers <= LAYERS, "the encoder has {LAYERS} layers");
        self.trunk_layers = Some(layers);
        self
    }

    /// The weights, for models that build on them.
    pub fn weights(&self) -> &Arc<Weights> {
        &self.weights
    }

    /// The ids of `text` as the model reads it.
    ///
    /// # Errors
    /// [`ModelError::Encoding`] if the tokenizer fails.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.tokens.ids(text)
    }

    /// Only the hidden states after the shared layers, for training.
    ///
    /// # Errors
    /// [`ModelError::Encoding`] if the tokenizer fails.
    pub fn trunks(&self, texts: &[&str], layers: usize) -> Result<Vec<Trunk>, ModelError> {
        let ids = self.tokenize(texts)?;
        let parts = self.compute.run(&ids, Vec::len, |part, threads| {
            let mut batch = Batch::from_ids(part, &self.weights, threads);
            self.weights.layers[..layers].iter().for_each(|layer| batch.layer(layer));
            batch.texts().map(|states| Trunk { states: states.to_vec(), width: WIDTH }).collect::<Vec<_>>()
        });
        Ok(parts.into_iter().flatten().collect())
    }

    fn tokenize(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>, ModelError> {
        self.compute.install(|| texts.par_iter().map(|text| self.tokens.ids(text)).collect())
    }

    fn encode_part(&self, ids: &[Vec<u32>], threads: usize) -> Vec<Encoded> {
        let mut batch = Batch::from_ids(ids, &self.weights, threads);
        let mut trunks: Vec<Option<Arc<Trunk>>> = vec![None; ids.len()];
        for index in 0..=LAYERS {
            if self.trunk_layers == Some(index) {
                let keep = |states: &[f32]| Some(Arc::new(Trunk { states: states.to_vec(), width: WIDTH }));
                trunks = batch.texts().map(keep).collect();
            }
            if let Some(layer) = self.weights.layers.get(index) {
                batch.layer(layer);
            }
        }
        let results = batch.texts().zip(trunks).map(|(states, trunk)| {
            let mut vector = mean(states, WIDTH);
            l2_normalise(&mut vector);
            let tokens = u32::try_from(states.len() / WIDTH).unwrap_or(u32::MAX);
            Encoded { vector: vector.into(), tokens, trunk }
        });
        results.collect()
    }
}

impl Encoder for MiniLm {
    fn info(&self) -> &EmbeddingInfo {
        &self.info
    }

    fn count_tokens(&self, text: &str) -> usize {
        // A text the tokenizer fails on is counted by its words; encoding it reports the failure.
        self.tokens.ids(text).map_or_else(|_| text.split_whitespace().count() + 2, |ids| ids.len())
    }

    fn encode(&self, texts: &[&str]) -> Result<Vec<Encoded>, ModelError> {
        let ids = self.tokenize(texts)?;
        let parts = self.compute.run(&ids, Vec::len, |part, threads| self.encode_part(part, threads));
        Ok(parts.into_iter().flatten().collect())
    }
}
