//! Statements and values: prepared by name, or anew each time behind a pooler; text with U+0000 in it.

use std::borrow::Cow;

use deadpool_postgres::ClientWrapper;
use serde::de::DeserializeOwned;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Error as PgError, Row};

use crate::stores::documents::StoreError;

/// Stands before `0` for U+0000, which PostgreSQL does not take, and before itself for itself: a code point that is no
/// character and occurs in no text.
const ESCAPE: char = '\u{10FFFE}';
/// Its first byte in UTF-8, which few other characters have.
const ESCAPE_LEAD: u8 = 0xf4;

/// Parameters of a statement.
pub(super) type Parameters<'p> = &'p [&'p (dyn ToSql + Sync)];

/// A connection's way to run statements.
#[derive(Clone, Copy)]
pub(super) struct Session<'c> {
    client: &'c ClientWrapper,
    named: bool,
}

/// A statement ready to run: from here on the first poll of [`Session::query`] puts it on the wire, so that statements
/// polled in order are run in order, without waiting for each other's answers.
pub(super) enum Ready<'s> {
    Named(tokio_postgres::Statement),
    Unnamed(&'s str, &'s [Type]),
}

impl<'c> Session<'c> {
    pub(super) fn new(client: &'c ClientWrapper, named: bool) -> Self {
        Self { client, named }
    }

    /// Prepares, unless this connection did before.
    pub(super) async fn ready<'s>(&self, sql: &'s str, types: &'s [Type]) -> Result<Ready<'s>, PgError> {
        if self.named {
            return Ok(Ready::Named(self.client.prepare_typed_cached(sql, types).await?));
        }
        Ok(Ready::Unnamed(sql, types))
    }

    /// Runs a prepared statement.
    pub(super) async fn run(&self, ready: &Ready<'_>, values: Parameters<'_>) -> Result<Vec<Row>, PgError> {
        match ready {
            Ready::Named(statement) => self.client.query(statement, values).await,
            Ready::Unnamed(sql, types) => {
                let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
                    values.iter().zip(types.iter()).map(|(value, kind)| (*value, kind.clone())).collect();
                self.client.query_typed(sql, &parameters).await
            }
        }
    }

    /// Prepares and runs.
    pub(super) async fn query(&self, sql: &str, types: &[Type], values: Parameters<'_>) -> Result<Vec<Row>, PgError> {
        let ready = self.ready(sql, types).await?;
        self.run(&ready, values).await
    }

    /// Runs text of several statements.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), PgError> {
        self.client.batch_execute(sql).await
    }
}

/// Text as PostgreSQL takes it.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    // without a way out, so that many bytes are looked at at once: nearly no text has one of these
    let odd = |byte: u8| u8::from(byte == 0) | u8::from(byte == ESCAPE_LEAD);
    if text.bytes().fold(0, |found, byte| found | odd(byte)) == 0 {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\0' => escaped.extend([ESCAPE, '0']),
            ESCAPE => escaped.extend([ESCAPE, ESCAPE]),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

/// Text as it was before [`escape`].
pub(super) fn unescape(text: String) -> String {
    if !text.contains(ESCAPE) {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, character == ESCAPE) {
            (_, false) => plain.push(character),
            (_, true) => plain.push(if characters.next() == Some('0') { '\0' } else { ESCAPE }),
        }
    }
    plain
}

/// Optional text as PostgreSQL takes it.
pub(super) fn escape_option<T: AsRef<str>>(text: Option<&T>) -> Option<Cow<'_, str>> {
    text.map(|text| escape(text.as_ref()))
}

/// JSON for a column of type `json`, which takes U+0000 in its escaped form.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| not_json(&error))
}

/// Why a value is refused that JSON does not have.
pub(super) fn not_json(error: &serde_json::Error) -> StoreError {
    StoreError::Refused(format!("value is not JSON: {error}"))
}

/// A column's value.
pub(super) fn column<'r, T: FromSql<'r>>(row: &'r Row, index: usize) -> Result<T, StoreError> {
    row.try_get(index).map_err(|error| StoreError::Damaged(format!("postgres: column {index}: {error}")))
}

/// A text column.
pub(super) fn text(row: &Row, index: usize) -> Result<String, StoreError> {
    column(row, index).map(unescape)
}

/// A text column that may be absent.
pub(super) fn text_option(row: &Row, index: usize) -> Result<Option<String>, StoreError> {
    Ok(column::<Option<String>>(row, index)?.map(unescape))
}

/// A column of type `json`.
pub(super) fn from_json<T: DeserializeOwned>(row: &Row, index: usize) -> Result<T, StoreError> {
    let tokio_postgres::types::Json(value) = column(row, index)?;
    Ok(value)
}

/// Appends names as a literal of type `text[]`.
pub(super) fn write_array_literal(names: &[String], out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.push(b'"');
        for byte in escape(name).bytes() {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.push(b'"');
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back_as_it_was() {
        let all = ["", "plain", "\0", "a\0b0", "\u{10FFFE}0", "\u{10FFFE}\u{10FFFE}\0\0", "ünïcode \u{1F680}"];
        for text in all {
            let escaped = escape(text).into_owned();
            assert!(!escaped.contains('\0'), "{escaped:?}");
            assert_eq!(unescape(escaped), text);
        }
        assert!(matches!(escape("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn array_literal_quotes_what_would_end_it() {
        let names = [r#"a"b\"#.to_owned(), "{,}".to_owned(), String::new()];
        let literal = |names: &[String]| {
            let mut out = Vec::new();
            write_array_literal(names, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(literal(&names), r#"{"a\"b\\","{,}",""}"#);
        assert_eq!(literal(&[]), "{}");
    }
}
