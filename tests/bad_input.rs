//! Bad input of every kind: an answer that names code, field and index, or a dead letter byte for byte; the stream goes on.
#![expect(clippy::unwrap_used, missing_docs, reason = "tests")]

#[path = "support/daemon.rs"]
mod daemon;

use std::time::Duration;

use daemon::Daemon;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};

fn nested(depth: usize) -> String {
    format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
}

/// Raw documents with the code each must be refused with.
fn bad_documents() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let document = |field: &str, value: Value| {
        let mut document = json!({"source": "news", "text": "a text that is fine"});
        document[field] = value;
        document.to_string().into_bytes()
    };
    vec![
        ("not JSON", b"{\"source\": \"news\", ".to_vec(), "TM0002"),
        ("NaN", b"{\"source\": \"news\", \"text\": NaN}".to_vec(), "TM0002"),
        ("not UTF-8", b"{\"source\": \"news\", \"text\": \"\xff\xfe\"}".to_vec(), "TM0001"),
        ("no text", b"{\"source\": \"news\"}".to_vec(), "TM0003"),
        ("no source", b"{\"text\": \"a text\"}".to_vec(), "TM0003"),
        ("number as text", document("text", json!(-1.5)), "TM0004"),
        ("object as symbols", document("symbols", json!({})), "TM0004"),
        ("blank text", document("text", json!(" \u{200b}\u{202e}\t ")), "TM0005"),
        ("upper-case source", document("source", json!("News Desk!")), "TM0007"),
        ("id of 10 kB", document("id", json!("x".repeat(10_000))), "TM0008"),
        ("control characters in the id", document("id", json!("a\u{0}b")), "TM0008"),
        ("far future", document("published_at", json!("2999-01-01T00:00:00Z")), "TM0009"),
        ("no time", document("published_at", json!("yesterday")), "TM0009"),
        ("100,000 symbols", document("symbols", json!(vec!["ABC"; 100_000])), "TM0010"),
        ("file URL", document("url", json!("file:///etc/passwd")), "TM0012"),
        (
            "deeply nested metadata",
            format!("{{\"source\":\"news\",\"text\":\"a text\",\"metadata\":{{\"a\":{}}}}}", nested(20_000))
                .into_bytes(),
            "TM0011",
        ),
    ]
}

#[tokio::test]
async fn http_names_code_field_and_index_and_keeps_the_good_ones() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path(), &["encoder.kind=hashing"]).await;
    for (what, body, code) in bad_documents() {
        let (status, answer) = daemon.post_bytes("/v1/documents", body).await;
        assert_eq!(status, 400, "{what}: {answer}");
        assert!(answer.to_string().contains(code), "{what} is refused with {code}: {answer}");
    }
    let mixed = json!([
        {"id": "good", "source": "news", "text": "the good document of this batch"},
        {"source": "news", "text": ""},
        {"source": "news", "text": 7},
    ]);
    let (status, answer) = daemon.post("/v1/documents", &mixed).await;
    assert_eq!(status, 202, "{answer}");
    assert_eq!(answer["accepted"][0]["id"], "good");
    let rejected: Vec<_> = answer["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["index"].as_u64().unwrap(), item["code"].as_str().unwrap()))
        .collect();
    assert_eq!(rejected, [(1, "TM0005"), (2, "TM0004")]);
    let (status, answer) = daemon.post_bytes("/v1/documents", vec![b' '; 40 << 20]).await;
    assert!(status == 413 || status == 400, "a huge body is refused: {status} {answer}");
    daemon.wait_for("/v1/documents/good", "the good one", |value| value["analysis"].is_object()).await;
    assert_eq!(daemon.all("/v1/documents").await.len(), 1, "nothing bad got in");
}

#[tokio::test]
async fn bad_records_are_dead_letters_byte_for_byte_and_the_stream_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path(), &["encoder.kind=hashing"]).await;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &daemon.kafka)
        .set("message.max.bytes", "20000000")
        .create()
        .unwrap();
    let deadline = Duration::from_secs(10);
    let mut bad = bad_documents();
    bad.push(("a 10 MiB record", vec![b'x'; 10 << 20], "TM0006"));
    for (_, body, _) in &bad {
        producer.send(FutureRecord::<(), _>::to("documents").payload(body), deadline).await.unwrap();
    }
    let good = json!({"id": "good", "source": "news", "text": "the good record after the bad ones"}).to_string();
    producer.send(FutureRecord::<(), _>::to("documents").payload(&good), deadline).await.unwrap();

    daemon.wait_for("/v1/documents/good", "the stream to go on", |value| value["analysis"].is_object()).await;
    let letters = daemon
        .wait_for("/v1/dead-letters?limit=100", "all dead letters", |value| {
            value["items"].as_array().is_some_and(|items| items.len() == bad.len())
        })
        .await;
    for letter in letters["items"].as_array().unwrap() {
        let offset = usize::try_from(letter["offset"].as_u64().unwrap()).unwrap();
        let (what, body, code) = &bad[offset];
        assert_eq!(letter["code"], *code, "{what}: {letter}");
        let (_, shown) = daemon.get(&format!("/v1/dead-letters/{}", letter["id"].as_str().unwrap())).await;
        assert_eq!(decode_base64(shown["value_base64"].as_str().unwrap()), *body, "{what} is kept byte for byte");
    }
}

fn decode_base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    for chunk in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = chunk.iter().fold(0u32, |bits, byte| (bits << 6) | u32::from(value(*byte)));
        let bits = bits << (6 * (4 - chunk.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    bytes
}
