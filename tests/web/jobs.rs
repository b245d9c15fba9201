//! Jobs over HTTP: submitting, looking, calling off, replaying. No dispatcher runs, so jobs stay where they are put.

use std::time::Duration;

use serde_json::{Value, json};
use tidemill::stores::jobs::End;

use super::server::{Answer, PATIENCE, Server, limits, refused};

const LEASE: Duration = Duration::from_secs(30);

async fn submit(server: &Server, body: Value) -> Value {
    let answer = server.post("/v1/jobs", &body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()
}

fn id(job: &Value) -> &str {
    job["id"].as_str().unwrap()
}

/// Takes the first job and ends its only attempt.
async fn end(server: &Server, end: End) {
    let queue = server.jobs.queue();
    let (_, lease) = queue.claim("drill", "test", LEASE).await.unwrap().taken.unwrap();
    queue.finish(lease, end).await.unwrap();
}

#[tokio::test]
async fn submitted_job_is_shown_and_listed_with_all_it_was_given() {
    let server = Server::start().await;
    let request = server.client.post(server.url("/v1/jobs")).header("correlation-id", "trace-7").json(&json!({
        "kind": "drill", "payload": {"seconds": 1.5}, "priority": 9, "ttl_seconds": 60, "key": "nightly",
        "max_attempts": 2, "asked_by": "me",
    }));
    let answer = Answer::of(request).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let job = answer.json();
    assert_eq!(
        (&job["state"], &job["priority"], &job["max_attempts"], &job["existing"]),
        (&json!("queued"), &json!(9), &json!(2), &json!(false))
    );
    assert_eq!((&job["payload"], &job["metadata"]["asked_by"]), (&json!({"seconds": 1.5}), &json!("me")));
    assert_eq!(job["correlation_id"], "trace-7");
    let shown = server.get(&format!("/v1/jobs/{}", id(&job))).await;
    assert_eq!((shown.status, &shown.json()["key"]), (200, &json!("nightly")));
    let tomorrow = chrono::Utc::now() + chrono::Duration::days(1);
    let later = submit(&server, json!({"kind": "drill", "run_at": tomorrow})).await;
    assert_eq!(later["state"], "delayed");
}

#[tokio::test]
async fn senseless_jobs_are_refused_and_the_field_is_named() {
    let server = Server::start().await;
    for (body, status, code, field) in [
        (json!({}), 400, "TM0003", ""),
        (json!({"kind": "dril"}), 400, "TM0013", "kind"),
        (json!({"kind": "drill", "payload": {"seconds": "long"}}), 400, "TM0004", "payload.seconds"),
        (json!({"kind": "drill", "payload": {"second": 1}}), 400, "TM0004", "payload.second"),
        (json!({"kind": "drill", "payload": "long"}), 400, "TM0004", "payload"),
        (json!({"kind": "drill", "priority": 10}), 400, "TM0013", "priority"),
        (json!({"kind": "drill", "priority": "high"}), 400, "TM0004", ""),
        (json!({"kind": "drill", "ttl_seconds": 0}), 400, "TM0013", "ttl_seconds"),
        (json!({"kind": "drill", "ttl_seconds": 1e9}), 400, "TM0013", "ttl_seconds"),
        (json!({"kind": "drill", "run_at": "tomorrow"}), 400, "TM0004", ""),
        (json!({"kind": "drill", "run_at": "2999-01-01T00:00:00Z"}), 400, "TM0013", "run_at"),
        (json!({"kind": "drill", "key": ""}), 400, "TM0013", "key"),
        (json!({"kind": "drill", "max_attempts": 0}), 400, "TM0013", "max_attempts"),
    ] {
        let answer = server.post("/v1/jobs", &body).await;
        assert_eq!(answer.refusal(), refused(status, code), "{body}: {answer:?}");
        if !field.is_empty() {
            assert_eq!(answer.json()["error"]["field"], field, "{body}: {answer:?}");
        }
    }
    assert_eq!(server.get("/v1/jobs").await.json()["items"], json!([]));
}

#[tokio::test]
async fn same_key_answers_the_same_job() {
    let server = Server::start().await;
    let first = submit(&server, json!({"kind": "drill", "key": "k"})).await;
    let again = submit(&server, json!({"kind": "drill", "key": "k", "priority": 1})).await;
    assert_eq!((id(&again), &again["existing"], &again["priority"]), (id(&first), &json!(true), &json!(5)));
}

#[tokio::test]
async fn full_queue_is_429_with_retry_after() {
    let server = Server::start().await;
    for _ in 0..5 {
        submit(&server, json!({"kind": "drill"})).await;
    }
    let refusal = server.post("/v1/jobs", &json!({"kind": "drill"})).await;
    assert_eq!(refusal.refusal(), refused(429, "TM0016"));
    assert_eq!(refusal.header("retry-after"), "1");
}

#[tokio::test]
async fn jobs_are_listed_by_state_and_kind_in_pages() {
    let server = Server::start().await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(id(&submit(&server, json!({"kind": "drill"})).await).to_owned());
    }
    assert_eq!(server.delete(&format!("/v1/jobs/{}", ids[1])).await.status, 200);
    let first = server.get("/v1/jobs?state=queued&kind=drill&limit=2").await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = server.get(&format!("/v1/jobs?state=queued&kind=drill&limit=2&cursor={cursor}")).await.json();
    let found: Vec<&str> =
        [&first, &rest].into_iter().flat_map(|page| page["items"].as_array().unwrap()).map(id).collect();
    assert_eq!(found, [&ids[3], &ids[2], &ids[0]], "newest first");
    assert!(rest["next_cursor"].is_null());
    assert_eq!(server.get("/v1/jobs?kind=other").await.json()["items"], json!([]));
    for wrong in ["state=failed", "limit=0", "limit=1001", "cursor=x", "stat=queued"] {
        assert_eq!(server.get(&format!("/v1/jobs?{wrong}")).await.refusal(), refused(400, "TM0013"), "{wrong}");
    }
}

