//! Documents in.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tidemill::messages::record::NewRecord;

use super::fakes::LogMood;
use super::server::{Answer, Server, refused};

fn header<'a>(record: &'a NewRecord, name: &str) -> Option<&'a str> {
    record.headers.iter().find(|(key, _)| key == name).map(|(_, value)| std::str::from_utf8(value).unwrap())
}

#[tokio::test]
async fn one_document_is_acknowledged_with_its_own_bytes() {
    let server = Server::start().await;
    let body = "{ \"source\":\"news\",  \"text\":\"Grüße\", \"id\":\"a-1\" }";
    let request = server.client.post(server.url("/v1/documents")).header("content-type", "application/json");
    let request = request.header("correlation-id", "mine").header("traceparent", "00-ab-cd-01").body(body);
    let answer = Answer::of(request).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.header("correlation-id"), "mine");
    let expected = json!({ "accepted": [{ "index": 0, "id": "a-1", "correlation_id": "mine" }], "rejected": [] });
    assert_eq!(answer.json(), expected);

    let records = server.log.records.lock();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].value, body.as_bytes());
    assert_eq!(records[0].key.as_deref(), Some(b"a-1".as_slice()));
    assert_eq!(&*records[0].topic, "documents");
    assert_eq!(header(&records[0], "correlation-id"), Some("mine"));
    assert_eq!(header(&records[0], "traceparent"), Some("00-ab-cd-01"));
}

#[tokio::test]
async fn an_array_is_taken_in_one_append_and_each_item_gets_its_own_correlation_id() {
    let server = Server::start().await;
    let body =
        json!([{ "source": "news", "text": "one" }, { "source": "news" }, { "source": "news", "text": "three" }]);
    let request = server.client.post(server.url("/v1/documents")).header("correlation-id", "run").json(&body);
    let answer = Answer::of(request).await;
    assert_eq!(answer.status, 202);
    let expected = json!({
        "accepted": [
            { "index": 0, "id": "id-of-one", "correlation_id": "run-0" },
            { "index": 2, "id": "id-of-three", "correlation_id": "run-2" },
        ],
        "rejected": [{ "index": 1, "code": "TM0003", "field": "text", "message": "text is missing" }],
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(server.log.calls.load(Ordering::SeqCst), 1);
    let correlations: Vec<_> =
        server.log.records.lock().iter().map(|record| header(record, "correlation-id").unwrap().to_owned()).collect();
    assert_eq!(correlations, ["run-0", "run-2"]);
}

#[tokio::test]
async fn lines_are_judged_one_by_one() {
    let server = Server::start().await;
    let body = b"{\"source\":\"news\",\"text\":\"one\"}\n\n{oops\n\xff\xfe\n{\"source\":\"news\",\"text\":\"two\"}\r\n"
        .to_vec();
    let answer = server.post_bytes("/v1/documents", "application/x-ndjson", body).await;
    assert_eq!(answer.status, 202);
    let answer = answer.json();
    let codes: Vec<_> =
        answer["rejected"].as_array().unwrap().iter().map(|item| (&item["index"], &item["code"])).collect();
    assert_eq!(codes, [(&json!(1), &json!("TM0002")), (&json!(2), &json!("TM0001"))]);
    assert_eq!(answer["accepted"].as_array().unwrap().len(), 2);
    assert_eq!(server.log.records.lock()[1].value, b"{\"source\":\"news\",\"text\":\"two\"}".as_slice());
}

#[tokio::test]
async fn many_documents_go_to_the_log_in_bounded_calls() {
    let server = Server::start().await;
    let body: Vec<Value> =
        (0..1201).map(|number| json!({ "source": "news", "text": format!("number {number}") })).collect();
    let answer = server.post("/v1/documents", &json!(body)).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["accepted"].as_array().unwrap().len(), 1201);
    assert_eq!(server.log.calls.load(Ordering::SeqCst), 3);
    assert_eq!(server.log.records.lock().len(), 1201);
}

#[tokio::test]
async fn what_the_log_did_not_acknowledge_is_rejected_by_index() {
    let server = Server::start().await;
    *server.log.mood.lock() = LogMood::AwayAfter(1);
    let body: Vec<Value> =
        (0..600).map(|number| json!({ "source": "news", "text": format!("number {number}") })).collect();
    let answer = server.post("/v1/documents", &json!(body)).await;
    assert_eq!(answer.status, 202);
    let answer = answer.json();
    assert_eq!(answer["accepted"].as_array().unwrap().len(), 500);
    let rejected = answer["rejected"].as_array().unwrap();
    assert_eq!(rejected.len(), 100);
    assert_eq!((&rejected[0]["index"], &rejected[0]["code"]), (&json!(500), &json!("TM0017")));
    assert_eq!(server.log.records.lock().len(), 500);
}

#[tokio::test]
async fn when_all_are_invalid_the_answer_is_an_error_with_the_same_lists() {
    let server = Server::start().await;
    let answer = server.post("/v1/documents", &json!([{ "source": "news", "text": " " }, { "text": 1 }])).await;
    assert_eq!(answer.refusal(), refused(400, "TM0005"));
    let body = answer.json();
    assert_eq!(body["accepted"], json!([]));
    assert_eq!(body["rejected"].as_array().unwrap().len(), 2);
    assert_eq!(body["error"]["field"], json!("text"));
    assert_eq!(server.log.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_answer_never_carries_a_foreign_or_broken_correlation_id() {
    let server = Server::start().await;
    for given in ["", "with space", &"x".repeat(200)] {
        let answer = Answer::of(server.client.get(server.url("/health/live")).header("correlation-id", given)).await;
        assert_ne!(answer.header("correlation-id"), given);
        assert!(!answer.header("correlation-id").is_empty());
    }
}
