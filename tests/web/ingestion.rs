//! Repositories over HTTP: submitting, the worker's state, history, files alike. No dispatcher runs, so jobs stay where
//! they are put.

use std::time::Duration;

use serde_json::{Value, json};
use tidemill::stores::graphs::{FileVector, Graph, GraphStore};
use tidemill::stores::jobs::{End, Lease};

use super::server::{Answer, Server, limits, refused};

const INGEST: &str = "/api/v1/ingestion/ingest";
const STATUS: &str = "/api/v1/ingestion/worker/status";
const HISTORY: &str = "/api/v1/ingestion/jobs/history";
const LEASE: Duration = Duration::from_secs(30);

async fn ingest(server: &Server, url: &str) -> Answer {
    server.post(INGEST, &json!({ "repo_url": url })).await
}

async fn claim(server: &Server) -> Lease {
    server.jobs.queue().claim("graph", "test", LEASE).await.unwrap().taken.unwrap().1
}

fn escaped(url: &str) -> String {
    url.replace('%', "%25").replace(':', "%3A").replace('/', "%2F").replace('?', "%3F")
}

#[tokio::test]
async fn submitted_repository_waits_in_line() {
    let server = Server::start().await;
    let first = ingest(&server, "https://example.com/a/one").await;
    assert_eq!(first.status, 202, "{first:?}");
    let first = first.json();
    assert_eq!(
        (&first["queue_position"], &first["queue_size"], &first["existing"]),
        (&json!(1), &json!(1), &json!(false))
    );
    let second = server.post(&format!("{INGEST}/{}", escaped("https://example.com/a/two.git/")), &json!({})).await;
    assert_eq!(second.status, 202, "{second:?}");
    let second = second.json();
    assert_eq!((&second["queue_position"], &second["queue_size"]), (&json!(2), &json!(2)));
    let job = server.get(&format!("/v1/jobs/{}", second["job_id"].as_str().unwrap())).await.json();
    assert_eq!((&job["kind"], &job["payload"]["repo_url"]), (&json!("graph"), &json!("https://example.com/a/two.git")));
    assert!(job["expires_at"].is_string(), "{job}");
}

#[tokio::test]
async fn same_repository_again_is_the_same_job() {
    let server = Server::start().await;
    ingest(&server, "https://example.com/a/one").await;
    let two = ingest(&server, "https://example.com/a/two").await.json();
    let again = ingest(&server, "HTTPS://EXAMPLE.com/a/two/").await.json();
    assert_eq!((&again["job_id"], &again["existing"]), (&two["job_id"], &json!(true)));
    assert_eq!((&again["queue_position"], &again["queue_size"]), (&json!(2), &json!(2)));
    claim(&server).await;
    claim(&server).await;
    let running = ingest(&server, "https://example.com/a/two").await.json();
    assert_eq!(
        (&running["job_id"], &running["queue_position"], &running["queue_size"]),
        (&two["job_id"], &json!(0), &json!(0))
    );
}

