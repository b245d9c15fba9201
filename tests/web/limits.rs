//! Back-pressure: what is too much is refused at once, and nothing of it is kept.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream;
use serde_json::{Value, json};
use tidemill::config::http::HttpConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fakes::LogMood;
use super::server::{PATIENCE, Server, limits, refused};

fn one() -> Value {
    json!({ "source": "news", "text": "one" })
}

#[tokio::test]
async fn a_backlog_over_the_limit_refuses_before_reading() {
    let server = Server::start_with(HttpConfig { max_backlog_records: 100, ..limits() }, None, false).await;
    server.operations.backlog.store(100, Ordering::SeqCst);
    let answer = server.post("/v1/documents", &one()).await;
    assert_eq!(answer.refusal(), refused(429, "TM0016"));
    assert_eq!(answer.header("retry-after"), "2");
    assert!(server.log.records.lock().is_empty());
    server.operations.backlog.store(99, Ordering::SeqCst);
    assert_eq!(server.post("/v1/documents", &one()).await.status, 202);
}

#[tokio::test]
async fn the_logs_refusals_become_status_and_retry_after() {
    let server = Server::start().await;
    for (mood, status, code) in
        [(LogMood::Full, 429, "TM0016"), (LogMood::Away, 503, "TM0017"), (LogMood::Silent, 503, "TM0017")]
    {
        *server.log.mood.lock() = mood;
        let answer = server.post("/v1/documents", &json!([one(), {}])).await;
        assert_eq!(answer.refusal(), refused(status, code), "{mood:?}");
        assert_eq!(answer.header("retry-after"), "2");
        let codes: Vec<_> =
            answer.json()["rejected"].as_array().unwrap().iter().map(|item| item["code"].clone()).collect();
        assert_eq!(codes, [json!(code), json!("TM0003")]);
    }
}

#[tokio::test]
async fn too_many_documents_are_refused_whole() {
    let server = Server::start_with(HttpConfig { max_batch: 3, ..limits() }, None, false).await;
    let answer = server.post("/v1/documents", &json!([one(), one(), one(), one()])).await;
    assert_eq!(answer.refusal(), refused(413, "TM0024"));
    assert!(server.log.records.lock().is_empty());
}

#[tokio::test]
async fn all_bodies_together_stay_within_the_byte_budget() {
    let http = HttpConfig {
        max_body_bytes: 1024 * 1024,
        max_inflight_body_bytes: 1024 * 1024,
        body_timeout_seconds: 20,
        ..limits()
    };
    let server = Server::start_with(http, None, false).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let body = reqwest::Body::wrap_stream(stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|piece| (piece, receiver))
    }));
    let slow = server.client.post(server.url("/v1/documents")).header("content-type", "application/json").body(body);
    let slow = tokio::spawn(slow.send());
    sender.send(Ok(vec![b' '; 900 * 1024])).await.unwrap();

    // The probes announce a body without sending it, so that they never hold any of the budget themselves.
    let probe =
        "POST /v1/documents HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 300000\r\n\r\n";
    let refused_probe = tokio::time::timeout(PATIENCE, async {
        loop {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.write_all(probe.as_bytes()).await.unwrap();
            let mut start = [0; 12];
            stream.read_exact(&mut start).await.unwrap();
            if &start == b"HTTP/1.1 429" {
                return;
            }
            assert_eq!(&start, b"HTTP/1.1 100");
        }
    });
    refused_probe.await.expect("the budget should be spent");
    let large = json!({ "source": "news", "text": "x".repeat(300 * 1024) });
    assert_eq!(server.post("/v1/documents", &large).await.refusal(), refused(429, "TM0016"));
    assert_eq!(server.post("/v1/documents", &one()).await.status, 202);

    sender.send(Ok(one().to_string().into_bytes())).await.unwrap();
    drop(sender);
    assert_eq!(slow.await.unwrap().unwrap().status(), 202);
    assert_eq!(server.post("/v1/documents", &large).await.status, 202, "the budget came back");
}

#[tokio::test]
async fn requests_over_the_limit_are_refused_while_others_work() {
    let server = Server::start_with(
        HttpConfig { max_inflight_requests: 1, append_timeout_seconds: 20, ..limits() },
        None,
        false,
    )
    .await;
    *server.log.mood.lock() = LogMood::Silent;
    let stuck = tokio::spawn(server.client.post(server.url("/v1/documents")).json(&one()).send());
    tokio::time::timeout(PATIENCE, async {
        while server.log.calls.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let answer = server.post("/v1/documents", &one()).await;
    assert_eq!(answer.refusal(), refused(429, "TM0016"));
    assert_eq!(server.get("/health/live").await.status, 200, "health answers even then");
    stuck.abort();
}

#[tokio::test]
async fn connections_over_the_limit_are_told_and_closed() {
    let server =
        Server::start_with(HttpConfig { max_connections: 1, header_timeout_seconds: 30, ..limits() }, None, false)
            .await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    first.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    let refusal = server.raw(b"").await;
    assert!(refusal.starts_with("HTTP/1.1 503") && refusal.contains("TM0016"), "{refusal:?}");
}

#[tokio::test]
async fn a_connection_ends_after_its_share_of_requests() {
    let server = Server::start_with(HttpConfig { max_requests_per_connection: 2, ..limits() }, None, false).await;
    let request = "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let answers = server.raw(request.repeat(3).as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
    assert!(answers.contains("connection: close"));
}

#[tokio::test]
async fn the_stop_lets_open_requests_end_and_refuses_new_ones() {
    let server = Server::start().await;
    *server.log.mood.lock() = LogMood::Silent;
    let open = tokio::spawn(server.client.post(server.url("/v1/documents")).json(&one()).send());
    tokio::time::timeout(PATIENCE, async {
        while server.log.calls.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    server.stopping.cancel();
    let answer = open.await.unwrap();
    // The log's deadline and the drain's are one second here: either the answer or the cut is right, waiting is not.
    if let Ok(answer) = answer {
        assert_eq!(answer.status(), 503);
    }
    tokio::time::timeout(Duration::from_secs(10), server.task).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}