#[tokio::test]
async fn waiting_job_is_cancelled_at_once_and_a_running_one_is_asked_to_end() {
    let server = Server::start().await;
    let first = submit(&server, json!({"kind": "drill", "priority": 9})).await;
    let waiting = submit(&server, json!({"kind": "drill"})).await;
    let queue = server.jobs.queue();
    queue.claim("drill", "test", LEASE).await.unwrap().taken.unwrap();
    let asked = server.delete(&format!("/v1/jobs/{}", id(&first))).await;
    assert_eq!((asked.status, &asked.json()["cancel_requested"]), (202, &json!(true)));
    let cancelled = server.delete(&format!("/v1/jobs/{}", id(&waiting))).await;
    assert_eq!((cancelled.status, &cancelled.json()["state"]), (200, &json!("cancelled")));
    let again = server.delete(&format!("/v1/jobs/{}", id(&waiting))).await;
    assert_eq!(again.refusal(), refused(409, "TM0031"));
    assert_eq!(server.delete("/v1/jobs/none").await.refusal(), refused(404, "TM0014"));
    assert_eq!(server.get("/v1/jobs/none").await.refusal(), refused(404, "TM0014"));
}

#[tokio::test]
async fn dead_job_shows_its_errors_and_is_replayed() {
    let server = Server::start().await;
    let job = submit(&server, json!({"kind": "drill"})).await;
    let path = format!("/v1/jobs/{}/replay", id(&job));
    assert_eq!(server.post(&path, &json!({})).await.refusal(), refused(409, "TM0031"), "it still waits");
    end(&server, End::Failed { error: "no disk".to_owned(), retry: None }).await;
    let dead = server.get(&format!("/v1/jobs/{}", id(&job))).await.json();
    assert_eq!((&dead["state"], &dead["reason"]), (&json!("dead"), &json!("no disk")));
    assert_eq!((&dead["errors"][0]["attempt"], &dead["errors"][0]["worker"]), (&json!(1), &json!("test")));
    let replayed = server.post(&path, &json!({})).await;
    assert_eq!((replayed.status, &replayed.json()["replays"]), (202, &json!(1)));
    assert_eq!(replayed.json()["errors"].as_array().unwrap().len(), 1, "its errors are kept");
    assert_eq!(server.post("/v1/jobs/none/replay", &json!({})).await.refusal(), refused(404, "TM0014"));
}

#[tokio::test]
async fn worker_status_shows_kinds_and_depths() {
    let server = Server::start().await;
    submit(&server, json!({"kind": "drill"})).await;
    let status = server.get("/workers/status").await.json();
    let kind = status["jobs"]["kinds"].as_array().unwrap().iter().find(|kind| kind["kind"] == "drill").unwrap();
    assert_eq!(
        (&kind["kind"], &kind["queued"], &kind["capacity"], &kind["workers"]),
        (&json!("drill"), &json!(1), &json!(5), &json!(1))
    );
    assert!(status["jobs"]["worker"].as_str().is_some_and(|name| !name.is_empty()));
}

#[tokio::test]
async fn changes_of_state_are_events() {
    let server = Server::start().await;
    let job = submit(&server, json!({"kind": "drill"})).await;
    server.delete(&format!("/v1/jobs/{}", id(&job))).await;
    let history = server.get("/events/history?limit=10").await.json();
    let states: Vec<&str> = history["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["type"] == "job" && event["id"] == job["id"])
        .map(|event| event["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["queued", "cancelled"]);
    let stream = server.client.get(server.url("/v1/stream?types=job")).header("last-event-id", "0");
    let mut response = stream.send().await.unwrap();
    let mut text = String::new();
    while !text.contains("\"cancelled\"") {
        let chunk = tokio::time::timeout(PATIENCE, response.chunk()).await.unwrap().unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.contains("event: job"), "{text}");
}

#[tokio::test]
async fn submitting_and_calling_off_need_the_token() {
    let server = Server::start_with(limits(), Some("0123456789abcdef"), false).await;
    assert_eq!(server.post("/v1/jobs", &json!({"kind": "drill"})).await.refusal(), refused(401, "TM0015"));
    assert_eq!(server.delete("/v1/jobs/x").await.refusal(), refused(401, "TM0015"));
    assert_eq!(server.get("/v1/jobs").await.status, 200);
}

#[tokio::test]
async fn large_payloads_are_refused() {
    let server = Server::start().await;
    let answer = server.post("/v1/jobs", &json!({"kind": "free", "payload": "x".repeat(5000)})).await;
    assert_eq!(answer.refusal(), refused(413, "TM0006"));
}
