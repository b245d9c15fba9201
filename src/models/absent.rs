//! Stands where there are no models, on a node that is no worker or with `encoder.kind = "none"`: it knows what the
//! workers' models are, loads nothing and computes nothing.

use std::sync::Arc;

use super::hashing::HashingEncoder;
use super::minilm::MiniLm;
use super::{Encoded, Encoder, ModelError, SentimentInput, SentimentModel};
use crate::config::encoder::EncoderKind;
use crate::messages::analysis::{EmbeddingInfo, Sentiment};

/// The encoder of a node without models.
#[derive(Debug)]
pub struct AbsentEncoder {
    /// What the workers' encoder is, by the same configuration.
    info: EmbeddingInfo,
}

impl AbsentEncoder {
    /// In place of an encoder of this kind.
    #[must_use]
    pub fn new(kind: EncoderKind) -> Self {
        let info = match kind {
            EncoderKind::Minilm => MiniLm::described(),
            EncoderKind::Hashing => HashingEncoder::default().info().clone(),
            EncoderKind::None => EmbeddingInfo { model: "none".into(), dimension: 0 },
        };
        Self { info }
    }
}

impl Encoder for AbsentEncoder {
    fn info(&self) -> &EmbeddingInfo {
        &self.info
    }

    fn count_tokens(&self, text: &str) -> usize {
        text.split_whitespace().count() + 2
    }

    fn encode(&self, _: &[&str]) -> Result<Vec<Encoded>, ModelError> {
        Err(if self.makes_vectors() { ModelError::Elsewhere } else { ModelError::NoEncoder })
    }
}

/// The sentiment model of a node without models.
#[derive(Debug)]
pub struct AbsentSentiment {
    name: Arc<str>,
}

impl Default for AbsentSentiment {
    fn default() -> Self {
        Self { name: "none".into() }
    }
}

impl SentimentModel for AbsentSentiment {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn judge(&self, _: &[SentimentInput<'_>], _: f32) -> Result<Vec<Sentiment>, ModelError> {
        Err(ModelError::Elsewhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_named_and_sized_as_the_workers_encoder() {
        let hashing = HashingEncoder::default();
        assert_eq!(AbsentEncoder::new(EncoderKind::Hashing).info(), hashing.info());
        assert_eq!(AbsentEncoder::new(EncoderKind::Minilm).info().dimension, 384);
    }

    #[test]
    fn no_encoder_says_so() {
        let none = AbsentEncoder::new(EncoderKind::None);
        assert!(!none.makes_vectors());
        assert!(matches!(none.encode(&["a text"]), Err(ModelError::NoEncoder)));
    }

    #[test]
    fn what_is_asked_of_it_is_elsewhere() {
        assert!(matches!(AbsentEncoder::new(EncoderKind::Minilm).encode(&["a text"]), Err(ModelError::Elsewhere)));
        assert!(matches!(AbsentSentiment::default().judge(&[], 0.5), Err(ModelError::Elsewhere)));
    }
}