#[tokio::test]
async fn urgent_repository_goes_before_those_that_wait() {
    let server = Server::start().await;
    ingest(&server, "https://example.com/a/one").await;
    let urgent = json!({"kind": "graph", "payload": {"repo_url": "https://example.com/a/two"}, "priority": 9,
        "key": "https://example.com/a/two"});
    assert_eq!(server.post("/v1/jobs", &urgent).await.status, 202);
    let two = ingest(&server, "https://example.com/a/two").await.json();
    assert_eq!((&two["queue_position"], &two["queue_size"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn bad_urls_are_refused_in_both_forms() {
    let server = Server::start().await;
    for url in [
        "",
        "not a url",
        "example.com/a/b",
        "ftp://example.com/a/b",
        "http://example.com/a/b",
        "ssh://git@example.com/a/b",
        "git@example.com:a/b",
        "file:///etc",
        "/etc",
        "https://",
        "https://example.com",
        "https://user:secret@example.com/a/b",
        "https://token@example.com/a/b",
        "https://example.com/a/../../etc",
        "https://example.com/a/%2e%2e/b",
        "https://example.com/--upload-pack=touch%20x/b",
        "--upload-pack=touch x",
        "ext::sh -c id",
        "https://example.com/a/b?x=1",
        "https://localhost/a/b",
        "https://127.0.0.1/a/b",
        "https://10.1.2.3/a/b",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/a/b",
        "https://[::ffff:10.0.0.1]/a/b",
        "https://0x7f000001/a/b",
        "https://2130706433/a/b",
        "https://metadata.internal/a/b",
        "https://example.com/a/b\nhost: evil",
        "https://example.com\\@127.0.0.1/a",
    ] {
        let answer = ingest(&server, url).await;
        assert_eq!(answer.refusal(), refused(400, "TM0012"), "{url:?}: {answer:?}");
        assert_eq!(answer.json()["error"]["field"], "repo_url");
        if !url.is_empty() && !url.contains(['\n', ' ', '\\']) {
            let answer = server.post(&format!("{INGEST}/{}", escaped(url)), &json!({})).await;
            assert_eq!(answer.refusal(), refused(400, "TM0012"), "{url:?} in the path: {answer:?}");
        }
    }
    assert_eq!(
        ingest(&server, &format!("https://example.com/{}", "a".repeat(3000))).await.refusal(),
        refused(400, "TM0012")
    );
    assert_eq!(server.post(INGEST, &json!({})).await.refusal(), refused(400, "TM0003"));
    assert_eq!(server.post(INGEST, &json!({ "repo_url": 7 })).await.refusal(), refused(400, "TM0004"));
    assert_eq!(server.get("/v1/jobs?kind=graph").await.json()["items"], json!([]), "nothing was queued");
}

#[tokio::test]
async fn full_queue_is_429_with_retry_after() {
    let server = Server::start().await;
    for name in ["one", "two", "three"] {
        assert_eq!(ingest(&server, &format!("https://example.com/a/{name}")).await.status, 202);
    }
    let refusal = ingest(&server, "https://example.com/a/four").await;
    assert_eq!(refusal.refusal(), refused(429, "TM0016"));
    assert_eq!(refusal.header("retry-after"), "1");
    assert_eq!(ingest(&server, "https://example.com/a/two").await.status, 202, "what waits already takes no room");
    claim(&server).await;
    assert_eq!(ingest(&server, "https://example.com/a/four").await.status, 202, "one that runs does not wait");
}

#[tokio::test]
async fn submitting_needs_the_token() {
    let server = Server::start_with(limits(), Some("0123456789abcdef"), false).await;
    let body = json!({ "repo_url": "https://example.com/a/b" });
    assert_eq!(server.post(INGEST, &body).await.refusal(), refused(401, "TM0015"));
    let path = format!("{INGEST}/{}", escaped("https://example.com/a/b"));
    assert_eq!(server.post(&path, &json!({})).await.refusal(), refused(401, "TM0015"));
    for (token, status) in [("0123456789abcdeF", 401), ("0123456789abcdef", 202)] {
        let request = server.client.post(server.url(INGEST)).bearer_auth(token).json(&body);
        assert_eq!(Answer::of(request).await.status, status);
    }
    assert_eq!(server.get(STATUS).await.status, 200);
    assert_eq!(server.get(HISTORY).await.status, 200);
}

#[tokio::test]
async fn queue_that_does_not_answer_is_503() {
    let server = Server::start().await;
    let lock = server.lock_jobs();
    let refusal = ingest(&server, "https://example.com/a/b").await;
    assert_eq!(refusal.refusal(), refused(503, "TM0017"));
    assert!(!refusal.header("retry-after").is_empty());
    drop(lock);
}

#[tokio::test]
async fn worker_is_idle_then_trains_and_is_offline_while_it_stops() {
    let server = Server::start().await;
    let status = server.get(STATUS).await.json();
    assert_eq!((&status["status"], &status["pending"], &status["capacity"]), (&json!("Idle"), &json!(0), &json!(3)));
    ingest(&server, "https://example.com/a/one").await;
    ingest(&server, "https://example.com/a/two").await;
    assert_eq!(server.get(STATUS).await.json()["pending"], 2);
    let lease = claim(&server).await;
    let status = server.get(STATUS).await.json();
    assert_eq!(
        (&status["status"], &status["pending"]),
        (&json!("Training Graph on https://example.com/a/one"), &json!(1))
    );
    assert_eq!(status["running"][0]["job_id"], &*lease.id);
    server.jobs.queue().finish(lease, End::Succeeded(json!({}))).await.unwrap();
    assert_eq!(server.get(STATUS).await.json()["status"], "Idle");
    server.operations.stopping.store(true, std::sync::atomic::Ordering::SeqCst);
    let status = server.get(STATUS).await.json();
    assert_eq!(status["status"], "Offline");
    assert!(status["reason"].as_str().unwrap().contains("stopping"), "{status}");
}

#[tokio::test]
async fn history_shows_how_jobs_ended_with_all_metrics() {
    let server = Server::start().await;
    assert_eq!(server.get(HISTORY).await.json()["items"], json!([]));
    let ends = [
        ("one", End::Succeeded(json!({ "loss": 0.5, "files": 12 }))),
        ("two", End::Failed { error: "no such repository".to_owned(), retry: None }),
    ];
    for (name, end) in ends {
        ingest(&server, &format!("https://example.com/a/{name}")).await;
        let lease = claim(&server).await;
        server.jobs.queue().finish(lease, end).await.unwrap();
    }
    let called_off = ingest(&server, "https://example.com/a/three").await.json();
    server.delete(&format!("/v1/jobs/{}", called_off["job_id"].as_str().unwrap())).await;
    ingest(&server, "https://example.com/a/four").await;
    let items = server.get(HISTORY).await.json()["items"].clone();
    let shown: Vec<(&str, &str)> = items
        .as_array()
        .unwrap()
        .iter()
        .map(|job| (job["repo_url"].as_str().unwrap(), job["state"].as_str().unwrap()))
        .collect();
    let expected = [
        ("https://example.com/a/three", "cancelled"),
        ("https://example.com/a/two", "dead"),
        ("https://example.com/a/one", "succeeded"),
    ];
    assert_eq!(shown, expected, "newest first, and none that waits");
    assert_eq!(items[2]["metrics"], json!({ "loss": 0.5, "files": 12 }));
    assert!(items[2]["seconds"].as_f64().is_some(), "{items}");
    assert_eq!(items[1]["reason"], "no such repository");
    assert_eq!(items[1]["errors"].as_array().unwrap().len(), 1);
    let two = server.get(&format!("{HISTORY}?limit=2")).await.json();
    assert_eq!(two["items"].as_array().unwrap().len(), 2);
    for wrong in ["limit=0", "limit=101", "limit=x", "lim=1"] {
        assert_eq!(server.get(&format!("{HISTORY}?{wrong}")).await.refusal(), refused(400, "TM0013"), "{wrong}");
    }
}

#[tokio::test]
async fn stale_job_is_shown_as_skipped_with_the_reason() {
    let server = Server::start().await;
    let stale = json!({"kind": "graph", "payload": {"repo_url": "https://example.com/a/b"}, "ttl_seconds": 0.001});
    assert_eq!(server.post("/v1/jobs", &stale).await.status, 202);
    let looks = std::time::Instant::now();
    let skipped = loop {
        server.jobs.queue().sweep("graph").await.unwrap();
        let items = server.get(HISTORY).await.json()["items"].clone();
        if items[0].is_object() {
            break items[0].clone();
        }
        assert!(looks.elapsed() < super::server::PATIENCE, "it is never skipped");
    };
    assert_eq!(
        (&skipped["state"], &skipped["reason"]),
        (&json!("skipped"), &json!("not started within its time to live"))
    );
}

async fn learned(server: &Server, repo_url: &str, names: &[&str]) {
    let id = format!("graph of {repo_url}");
    let graph = Graph {
        id: id.as_str().into(),
        repo_url: repo_url.into(),
        commit: "abc".to_owned(),
        job_id: "j".to_owned(),
        correlation_id: "c".to_owned(),
        trained_at: "2026-02-03T04:05:06Z".parse().unwrap(),
        dimension: 2,
        files: names.len() as u64,
        connected_files: names.len() as u64,
        edges: 2,
        metrics: json!({ "loss": 0.5 }),
    };
    let file = |(index, name): (usize, &&str)| {
        #[expect(clippy::cast_precision_loss, reason = "few files")]
        let angle = index as f32 * 0.1;
        let vector = [angle.cos(), angle.sin()].into();
        FileVector { path: (*name).into(), language: "rust".into(), imports: 1, imported_by: 0, vector }
    };
    server.graphs.begin(graph).await.unwrap();
    server.graphs.add(&id, names.iter().enumerate().map(file).collect()).await.unwrap();
    server.graphs.publish(&id).await.unwrap();
}

#[tokio::test]
async fn similar_files_are_found_by_any_name_of_the_repository() {
    let server = Server::start().await;
    learned(&server, "https://example.com/a/b.git", &["src/lib.rs", "src/web/api.rs", "src/far.rs"]).await;
    learned(&server, "https://example.com/a/c", &["x.rs"]).await;
    for repo in ["https://example.com/a/b.git", "HTTPS://example.com/a/b.git/", "a/b", "b", "a/b.git"] {
        let path = format!("/v1/graphs/{}/similar?file=src/lib.rs&k=1", escaped(repo));
        let answer = server.get(&path).await;
        assert_eq!(answer.status, 200, "{repo}: {answer:?}");
        let answer = answer.json();
        assert_eq!((&answer["repo_url"], &answer["commit"]), (&json!("https://example.com/a/b.git"), &json!("abc")));
        assert_eq!(answer["results"].as_array().unwrap().len(), 1);
        assert_eq!(answer["results"][0]["file_path"], "src/web/api.rs");
        let similarity = answer["results"][0]["similarity"].as_f64().unwrap();
        assert!((similarity - 0.1_f64.cos()).abs() < 1e-6, "{similarity}");
    }
    let listed = server.get("/v1/graphs").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    assert_eq!(listed["items"][0]["metrics"]["loss"], 0.5);
}

#[tokio::test]
async fn senseless_questions_for_similar_files_are_refused() {
    let server = Server::start().await;
    learned(&server, "https://example.com/a/b", &["src/lib.rs", "src/api.rs"]).await;
    learned(&server, "https://example.org/a/b", &["src/lib.rs"]).await;
    for (path, status, code, field) in [
        ("https%3A%2F%2Fexample.com%2Fa%2Fb/similar", 400, "TM0003", "file"),
        ("https%3A%2F%2Fexample.com%2Fa%2Fb/similar?file=src/lib.rs&k=0", 400, "TM0013", "k"),
        ("https%3A%2F%2Fexample.com%2Fa%2Fb/similar?file=src/lib.rs&k=201", 400, "TM0013", "k"),
        ("https%3A%2F%2Fexample.com%2Fa%2Fb/similar?path=src/lib.rs", 400, "TM0013", "path"),
        ("https%3A%2F%2Fexample.com%2Fa%2Fb/similar?file=nowhere.rs", 404, "TM0014", "file"),
        ("https%3A%2F%2Fexample.com%2Fa%2Fz/similar?file=src/lib.rs", 404, "TM0014", "repo"),
        ("a%2Fb/similar?file=src/lib.rs", 400, "TM0013", "repo"),
        ("%2F/similar?file=src/lib.rs", 404, "TM0014", "repo"),
        ("om%2Fa%2Fb/similar?file=src/lib.rs", 404, "TM0014", "repo"),
    ] {
        let answer = server.get(&format!("/v1/graphs/{path}")).await;
        assert_eq!(answer.refusal(), refused(status, code), "{path}: {answer:?}");
        assert_eq!(answer.json()["error"]["field"], field, "{path}");
    }
    let hint = server.get("/v1/graphs/https%3A%2F%2Fexample.com%2Fa%2Fb/similar?file=lib.rs").await.json();
    let message: &Value = &hint["error"]["message"];
    assert!(message.as_str().unwrap().contains("there is src/lib.rs"), "{message}");
    let long = format!("/v1/graphs/a%2Fb/similar?file={}", "x".repeat(5000));
    assert_eq!(server.get(&long).await.refusal(), refused(400, "TM0013"));
}
