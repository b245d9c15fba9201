//! What the model routes keep: vectors and opinions by text, search answers by question.

use sha2::{Digest, Sha256};

use super::app::App;
use super::compute::{self, Abandoned};
use super::error::{ApiError, ApiResult};
use crate::messages::code::ErrorCode;
use crate::stores::cache::CacheKind;

/// A vector as the cache keeps it: tokens, then values, little-endian.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Embedding {
    /// Tokens the text took.
    pub(crate) tokens: u32,
    /// L2-normalised values.
    pub(crate) vector: Vec<f32>,
}

impl Embedding {
    fn write(&self) -> Vec<u8> {
        let values = self.vector.iter().flat_map(|value| value.to_le_bytes());
        self.tokens.to_le_bytes().into_iter().chain(values).collect()
    }

    fn read(bytes: &[u8], dimension: usize) -> Option<Self> {
        let (tokens, values) = bytes.split_first_chunk()?;
        let (values, rest) = values.as_chunks();
        let vector: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
        let whole = rest.is_empty() && vector.len() == dimension;
        whole.then(|| Self { tokens: u32::from_le_bytes(*tokens), vector })
    }
}

/// Name of what is kept of a text: its hash behind what made it.
pub(crate) fn name(maker: &str, text: &str) -> String {
    use std::fmt::Write as _;
    let mut name = format!("{maker}:");
    for byte in Sha256::digest(text.as_bytes()) {
        // writing to a String can't fail
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// Something by text, in order: from the cache where it is there, else made by `make`, all at once, and kept.
pub(crate) async fn by_text<T: Clone + Send + 'static>(
    app: &App,
    (kind, maker): (CacheKind, &str),
    texts: Vec<String>,
    form: (impl Fn(&[u8]) -> Option<T>, impl Fn(&T) -> Vec<u8>),
    make: impl FnOnce(Vec<String>, &Abandoned) -> ApiResult<Vec<T>> + Send + 'static,
) -> ApiResult<Vec<T>> {
    let (read, write) = form;
    let names: Vec<String> = texts.iter().map(|text| name(maker, text)).collect();
    let found = app.api.cache.get(kind, &names).await;
    let mut known: Vec<Option<T>> = found.into_iter().map(|bytes| read(&bytes?)).collect();
    let missing: Vec<usize> = (0..texts.len()).filter(|&index| known[index].is_none()).collect();
    if !missing.is_empty() {
        let mut texts = texts;
        let wanted = missing.iter().map(|&index| std::mem::take(&mut texts[index])).collect();
        let made = compute::run(app, move |abandoned| make(wanted, abandoned)).await?;
        if made.len() != missing.len() {
            let message = format!("{} results for {} texts", made.len(), missing.len());
            return Err(ApiError::new(ErrorCode::Internal, message));
        }
        let entries = missing.iter().zip(&made).map(|(&index, value)| (names[index].clone(), write(value)));
        app.api.cache.put(kind, entries.collect()).await;
        for (index, value) in missing.into_iter().zip(made) {
            known[index] = Some(value);
        }
    }
    Ok(known.into_iter().flatten().collect())
}

/// The embeddings of texts, in order.
pub(crate) async fn embeddings(app: &App, texts: Vec<String>) -> ApiResult<Vec<Embedding>> {
    let encoder = app.api.encoder.clone();
    let info = encoder.info();
    let (maker, dimension) = (info.model.to_string(), info.dimension);
    let form = (move |bytes: &[u8]| Embedding::read(bytes, dimension), Embedding::write);
    let encoder = app.api.encoder.clone();
    by_text(app, (CacheKind::Embedding, &maker), texts, form, move |texts, abandoned| {
        let encoded = super::api::embeddings::encode(&*encoder, &texts, abandoned)?;
        let embedding = |one: crate::models::Encoded| Embedding { tokens: one.tokens, vector: one.vector.to_vec() };
        Ok(encoded.into_iter().map(embedding).collect())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedding_is_read_as_it_was_written_and_of_its_dimension_only() {
        let embedding = Embedding { tokens: 7, vector: vec![0.5, -1.0, f32::MIN_POSITIVE] };
        let bytes = embedding.write();
        assert_eq!(Embedding::read(&bytes, 3), Some(embedding));
        assert_eq!(Embedding::read(&bytes, 4), None);
        assert_eq!(Embedding::read(&bytes[..bytes.len() - 1], 3), None);
        assert_eq!(Embedding::read(&[], 0), None);
    }

    #[test]
    fn texts_and_makers_are_told_apart() {
        assert_ne!(name("a", "text"), name("b", "text"));
        assert_ne!(name("a", "text"), name("a", "texts"));
        assert_eq!(name("a", "text").len(), 2 + 64);
    }
}
