//! Who may come in.

use serde_json::{Value, json};
use tidemill::config::http::HttpConfig;

use super::server::{Answer, Server, limits, refused};

const TOKEN: &str = "0123456789abcdef";

fn one() -> Value {
    json!({ "source": "news", "text": "one" })
}

#[tokio::test]
async fn writes_need_the_token_and_reads_do_not() {
    let server = Server::start_with(limits(), Some(TOKEN), true).await;
    let answer = server.post("/v1/documents", &one()).await;
    assert_eq!(answer.refusal(), refused(401, "TM0015"));
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    for wrong in
        ["Bearer", "Bearer ", "Bearer 0123456789abcdeF", "Bearer 0123456789abcdef0", "Basic 0123456789abcdef", TOKEN]
    {
        let request = server.client.post(server.url("/v1/documents")).header("authorization", wrong).json(&one());
        assert_eq!(Answer::of(request).await.refusal(), refused(401, "TM0015"), "{wrong}");
    }
    let right = server.client.post(server.url("/v1/documents")).bearer_auth(TOKEN).json(&one());
    assert_eq!(Answer::of(right).await.status, 202);
    let lower = server.client.post(server.url("/v1/documents")).header("authorization", format!("bearer {TOKEN}"));
    assert_eq!(Answer::of(lower.json(&one())).await.status, 202);
    assert_eq!(server.get("/v1/documents").await.status, 200);
}

#[tokio::test]
async fn every_write_is_guarded() {
    let server = Server::start_with(limits(), Some(TOKEN), true).await;
    let writes = tidemill::web::listed(true).into_iter().filter(|listed| listed.method != "GET");
    for listed in writes {
        let path = listed.path.replace("{id}", "x").replace("{name}", "embedder");
        let answer = Answer::of(server.client.request(listed.method.parse().unwrap(), server.url(&path))).await;
        assert_eq!(answer.refusal(), refused(401, "TM0015"), "{} {path}", listed.method);
    }
}

#[tokio::test]
async fn pages_of_other_sites_can_not_write() {
    let server = Server::start().await;
    let own = format!("http://{}", server.address);
    for (header, value, status) in [
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "same-origin", 202),
        ("origin", own.as_str(), 202),
    ] {
        let answer =
            Answer::of(server.client.post(server.url("/v1/documents")).header(header, value).json(&one())).await;
        assert_eq!(answer.status, status, "{header}: {value}");
        if status == 403 {
            assert_eq!(answer.error_code(), "TM0029");
        }
    }
}

#[tokio::test]
async fn a_rebound_name_reaches_nothing_on_loopback() {
    let server =
        Server::start_with(HttpConfig { allowed_hosts: vec!["mill.example".to_owned()], ..limits() }, None, false)
            .await;
    for (host, status) in [
        ("evil.example", 403),
        ("127.0.0.1.evil.example:80", 403),
        ("localhost:1", 200),
        ("[::1]:1", 200),
        ("MILL.example", 200),
    ] {
        let answer = Answer::of(server.client.get(server.url("/v1/documents")).header("host", host)).await;
        assert_eq!(answer.status, status, "{host}");
    }
    let rebound = server.client.post(server.url("/v1/documents")).header("host", "evil.example");
    let answer = Answer::of(rebound.header("origin", "http://evil.example").json(&one())).await;
    assert_eq!(answer.refusal(), refused(403, "TM0029"));
}

#[tokio::test]
async fn beyond_loopback_names_are_free_and_the_token_guards() {
    let http = HttpConfig { listen: "0.0.0.0:0".to_owned(), ..limits() };
    let server = Server::start_with(http, Some(TOKEN), false).await;
    let read = server.client.get(server.url("/v1/documents")).header("host", "mill.internal:8080");
    assert_eq!(Answer::of(read).await.status, 200);
    let write = || server.client.post(server.url("/v1/documents")).header("host", "mill.internal:8080").json(&one());
    assert_eq!(Answer::of(write()).await.refusal(), refused(401, "TM0015"));
    assert_eq!(Answer::of(write().bearer_auth(TOKEN)).await.status, 202);
}

#[tokio::test]
async fn writes_are_refused_while_the_daemon_stops() {
    let server = Server::start().await;
    server.operations.stopping.store(true, std::sync::atomic::Ordering::SeqCst);
    let answer = server.post("/v1/documents", &one()).await;
    assert_eq!(answer.refusal(), refused(503, "TM0017"));
    assert_eq!(server.get("/health").await.json()["status"], "stopping");
    assert!(server.log.records.lock().is_empty());
}
