//! Whatever comes in, the answer has code and field, and the next request is served.

use std::time::Duration;

use futures_util::stream;
use serde_json::json;

use super::server::{Answer, Server, refused};

const PATH: &str = "/v1/documents";
const JSON: &str = "application/json";

/// The server still does its work.
async fn assert_alive(server: &Server) {
    let answer = server.post(PATH, &json!({ "source": "news", "text": "fine" })).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

#[tokio::test]
async fn malformed_bodies_are_refused_with_their_code() {
    let server = Server::start().await;
    let deep =
        format!("{{\"source\":\"news\",\"text\":\"x\",\"metadata\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let cases: [(&[u8], &str); 10] = [
        (b"", "TM0002"),
        (b"   ", "TM0002"),
        (b"{", "TM0002"),
        (b"[{\"source\":\"news\",\"text\":\"x\"},", "TM0002"),
        (b"[]", "TM0002"),
        (b"\xff\xfe{}", "TM0001"),
        (b"[\"\xc3\x28\"]", "TM0001"),
        (b"{\"source\":\"news\"}", "TM0003"),
        (b"{\"source\":\"news\",\"text\":7}", "TM0004"),
        (deep.as_bytes(), "TM0011"),
    ];
    for (body, code) in cases {
        let answer = server.post_bytes(PATH, JSON, body.to_vec()).await;
        assert_eq!(
            answer.refusal(),
            refused(400, code),
            "body {:?}",
            String::from_utf8_lossy(&body[..body.len().min(60)])
        );
    }
    assert_alive(&server).await;
}

#[tokio::test]
async fn ten_mebibytes_are_refused_whether_announced_or_not() {
    let server = Server::start().await;
    let body = vec![b' '; 10 * 1024 * 1024];
    let announced = server.post_bytes(PATH, JSON, body.clone()).await;
    assert_eq!(announced.refusal(), refused(413, "TM0006"));
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> = body.chunks(64 * 1024).map(|piece| Ok(piece.to_vec())).collect();
    let streamed = server.post_bytes(PATH, JSON, reqwest::Body::wrap_stream(stream::iter(pieces))).await;
    assert_eq!(streamed.refusal(), refused(413, "TM0006"));
    assert_alive(&server).await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_at_the_deadline() {
    let server = Server::start().await;
    let drip = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Some((Ok::<_, std::io::Error>(b" ".to_vec()), ()))
    });
    let answer = server.post_bytes(PATH, JSON, reqwest::Body::wrap_stream(drip)).await;
    assert_eq!(answer.refusal(), refused(408, "TM0018"));
    assert_alive(&server).await;
}

#[tokio::test]
async fn other_content_types_and_encodings_are_refused() {
    let server = Server::start().await;
    for content_type in ["text/plain", "multipart/form-data", "application/json; charset=utf-16", "nonsense"] {
        let answer = server.post_bytes(PATH, content_type, "{}").await;
        assert_eq!(answer.refusal(), refused(415, "TM0030"), "{content_type}");
    }
    let form = server.client.post(server.url(PATH)).header("content-type", "application/x-www-form-urlencoded");
    let browser = form.header("sec-fetch-site", "same-origin").body("{}");
    assert_eq!(Answer::of(browser).await.refusal(), refused(415, "TM0030"), "a form sent by a browser");
    let request = server.client.post(server.url(PATH)).header("content-encoding", "gzip").body("{}");
    assert_eq!(Answer::of(request).await.refusal(), refused(415, "TM0030"));
}

#[tokio::test]
async fn unknown_paths_and_methods_have_the_same_error_shape() {
    let server = Server::start().await;
    assert_eq!(server.get("/nothing/here").await.refusal(), refused(404, "TM0014"));
    let answer = server.delete("/v1/documents").await;
    assert_eq!(answer.refusal(), refused(405, "TM0023"));
    let allowed = answer.header("allow");
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    let odd = Answer::of(server.client.request("BREW".parse().unwrap(), server.url("/health"))).await;
    assert_eq!(odd.refusal(), refused(405, "TM0023"));
    assert_eq!(server.get("/v1/documents/%ff").await.refusal(), refused(400, "TM0013"));
    let long = format!("/v1/documents/{}", "x".repeat(10_000));
    assert_eq!(server.get(&long).await.refusal(), refused(400, "TM0008"));
}

#[tokio::test]
async fn a_crash_while_checking_costs_one_request() {
    let server = Server::start().await;
    let answer = server.post(PATH, &json!({ "source": "news", "text": "panic" })).await;
    assert_eq!(answer.refusal(), refused(500, "TM0026"));
    let large = json!({ "source": "news", "text": "panic", "metadata": "x".repeat(100_000) });
    assert_eq!(server.post(PATH, &large).await.refusal(), refused(500, "TM0026"));
    assert_alive(&server).await;
}

#[tokio::test]
async fn garbage_on_the_wire_is_answered_and_closed() {
    let server = Server::start().await;
    let binary = server.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").await;
    assert!(binary.starts_with("HTTP/1.1 400"), "{binary:?}");
    let pipelined = server.raw(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n%%garbage%%\r\n\r\n").await;
    assert!(pipelined.starts_with("HTTP/1.1 200"), "{pipelined:?}");
    assert!(pipelined.contains("HTTP/1.1 400"), "{pipelined:?}");
    assert_alive(&server).await;
}

#[tokio::test]
async fn huge_and_slow_heads_are_cut() {
    let server = Server::start().await;
    let huge = format!("GET /health/live HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let answer = server.raw(huge.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer:?}");
    let many = "x: y\r\n".repeat(500);
    let answer = server.raw(format!("GET /health/live HTTP/1.1\r\n{many}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431") || answer.starts_with("HTTP/1.1 400"), "{answer:?}");
    // The head never ends: the server closes by itself, which `raw` waits for.
    server.raw(b"GET /health/live HTTP/1.1\r\nhost: loc").await;
    assert_alive(&server).await;
}

#[tokio::test]
async fn a_body_shorter_than_announced_is_no_document() {
    let server = Server::start().await;
    let text = "POST /v1/documents HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let answer = server.raw(text.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
    assert!(server.log.records.lock().is_empty());
}
