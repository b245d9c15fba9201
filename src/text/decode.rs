//! Decoding: bytes of a record to a valid [`Document`], or the exact reason why not.

mod fields;

use chrono::{DateTime, Duration, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use self::fields::{Field, Fields, Parsed};
use super::clean::{cleaned, is_invisible};
use crate::config::documents::DocumentsConfig;
use crate::messages::code::{ErrorCode, Rejection};
use crate::messages::document::Document;

/// Namespace of derived document ids. Changing it changes every derived id.
pub const DOCUMENT_NAMESPACE: Uuid = Uuid::from_u128(0x6d0c_24f1_5b7e_5a86_9c1d_8f02_71e4_a3b9);

/// Longest source name, in bytes.
const MAX_SOURCE_BYTES: usize = 64;
/// Longest language tag, in bytes.
const MAX_LANG_BYTES: usize = 35;
/// A refused value is quoted up to this many characters.
const QUOTED_CHARS: usize = 40;

/// Decodes one JSON object. `now` bounds `published_at`.
///
/// Unknown fields go to `metadata`. When a name comes twice in one object the last one counts. `null` is the same as
/// leaving the field out. A leading byte order mark is skipped.
///
/// # Errors
/// A [`Rejection`] with the code and field at fault; for JSON that does not parse, line and column.
pub fn decode(bytes: &[u8], limits: &DocumentsConfig, now: DateTime<Utc>) -> Result<Document, Rejection> {
    let text = checked(bytes, limits.max_record_bytes, limits.max_depth)?;
    match serde_json::from_str(text).map_err(|error| invalid_json(&error, text))? {
        Parsed::Object(fields) => from_fields(*fields, limits, now),
        Parsed::Other(kind) => Err(no_object("a document", kind)),
    }
}

/// Parses one JSON object; `what` it is meant to be stands in the errors.
///
/// # Errors
/// A [`Rejection`] if it is too large, no UTF-8, nested too deeply, no JSON or no object.
pub(crate) fn object(
    bytes: &[u8],
    max_bytes: usize,
    max_depth: usize,
    what: &str,
) -> Result<Map<String, Value>, Rejection> {
    let text = checked(bytes, max_bytes, max_depth)?;
    match serde_json::from_str(text).map_err(|error| invalid_json(&error, text))? {
        Value::Object(object) => Ok(object),
        other => Err(no_object(what, kind(&other))),
    }
}

/// The text of a record, if it may be parsed.
fn checked(bytes: &[u8], max_bytes: usize, max_depth: usize) -> Result<&str, Rejection> {
    if bytes.len() > max_bytes {
        let message = format!("the record has {} bytes, at most {max_bytes} are allowed", bytes.len());
        return Err(Rejection::new(ErrorCode::TooLarge, message));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Rejection::new(ErrorCode::InvalidUtf8, format!("invalid UTF-8 at byte {at} (0x{:02x})", bytes[at]))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    check_depth(text, max_depth)?;
    Ok(text)
}

fn no_object(what: &str, kind: &str) -> Rejection {
    Rejection::new(ErrorCode::WrongType, format!("{what} must be a JSON object, got {kind}"))
}

/// Makes a document of a parsed object; see [`decode`].
///
/// # Errors
/// A [`Rejection`] with the code and field at fault.
pub fn from_object(
    object: Map<String, Value>,
    limits: &DocumentsConfig,
    now: DateTime<Utc>,
) -> Result<Document, Rejection> {
    from_fields(object.into_iter().collect(), limits, now)
}

fn from_fields(mut fields: Fields, limits: &DocumentsConfig, now: DateTime<Utc>) -> Result<Document, Rejection> {
    let source = source(&mut fields)?;
    let given_id = id(&mut fields, limits)?;
    let url = url(&mut fields, limits)?;
    let title = short_text(&mut fields, Field::Title, limits)?;
    let text = text(&mut fields, limits)?;
    let author = short_text(&mut fields, Field::Author, limits)?;
    let published_at = published_at(&mut fields, limits, now)?;
    let symbols = symbols(&mut fields, limits)?;
    let lang = lang(&mut fields)?;
    let metadata = metadata(fields)?;
    let id = given_id.unwrap_or_else(|| derive_id(&source, url.as_deref(), &text));
    Ok(Document {
        id: id.into(),
        source: source.into(),
        url,
        title,
        text,
        author,
        published_at,
        symbols,
        lang,
        metadata,
    })
}

/// The id of a document whose sender gave none: `UUIDv5` of source and URL, else of source and cleaned text.
#[must_use]
pub fn derive_id(source: &str, url: Option<&str>, text: &str) -> String {
    let (kind, value) = url.map_or(("text", text), |url| ("url", url));
    Uuid::new_v5(&DOCUMENT_NAMESPACE, [kind, "\n", source, "\n", value].concat().as_bytes()).to_string()
}

/// Refuses deep nesting before the recursive parser sees it.
fn check_depth(text: &str, max_depth: usize) -> Result<(), Rejection> {
    // with so few openers, wherever they stand, it can't be deeper; most records end here
    if text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count() <= max_depth {
        return Ok(());
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > max_depth {
                    let message = format!("nested deeper than {max_depth} levels at byte {at}");
                    return Err(Rejection::new(ErrorCode::TooDeep, message));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

fn invalid_json(error: &serde_json::Error, text: &str) -> Rejection {
    if text.trim().is_empty() {
        return Rejection::new(ErrorCode::InvalidJson, "the body is empty");
    }
    let message = error.to_string();
    let hint = if names_no_number(text, error) { " (NaN and Infinity are not JSON; use null)" } else { "" };
    Rejection::new(ErrorCode::InvalidJson, format!("invalid JSON: {message}{hint}"))
}

/// Whether the parser stopped at one of the number literals that JSON does not have.
fn names_no_number(text: &str, error: &serde_json::Error) -> bool {
    let Some(line) = text.lines().nth(error.line().saturating_sub(1)) else { return false };
    let start = error.column().saturating_sub(3);
    let end = (error.column() + 8).min(line.len());
    line.as_bytes().get(start..end).is_some_and(|near| {
        [&b"NaN"[..], b"nan", b"Infinity", b"inf"].iter().any(|word| near.windows(word.len()).any(|part| part == *word))
    })
}

/// What a JSON value is, with its article, for messages.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The value, shortened, as it may stand in a message: no control characters, a bounded length.
fn quoted(value: &str) -> String {
    let shown: String = value.chars().take(QUOTED_CHARS).flat_map(char::escape_debug).collect();
    if value.chars().nth(QUOTED_CHARS).is_some() { format!("\"{shown}…\"") } else { format!("\"{shown}\"") }
}

fn wrong_type(field: &str, needed: &str, got: &Value) -> Rejection {
    Rejection::field(ErrorCode::WrongType, field, format!("{field} must be {needed}, got {}", kind(got)))
}

/// Takes a string field.
fn string(fields: &mut Fields, field: Field) -> Result<Option<String>, Rejection> {
    match fields.take(field) {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        other => Err(wrong_type(field.name(), "a string", &other)),
    }
}

fn source(fields: &mut Fields) -> Result<String, Rejection> {
    let Some(source) = string(fields, Field::Source)? else {
        return Err(Rejection::field(ErrorCode::MissingField, "source", "source is missing"));
    };
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let valid = source.len() <= MAX_SOURCE_BYTES
        && source.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && source.bytes().all(lower);
    if valid {
        return Ok(source);
    }
    let message = format!(
        "source must be a lower-case name of at most {MAX_SOURCE_BYTES} letters, digits, - and _ that starts with a letter, got {}",
        quoted(&source)
    );
    Err(Rejection::field(ErrorCode::InvalidSource, "source", message))
}

fn id(fields: &mut Fields, limits: &DocumentsConfig) -> Result<Option<String>, Rejection> {
    let Some(id) = string(fields, Field::Id)? else { return Ok(None) };
    let refuse = |message: String| Err(Rejection::field(ErrorCode::InvalidId, "id", message));
    if id.trim().is_empty() {
        return refuse("id is empty; leave it out to have one derived".to_owned());
    }
    if id.len() > limits.max_id_bytes {
        return refuse(format!("id has {} bytes, at most {} are allowed", id.len(), limits.max_id_bytes));
    }
    if let Some(bad) = id.chars().find(|&character| is_invisible(character)) {
        return refuse(format!("id has a control or invisible character (U+{:04X})", u32::from(bad)));
    }
    Ok(Some(id))
}

fn url(fields: &mut Fields, limits: &DocumentsConfig) -> Result<Option<String>, Rejection> {
    let Some(url) = string(fields, Field::Url)? else { return Ok(None) };
    let url = url.trim();
    if url.is_empty() {
        return Ok(None);
    }
    let refuse = |message: String| Err(Rejection::field(ErrorCode::InvalidUrl, "url", message));
    let chars = url.chars().count();
    if chars > limits.max_url_chars {
        return refuse(format!("url has {chars} characters, at most {} are allowed", limits.max_url_chars));
    }
    if url.chars().any(|character| character.is_whitespace() || is_invisible(character)) {
        return refuse(format!("url has white space or a control character: {}", quoted(url)));
    }
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        let start = url.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| &url[scheme.len()..])
    });
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match host {
        None => refuse(format!("url must start with http:// or https://, got {}", quoted(url))),
        Some(host) if host.rsplit('@').next().is_none_or(|host| host.is_empty() || host.starts_with(':')) => {
            refuse(format!("url has no host: {}", quoted(url)))
        }
        Some(_) => Ok(Some(url.to_owned())),
    }
}

/// Title or author: cleaned, absent when nothing is left.
fn short_text(fields: &mut Fields, field: Field, limits: &DocumentsConfig) -> Result<Option<String>, Rejection> {
    let Some(raw) = string(fields, field)? else { return Ok(None) };
    let (cleaned, field) = (cleaned(raw), field.name());
    if cleaned.len() > limits.max_title_bytes {
        let message = format!("{field} has {} bytes, at most {} are allowed", cleaned.len(), limits.max_title_bytes);
        return Err(Rejection::field(ErrorCode::TooLarge, field, message));
    }
    Ok(Some(cleaned).filter(|cleaned| !cleaned.is_empty()))
}

fn text(fields: &mut Fields, limits: &DocumentsConfig) -> Result<String, Rejection> {
    let Some(raw) = string(fields, Field::Text)? else {
        return Err(Rejection::field(ErrorCode::MissingField, "text", "text is missing"));
    };
    let was_empty = raw.is_empty();
    let cleaned = cleaned(raw);
    if cleaned.is_empty() {
        let message = if was_empty { "text is empty" } else { "text has no visible character" };
        return Err(Rejection::field(ErrorCode::EmptyText, "text", message));
    }
    if cleaned.len() > limits.max_text_bytes {
        let message = format!("text has {} bytes, at most {} are allowed", cleaned.len(), limits.max_text_bytes);
        return Err(Rejection::field(ErrorCode::TooLarge, "text", message));
    }
    Ok(cleaned)
}

fn published_at(
    fields: &mut Fields,
    limits: &DocumentsConfig,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, Rejection> {
    const FIELD: &str = "published_at";
    let Some(raw) = string(fields, Field::PublishedAt)? else { return Ok(None) };
    let refuse = |message: String| Err(Rejection::field(ErrorCode::InvalidTime, FIELD, message));
    let Ok(time) = DateTime::parse_from_rfc3339(raw.trim()) else {
        return refuse(format!("{FIELD} must be an RFC 3339 time such as 2026-01-31T09:30:00Z, got {}", quoted(&raw)));
    };
    let time = time.with_timezone(&Utc);
    let ahead = Duration::seconds(i64::try_from(limits.max_future_seconds).unwrap_or(i64::MAX / 1000));
    if now.checked_add_signed(ahead).is_some_and(|latest| time > latest) {
        return refuse(format!("{FIELD} is more than {} s in the future: {}", limits.max_future_seconds, quoted(&raw)));
    }
    Ok(Some(time))
}

fn symbols(fields: &mut Fields, limits: &DocumentsConfig) -> Result<Vec<String>, Rejection> {
    let items = match fields.take(Field::Symbols) {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) => items,
        other => return Err(wrong_type("symbols", "an array of strings", &other)),
    };
    if items.len() > limits.max_symbols {
        let message = format!("{} symbols, at most {} are allowed", items.len(), limits.max_symbols);
        return Err(Rejection::field(ErrorCode::TooManySymbols, "symbols", message));
    }
    let mut symbols: Vec<String> = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let field = format!("symbols[{index}]");
        let Value::String(raw) = item else { return Err(wrong_type(&field, "a string", &item)) };
        let cleaned = cleaned(raw);
        let symbol = cleaned.strip_prefix('$').unwrap_or(&cleaned).to_uppercase();
        let chars = symbol.chars().count();
        if chars > limits.max_symbol_chars {
            let message = format!("{field} has {chars} characters, at most {} are allowed", limits.max_symbol_chars);
            return Err(Rejection::field(ErrorCode::TooManySymbols, field, message));
        }
        if !symbol.is_empty() && !symbols.contains(&symbol) {
            symbols.push(symbol);
        }
    }
    Ok(symbols)
}

fn lang(fields: &mut Fields) -> Result<Option<String>, Rejection> {
    let Some(raw) = string(fields, Field::Lang)? else { return Ok(None) };
    let tag = raw.trim().replace('_', "-");
    if tag.is_empty() {
        return Ok(None);
    }
    let subtag = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let starts_with_letters =
        tag.split('-').next().is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_alphabetic()));
    if tag.len() <= MAX_LANG_BYTES && starts_with_letters && tag.split('-').all(subtag) {
        return Ok(Some(tag));
    }
    let message = format!("lang must be a BCP 47 tag such as en or pt-BR, got {}", quoted(&raw));
    Err(Rejection::field(ErrorCode::WrongType, "lang", message))
}

/// `metadata` with the unknown fields beside it; a name that is already taken gets `_` in front.
fn metadata(mut fields: Fields) -> Result<Map<String, Value>, Rejection> {
    let mut metadata = match fields.take(Field::Metadata) {
        Value::Null => Map::new(),
        Value::Object(metadata) => metadata,
        other => return Err(wrong_type("metadata", "an object", &other)),
    };
    for (mut name, value) in fields.others {
        while metadata.contains_key(&name) {
            name.insert(0, '_');
        }
        metadata.insert(name, value);
    }
    Ok(metadata)
}
