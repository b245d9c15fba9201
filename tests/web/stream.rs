//! Live events.

use serde_json::Value;
use tidemill::config::http::HttpConfig;
use tidemill::messages::event::EventKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::server::{PATIENCE, Server, limits, refused};

fn restarted(restarts: u64) -> EventKind {
    EventKind::ActorRestarted { actor: "embedder".to_owned(), reason: "panicked".to_owned(), restarts }
}

/// Reads server-sent events.
struct Reader {
    response: reqwest::Response,
    text: String,
}

impl Reader {
    async fn open(server: &Server, path: &str, after: Option<&str>) -> Self {
        let mut request = server.client.get(server.url(path));
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event's name and data; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let found = field("event:")
                    .map(|name| (name.to_owned(), serde_json::from_str(field("data:").unwrap()).unwrap()));
                let consumed = self.text.len() - rest.len();
                self.text.drain(..consumed);
                match found {
                    Some(found) => return Some(found),
                    None => continue,
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.unwrap().ok()??;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn next_of(&mut self, name: &str) -> Value {
        loop {
            let (found, data) = self.next().await.expect("the stream should go on");
            if found == name {
                return data;
            }
        }
    }
}

#[tokio::test]
async fn a_watcher_sees_events_and_snapshots() {
    let server = Server::start().await;
    let mut reader = Reader::open(&server, "/v1/stream", None).await;
    let (first, snapshot) = reader.next().await.unwrap();
    assert_eq!(first, "metrics");
    assert_eq!(snapshot["snapshot"]["actors"]["actors"][0]["name"], "embedder");
    server.events.publish(restarted(1));
    let event = reader.next_of("actor_restarted").await;
    assert_eq!((&event["actor"], &event["sequence"]), (&Value::from("embedder"), &Value::from(1)));
    reader.next_of("metrics").await;
}

#[tokio::test]
async fn a_watcher_chooses_kinds() {
    let server = Server::start().await;
    let mut reader = Reader::open(&server, "/v1/stream?types=actor_restarted", None).await;
    server.events.publish(EventKind::ConfigReloaded { outcome: "applied".to_owned() });
    server.events.publish(restarted(1));
    assert_eq!(reader.next().await.unwrap().0, "actor_restarted");
    assert_eq!(server.get("/v1/stream?types=everything").await.refusal(), refused(400, "TM0013"));
}

#[tokio::test]
async fn a_watcher_resumes_where_it_was() {
    let server = Server::start().await;
    (1..=3).for_each(|number| server.events.publish(restarted(number)));
    let mut reader = Reader::open(&server, "/v1/stream?types=actor_restarted", Some("1")).await;
    assert_eq!(reader.next().await.unwrap().1["restarts"], 2);
    assert_eq!(reader.next().await.unwrap().1["restarts"], 3);
}

#[tokio::test]
async fn watchers_over_the_limit_are_refused_and_places_come_back() {
    let server = Server::start_with(HttpConfig { stream_clients: 1, ..limits() }, None, false).await;
    let mut reader = Reader::open(&server, "/v1/stream", None).await;
    reader.next().await.unwrap();
    assert_eq!(server.get("/v1/stream").await.refusal(), refused(429, "TM0016"));
    drop(reader);
    let freed = tokio::time::timeout(PATIENCE, async {
        loop {
            let response = server.client.get(server.url("/v1/stream")).send().await.unwrap();
            if response.status() == 200 {
                return;
            }
        }
    });
    freed.await.unwrap();
}

#[tokio::test]
async fn a_watcher_that_reads_nothing_is_cut_and_its_place_freed() {
    let server =
        Server::start_with(HttpConfig { stream_clients: 1, write_timeout_seconds: 1, ..limits() }, None, false).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    silent.write_all(b"GET /v1/stream HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    silent.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    // More than the socket's buffers hold, so that the server's writes stand still.
    let flood = tokio::time::timeout(PATIENCE, async {
        loop {
            let reason = "x".repeat(100_000);
            server.events.publish(EventKind::ActorRestarted { actor: "embedder".to_owned(), reason, restarts: 1 });
            let response = server.client.get(server.url("/v1/stream")).send().await.unwrap();
            if response.status() == 200 {
                return;
            }
        }
    });
    flood.await.expect("the silent watcher should lose its place");
    drop(silent);
}

#[tokio::test]
async fn streams_end_when_the_daemon_stops() {
    let server = Server::start().await;
    let mut reader = Reader::open(&server, "/v1/stream", None).await;
    reader.next().await.unwrap();
    server.stopping.cancel();
    while reader.next().await.is_some() {}
    tokio::time::timeout(PATIENCE, server.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_watcher_that_falls_behind_is_told_and_dropped() {
    let server = Server::start().await;
    let mut reader = Reader::open(&server, "/v1/stream", None).await;
    reader.next().await.unwrap();
    // Nothing is awaited here, so that the server can't send meanwhile.
    (1..=10_000).for_each(|number| server.events.publish(restarted(number)));
    assert!(reader.next_of("dropped").await["missed"].as_u64().unwrap() > 0);
    assert_eq!(reader.next().await, None);
}
