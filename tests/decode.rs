//! Bad input is refused with the exact code, field and place; good input is cleaned and kept whole.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use chrono::{DateTime, TimeZone, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};
use tidemill::config::documents::DocumentsConfig;
use tidemill::messages::code::{ErrorCode, Rejection};
use tidemill::messages::document::Document;
use tidemill::text::decode::decode;

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 1, 31, 12, 0, 0).unwrap()
}

fn decoded(bytes: &[u8]) -> Result<Document, Rejection> {
    decode(bytes, &DocumentsConfig::default(), now())
}

fn decoded_value(value: &Value) -> Result<Document, Rejection> {
    decoded(value.to_string().as_bytes())
}

/// A valid document with one field set.
fn with(field: &str, value: impl Into<Value>) -> Value {
    let mut document = json!({"source": "news", "text": "Rates up"});
    document[field] = value.into();
    document
}

#[track_caller]
fn refused(bytes: &[u8], code: ErrorCode, field: Option<&str>, words: &[&str]) {
    let rejection = decoded(bytes).unwrap_err();
    assert_eq!((rejection.code, rejection.field.as_deref()), (code, field), "{rejection:?}");
    for word in words {
        assert!(rejection.message.contains(word), "{:?} lacks {word:?}", rejection.message);
    }
    assert!(rejection.message.len() < 400, "message of {} bytes", rejection.message.len());
}

#[track_caller]
fn refused_value(value: &Value, code: ErrorCode, field: &str, words: &[&str]) {
    refused(value.to_string().as_bytes(), code, Some(field), words);
}

#[test]
fn whole_document_is_kept() {
    let document = decoded_value(&json!({
        "id": "n-1", "source": "news", "url": "https://example.com/a?b=1", "title": "  Rates\tup ",
        "text": "The bank&#39;s\n\nmove\u{202e} came early", "author": "A. Writer", "published_at": "2026-01-31T10:00:00+02:00",
        "symbols": ["$aapl", "MSFT", "AAPL", " "], "lang": "pt_BR", "metadata": {"a": 1}, "b": [2], "a": 3
    }))
    .unwrap();
    assert_eq!(&*document.id, "n-1");
    assert_eq!(document.title.as_deref(), Some("Rates up"));
    assert_eq!(document.text, "The bank's move came early");
    assert_eq!(document.published_at, Some(Utc.with_ymd_and_hms(2026, 1, 31, 8, 0, 0).unwrap()));
    assert_eq!(document.symbols, ["AAPL", "MSFT"]);
    assert_eq!(document.lang.as_deref(), Some("pt-BR"));
    assert_eq!(Value::Object(document.metadata), json!({"a": 1, "_a": 3, "b": [2]}));
}

#[test]
fn derived_id_depends_on_source_and_url_else_on_source_and_cleaned_text() {
    let id = |value: Value| decoded_value(&value).unwrap().id;
    let by_url = id(json!({"source": "news", "url": "https://e.com/1", "text": "a"}));
    assert_eq!(by_url, id(json!({"source": "news", "url": "https://e.com/1", "text": "b"})));
    assert_ne!(by_url, id(json!({"source": "web", "url": "https://e.com/1", "text": "a"})));
    let by_text = id(json!({"source": "news", "text": "Rates up"}));
    assert_eq!(by_text, id(json!({"source": "news", "text": " Rates \n up\u{200b}", "title": "t"})));
    assert_ne!(by_text, id(json!({"source": "news", "text": "Rates down"})));
    // Fixed for ever: changing the derivation would turn every replay into new documents.
    assert_eq!(&*by_text, "f53a4785-6d9d-5b6f-b3bd-0ca93010a69a");
}

#[test]
fn null_is_the_same_as_absent() {
    let document = decoded_value(&json!({"id": null, "source": "news", "text": "a", "url": null, "title": null,
        "author": null, "published_at": null, "symbols": null, "lang": null, "metadata": null}));
    assert!(document.unwrap().metadata.is_empty());
    refused_value(&with("text", Value::Null), ErrorCode::MissingField, "text", &["missing"]);
}

#[test]
fn invalid_utf8_names_the_byte() {
    refused(b"{\"source\": \"\xff\"}", ErrorCode::InvalidUtf8, None, &["byte 12", "0xff"]);
}

