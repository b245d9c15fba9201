//! `[documents]`: what a document may look like.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problems;

/// Deepest nesting that may be configured: the JSON parser's own bound is 128 and must never be the one that is hit.
const DEEPEST: usize = 100;

/// Limits of a document. What goes past one is refused with its own error code; nothing is cut silently.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DocumentsConfig {
    /// Largest record, in bytes (1024 to 104857600). Everything counts: text, metadata and JSON itself. Checked before parsing.
    /// 2 MiB by default, so that a text of the largest size fits even when half of it is JSON escapes.
    pub max_record_bytes: usize,
    /// Largest cleaned text, in bytes of UTF-8 (16 to 104857600).
    pub max_text_bytes: usize,
    /// Largest cleaned title, and largest cleaned author, in bytes of UTF-8 (16 to 1048576).
    pub max_title_bytes: usize,
    /// Longest `id` a sender may give, in bytes (16 to 512). Ids are keys of the log and of every table.
    pub max_id_bytes: usize,
    /// Longest `url`, in characters (64 to 65536). 2048 is what browsers and crawlers agree on.
    pub max_url_chars: usize,
    /// Most `symbols` of one document (1 to 10000).
    pub max_symbols: usize,
    /// Longest symbol, in characters (4 to 256).
    pub max_symbol_chars: usize,
    /// Deepest nesting of objects and arrays, the document itself included (2 to 100). Checked before parsing.
    pub max_depth: usize,
    /// How far `published_at` may lie in the future, in seconds (0 to 31536000). A day by default: time zones go wrong by hours.
    pub max_future_seconds: u64,
}

impl Default for DocumentsConfig {
    fn default() -> Self {
        Self {
            max_record_bytes: 2 * 1024 * 1024,
            max_text_bytes: 1024 * 1024,
            max_title_bytes: 8 * 1024,
            max_id_bytes: 512,
            max_url_chars: 2048,
            max_symbols: 256,
            max_symbol_chars: 32,
            max_depth: 32,
            max_future_seconds: 86_400,
        }
    }
}

impl DocumentsConfig {
    /// Checks every field's range.
    pub fn validate(&self, problems: &mut Problems) {
        problems.range("max_record_bytes", self.max_record_bytes, 1024, 100 * 1024 * 1024);
        problems.range("max_text_bytes", self.max_text_bytes, 16, 100 * 1024 * 1024);
        problems.require(
            self.max_text_bytes <= self.max_record_bytes,
            "max_text_bytes",
            self.max_text_bytes,
            "at most max_record_bytes",
        );
        problems.range("max_title_bytes", self.max_title_bytes, 16, 1024 * 1024);
        problems.range("max_id_bytes", self.max_id_bytes, 16, 512);
        problems.range("max_url_chars", self.max_url_chars, 64, 65_536);
        problems.range("max_symbols", self.max_symbols, 1, 10_000);
        problems.range("max_symbol_chars", self.max_symbol_chars, 4, 256);
        problems.range("max_depth", self.max_depth, 2, DEEPEST);
        problems.range("max_future_seconds", self.max_future_seconds, 0, 31_536_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        let mut problems = Problems::default();
        DocumentsConfig::default().validate(&mut problems);
        assert_eq!(problems.into_found(), []);
    }

    #[test]
    fn text_limit_over_record_limit_is_named() {
        let mut problems = Problems::default();
        let config = DocumentsConfig { max_record_bytes: 2048, max_text_bytes: 4096, ..Default::default() };
        problems.section("documents", |problems| config.validate(problems));
        let found = problems.into_found();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].key, "documents.max_text_bytes");
    }
}
