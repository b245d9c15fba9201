//! An encoder without a model: words and character n-grams hashed into a vector.
//!
//! For machines where the real encoder can't be fetched, and for trying the pipeline at full speed. It is lexical only:
//! texts are near when they share words and spellings, whatever they mean.

use std::sync::Arc;

use unicode_segmentation::UnicodeSegmentation;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::kernels::pool::l2_normalise;
use super::{Encoded, Encoder, ModelError};
use crate::messages::analysis::EmbeddingInfo;

/// Same length as the real encoder's vectors, so that stores need no second collection.
pub const DIMENSION: usize = 384;
/// Longest n-gram of characters within a word; the shortest has 3.
const LONGEST_NGRAM: usize = 4;
/// Weight of a character n-gram beside a word's 1.
const NGRAM_WEIGHT: f32 = 0.3;
/// Weight of two neighbouring words beside a word's 1.
const PAIR_WEIGHT: f32 = 0.5;

/// Feature hashing of words, pairs of words and character n-grams.
#[derive(Debug)]
pub struct HashingEncoder {
    info: EmbeddingInfo,
}

impl Default for HashingEncoder {
    fn default() -> Self {
        Self { info: EmbeddingInfo { model: "hashing-v1".into(), dimension: DIMENSION } }
    }
}

/// Adds a feature at its place with its sign, both from its hash.
fn add(vector: &mut [f32], feature: &[u8], seed: u64, weight: f32) {
    let hash = xxh3_64_with_seed(feature, seed);
    let sign = if hash >> 63 == 0 { weight } else { -weight };
    let place = usize::try_from(hash % DIMENSION as u64).unwrap_or_default();
    vector[place] += sign;
}

impl HashingEncoder {
    fn encode_one(text: &str) -> Encoded {
        let lower = text.to_lowercase();
        let mut vector = vec![0.0f32; DIMENSION];
        let mut words = 0u32;
        let mut pair = String::new();
        for word in lower.unicode_words() {
            words += 1;
            add(&mut vector, word.as_bytes(), 1, 1.0);
            if !pair.is_empty() {
                pair.push(' ');
                pair.push_str(word);
                add(&mut vector, pair.as_bytes(), 2, PAIR_WEIGHT);
                pair.clear();
            }
            pair.push_str(word);
            let starts: Vec<usize> = word.char_indices().map(|(at, _)| at).chain([word.len()]).collect();
            for length in 3..=LONGEST_NGRAM {
                for ends in starts.windows(length + 1) {
                    add(&mut vector, &word.as_bytes()[ends[0]..ends[length]], 3, NGRAM_WEIGHT);
                }
            }
        }
        if words == 0 {
            // A text without a word still needs a direction of its own.
            add(&mut vector, lower.trim().as_bytes(), 4, 1.0);
        }
        l2_normalise(&mut vector);
        Encoded { vector: vector.into(), tokens: words.max(1), trunk: None }
    }
}

impl Encoder for HashingEncoder {
    fn info(&self) -> &EmbeddingInfo {
        &self.info
    }

    fn count_tokens(&self, text: &str) -> usize {
        text.unicode_words().count().max(1)
    }

    fn encode(&self, texts: &[&str]) -> Result<Vec<Encoded>, ModelError> {
        Ok(texts.iter().map(|text| Self::encode_one(text)).collect())
    }
}

/// Cosine of two vectors of length 1.
pub fn cosine(left: &Arc<[f32]>, right: &Arc<[f32]>) -> f32 {
    left.iter().zip(right.iter()).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn encode(texts: &[&str]) -> Vec<Encoded> {
        HashingEncoder::default().encode(texts).unwrap()
    }

    #[test]
    fn vectors_have_length_one_and_do_not_depend_on_the_batch() {
        let texts = ["Apple beats estimates", "", "!!!", "Ölpreise steigen", "苹果公司财报超预期"];
        for (together, text) in encode(&texts).iter().zip(texts) {
            assert_eq!(together.vector, encode(&[text])[0].vector);
            assert!((cosine(&together.vector, &together.vector) - 1.0).abs() < 1e-5);
            assert_eq!(together.vector.len(), DIMENSION);
        }
    }

    #[test]
    fn shared_words_bring_texts_nearer() {
        let v = encode(&[
            "Apple shares surge after record quarterly earnings",
            "Apple shares surge after record quarterly earnings report",
            "How to bake a sourdough bread",
        ]);
        assert!(cosine(&v[0].vector, &v[1].vector) > 0.85);
        assert!(cosine(&v[0].vector, &v[2].vector) < 0.3);
    }
}