#[test]
fn invalid_json_names_line_and_column() {
    refused(b"{\n  \"source\": oops}", ErrorCode::InvalidJson, None, &["line 2 column"]);
    refused(b"{\"source\": \"news\", \"text\": \"a\"", ErrorCode::InvalidJson, None, &["line 1 column", "EOF"]);
    refused(b"{\"source\": \"news\", \"text\": \"a\"} x", ErrorCode::InvalidJson, None, &["trailing characters"]);
    refused(br#"{"text": "\ud800"}"#, ErrorCode::InvalidJson, None, &["line 1"]);
    refused(b"{\"text\": \"a\0b\"}", ErrorCode::InvalidJson, None, &["control character"]);
    refused(b"", ErrorCode::InvalidJson, None, &["empty"]);
    refused(b" \n", ErrorCode::InvalidJson, None, &["empty"]);
}

#[test]
fn numbers_that_are_none_are_named() {
    for literal in ["NaN", "Infinity", "-Infinity", "nan"] {
        let body = format!(r#"{{"source": "news", "text": "a", "price": {literal}}}"#);
        refused(body.as_bytes(), ErrorCode::InvalidJson, None, &["NaN and Infinity are not JSON"]);
    }
    refused(br#"{"source": "news", "text": "a", "price": 1e999}"#, ErrorCode::InvalidJson, None, &["out of range"]);
}

#[test]
fn other_json_than_an_object_is_a_wrong_type() {
    for (body, got) in [("[1]", "array"), ("\"a\"", "string"), ("1", "number"), ("null", "null"), ("true", "boolean")] {
        refused(body.as_bytes(), ErrorCode::WrongType, None, &["JSON object", got]);
    }
}

#[test]
fn wrong_types_name_field_need_and_got() {
    for field in ["id", "source", "url", "title", "text", "author", "published_at", "lang"] {
        refused_value(&with(field, 1), ErrorCode::WrongType, field, &[field, "a string", "a number"]);
    }
    refused_value(&with("symbols", "AAPL"), ErrorCode::WrongType, "symbols", &["an array of strings", "a string"]);
    refused_value(&with("symbols", json!(["A", 1])), ErrorCode::WrongType, "symbols[1]", &["a string", "a number"]);
    refused_value(&with("metadata", json!([])), ErrorCode::WrongType, "metadata", &["an object", "an array"]);
    refused_value(&with("lang", "not a tag"), ErrorCode::WrongType, "lang", &["BCP 47"]);
}

#[test]
fn missing_fields_are_named() {
    refused(br#"{"text": "a"}"#, ErrorCode::MissingField, Some("source"), &["source is missing"]);
    refused(br#"{"source": "news"}"#, ErrorCode::MissingField, Some("text"), &["text is missing"]);
}

#[test]
fn text_must_be_visible() {
    for text in ["", " \n\t", "\u{200b}\u{202e}", "&nbsp; &#8203;", "\u{0}"] {
        refused_value(&with("text", text), ErrorCode::EmptyText, "text", &["text"]);
    }
}

#[test]
fn sizes_are_bounded() {
    let limits = DocumentsConfig::default();
    let most = with("text", "a".repeat(limits.max_text_bytes));
    assert!(decoded_value(&most).is_ok());
    let over = with("text", "a".repeat(limits.max_text_bytes + 1));
    refused_value(&over, ErrorCode::TooLarge, "text", &["1048577", "1048576"]);
    refused(&vec![b'['; 10 * 1024 * 1024], ErrorCode::TooLarge, None, &["10485760", "2097152"]);
    refused_value(&with("title", "a".repeat(9000)), ErrorCode::TooLarge, "title", &["9000"]);
}

#[test]
fn source_is_a_lower_case_name() {
    for source in ["", "News", "my feed", "1st", "feed\u{202e}", "a/b", "-a"] {
        refused_value(&with("source", source), ErrorCode::InvalidSource, "source", &["lower-case name"]);
    }
    refused_value(&with("source", "a".repeat(65)), ErrorCode::InvalidSource, "source", &["…"]);
    assert!(decoded_value(&with("source", "my-own_feed2")).is_ok());
}

#[test]
fn id_is_visible_and_short() {
    refused_value(&with("id", ""), ErrorCode::InvalidId, "id", &["empty"]);
    refused_value(&with("id", "  "), ErrorCode::InvalidId, "id", &["empty"]);
    refused_value(&with("id", "x".repeat(10_240)), ErrorCode::InvalidId, "id", &["10240", "512"]);
    refused_value(&with("id", "a\nb"), ErrorCode::InvalidId, "id", &["U+000A"]);
    refused_value(&with("id", "a\u{202e}b"), ErrorCode::InvalidId, "id", &["U+202E"]);
}

#[test]
fn time_is_rfc_3339_and_not_in_the_far_future() {
    for time in ["yesterday", "2026-01-31", "2026-01-31T09:30:00", "1769850000", "2026-13-01T00:00:00Z", ""] {
        refused_value(&with("published_at", time), ErrorCode::InvalidTime, "published_at", &["RFC 3339"]);
    }
    refused_value(&with("published_at", "2026-02-01T12:00:01Z"), ErrorCode::InvalidTime, "published_at", &["future"]);
    refused_value(&with("published_at", "9999-12-31T23:59:59Z"), ErrorCode::InvalidTime, "published_at", &["future"]);
    assert!(decoded_value(&with("published_at", "2026-02-01T12:00:00Z")).is_ok());
}

#[test]
fn symbols_are_bounded() {
    let many: Vec<String> = (0..100_000).map(|index| format!("S{index}")).collect();
    refused_value(&with("symbols", many), ErrorCode::TooManySymbols, "symbols", &["100000", "256"]);
    let long = json!(["A", "B".repeat(33)]);
    refused_value(&with("symbols", long), ErrorCode::TooManySymbols, "symbols[1]", &["33", "32"]);
}

#[test]
fn nesting_is_bounded_before_parsing() {
    let nested =
        |levels: usize| format!(r#"{{"source":"news","text":"a","m":{}1{}}}"#, "[".repeat(levels), "]".repeat(levels));
    assert!(decoded(nested(31).as_bytes()).is_ok());
    refused(nested(32).as_bytes(), ErrorCode::TooDeep, None, &["32 levels", "byte"]);
    refused(nested(500_000).as_bytes(), ErrorCode::TooDeep, None, &["32 levels"]);
    let brackets_in_text = with("text", "[".repeat(100) + "\\\"[[[");
    assert!(decoded_value(&brackets_in_text).is_ok());
}

#[test]
fn url_is_http_or_https() {
    for url in ["ftp://e.com", "javascript:alert(1)", "e.com/a", "/a", "http:/e.com", "https://a b", "data:text/html,x"]
    {
        refused_value(&with("url", url), ErrorCode::InvalidUrl, "url", &["url"]);
    }
    for url in ["http://", "https:///a", "http://:80/", "http://user@/x", "http://?q"] {
        refused_value(&with("url", url), ErrorCode::InvalidUrl, "url", &["no host"]);
    }
    let long = format!("https://e.com/{}", "a".repeat(2048));
    refused_value(&with("url", long), ErrorCode::InvalidUrl, "url", &["2062", "2048"]);
    assert!(decoded_value(&with("url", "HTTPS://u@example.com:8443/a?b#c")).is_ok());
}

#[test]
fn last_of_repeated_names_counts() {
    let document = decoded(br#"{"source": "news", "text": "one", "text": "two"}"#).unwrap();
    assert_eq!(document.text, "two");
}

#[test]
fn byte_order_mark_is_skipped() {
    assert!(decoded("\u{feff}{\"source\": \"news\", \"text\": \"a\"}".as_bytes()).is_ok());
}

#[test]
fn hostile_values_are_shown_escaped_and_short() {
    let rejection = decoded_value(&with("source", "\u{1b}[31m\u{202e}".to_owned() + &"x".repeat(5000))).unwrap_err();
    assert!(rejection.message.chars().all(|character| !character.is_control() && character != '\u{202e}'));
    assert!(rejection.message.len() < 400);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decoded(&bytes);
    }

    #[test]
    fn any_text_is_kept_clean_or_refused_as_empty(text in any::<String>()) {
        match decoded_value(&with("text", text)) {
            Ok(document) => prop_assert!(!document.text.is_empty() && !document.text.contains(char::is_control)),
            Err(rejection) => prop_assert_eq!(rejection.code, ErrorCode::EmptyText),
        }
    }

    #[test]
    fn decoded_documents_survive_their_own_json(text in "[a-zé ]{1,40}x", extra in "[a-z]{1,8}") {
        let document = decoded_value(&with("text", text)).unwrap();
        let again: Document = serde_json::from_str(&serde_json::to_string(&document).unwrap()).unwrap();
        prop_assert_eq!(again, document);
        let unknown = format!("x{extra}");
        let kept = decoded_value(&with(&unknown, 1)).unwrap().metadata;
        prop_assert_eq!(kept.get(&unknown), Some(&json!(1)));
    }
}

/// Lines of the bundled feed that are wrong on purpose.
const SAMPLE_BAD: usize = 20;

#[test]
fn bundled_feed_has_good_bad_and_repeated_lines() {
    use tidemill::config::dedup::DedupConfig;
    use tidemill::messages::pipeline::{DuplicateRule, Sighting};
    use tidemill::messages::record::Position;
    use tidemill::text::fingerprint::fingerprint;
    use tidemill::text::near_duplicates::DuplicateMemory;

    let feed = include_str!("../assets/sample_feed.ndjson");
    let mut memory = DuplicateMemory::new(&DedupConfig::default());
    let (mut fresh, mut same, mut exact, mut near, mut codes) = (0, 0, 0, 0, Vec::new());
    for (offset, line) in (0..).zip(feed.lines()) {
        match decoded(line.as_bytes()) {
            Err(rejection) => codes.push(rejection.code),
            Ok(document) => {
                let prints = fingerprint(document.title.as_deref(), &document.text);
                let origin = Position { topic: "documents".into(), partition: 0, offset };
                match memory.sight(&document.id, &prints, &origin, 0) {
                    Sighting::Fresh => fresh += 1,
                    Sighting::Same => same += 1,
                    Sighting::Copy(copy) if copy.rule == DuplicateRule::Exact => exact += 1,
                    Sighting::Copy(_) => near += 1,
                }
            }
        }
    }
    assert_eq!(codes.len(), SAMPLE_BAD);
    codes.sort_unstable();
    codes.dedup();
    assert!(codes.len() >= 10, "{codes:?}");
    println!("fresh {fresh}, same {same}, exact {exact}, near {near}");
    assert!(fresh >= 140 && same == 3 && exact == 14 && near >= 8, "{fresh} {same} {exact} {near}");
}
