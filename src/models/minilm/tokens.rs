//! Text to token ids.

use std::path::Path;

use tokenizers::{Tokenizer, TruncationParams};

use crate::models::ModelError;

/// Tokens a text may take, special tokens included; what is beyond isn't read. The length the model was trained for.
pub const MAX_TOKENS: usize = 256;

/// The model's word-piece tokenizer, cut at [`MAX_TOKENS`] and never padding.
#[derive(Debug)]
pub struct Tokens {
    tokenizer: Tokenizer,
}

impl Tokens {
    /// Reads a `tokenizer.json`. Its own truncation and padding (both to 128) are overridden.
    ///
    /// # Errors
    /// [`ModelError::Damaged`] if it isn't a tokenizer.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let damaged = |reason: tokenizers::Error| ModelError::Damaged {
            path: path.display().to_string(),
            reason: reason.to_string(),
        };
        let mut tokenizer = Tokenizer::from_file(path).map_err(damaged)?;
        let truncation = TruncationParams { max_length: MAX_TOKENS, ..TruncationParams::default() };
        tokenizer.with_padding(None);
        tokenizer.with_truncation(Some(truncation)).map_err(damaged)?;
        Ok(Self { tokenizer })
    }

    /// The ids of `text` with its special tokens.
    ///
    /// # Errors
    /// [`ModelError::Encoding`] if the tokenizer fails.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoding = self.tokenizer.encode_fast(text, true).map_err(|e| ModelError::Encoding(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }
}
