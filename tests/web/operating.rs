//! What an operator sees and does.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use serde_json::json;

use super::server::{Answer, Server, limits, refused};

#[tokio::test]
async fn actors_and_topology_are_shown() {
    let server = Server::start().await;
    assert_eq!(server.get("/v1/actors").await.json()["actors"][0]["name"], json!("embedder"));
    assert_eq!(server.get("/v1/topology").await.json(), json!({ "stages": ["embedder"] }));
    let mermaid = server.get("/v1/topology?format=mermaid").await;
    assert_eq!(
        (mermaid.text.as_str(), mermaid.header("content-type")),
        ("flowchart LR", "text/vnd.mermaid; charset=utf-8")
    );
    assert_eq!(server.get("/v1/topology?format=text").await.text, "embedder");
    assert_eq!(server.get("/v1/topology?format=svg").await.refusal(), refused(400, "TM0013"));
}

#[tokio::test]
async fn an_actor_is_restarted_by_name() {
    let server = Server::start().await;
    let empty = json!({});
    assert_eq!(server.post("/v1/actors/embedder/restart", &empty).await.status, 202);
    assert_eq!(server.post("/v1/actors/nobody/restart", &empty).await.refusal(), refused(404, "TM0014"));
    assert_eq!(*server.operations.asked.lock(), ["restart embedder"]);
}

#[tokio::test]
async fn a_reload_reports_what_it_did_or_why_not() {
    let server = Server::start().await;
    let empty = json!({});
    assert_eq!(server.post("/v1/config/reload", &empty).await.json(), json!({ "applied": ["embedder.batch"] }));
    server.operations.ready.store(false, Ordering::SeqCst);
    let refusal = server.post("/v1/config/reload", &empty).await;
    assert_eq!(refusal.refusal(), refused(422, "TM0013"));
    assert!(refusal.json()["error"]["message"].as_str().unwrap().contains("http.listen"));
    let history = server.get("/events/history?limit=10").await.json();
    let outcomes: Vec<_> = history["events"].as_array().unwrap().iter().map(|event| event["outcome"].clone()).collect();
    assert_eq!(outcomes, [json!("refused")], "what was applied is told by the daemon behind the API");
}

#[tokio::test]
async fn health_tells_ready_from_alive() {
    let server = Server::start().await;
    assert_eq!(server.get("/health").await.json()["status"], json!("ok"));
    assert_eq!(server.get("/health/ready").await.status, 200);
    server.operations.ready.store(false, Ordering::SeqCst);
    assert_eq!(server.get("/health/live").await.status, 200);
    let ready = server.get("/health/ready").await;
    assert_eq!((ready.status, &ready.json()["dependencies"][0]["healthy"]), (503, &json!(false)));
    let health = server.get("/health").await;
    assert_eq!((health.status, &health.json()["status"]), (503, &json!("degraded")));
}

#[tokio::test]
async fn health_answers_while_the_store_is_away() {
    let server = Server::start().await;
    server.store.away.store(true, Ordering::SeqCst);
    let health = server.get("/health").await;
    assert_eq!((health.status, &health.json()["counts"]), (200, &json!(null)));
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let server = Server::start().await;
    let answer = server.get("/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(answer.text.contains("tidemill_build_info 1"));
}

#[tokio::test]
async fn status_pages_that_do_not_apply_say_so() {
    let server = Server::start().await;
    assert_eq!(server.get("/workers/status").await.json()["pools"], json!([]));
    assert_eq!(server.get("/cache/stats").await.refusal(), refused(404, "TM0014"));
    assert_eq!(server.get("/db/pool").await.refusal(), refused(404, "TM0014"));
}

#[tokio::test]
async fn the_description_lists_every_path_and_no_other() {
    for faults in [false, true] {
        let server = Server::start_with(limits(), None, faults).await;
        let description = server.get("/openapi.json").await.json();
        let mut described = BTreeSet::new();
        for (path, methods) in description["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                described.insert((method.to_uppercase(), path.clone()));
            }
        }
        let listed = tidemill::web::listed(faults);
        let expected: BTreeSet<_> =
            listed.iter().map(|listed| (listed.method.to_owned(), listed.path.to_owned())).collect();
        assert_eq!(described, expected);
        for (method, path) in described {
            let path = path.replace("{id}", "none").replace("{name}", "none");
            let request = server.client.request(method.parse().unwrap(), server.url(&path));
            let response = request.send().await.unwrap();
            assert_ne!(response.status(), 405, "{method} {path}");
            if response.status() == 404 {
                let text = response.text().await.unwrap();
                assert!(!text.contains("see /openapi.json"), "{method} {path} is not routed");
            }
        }
    }
}

#[tokio::test]
async fn faults_exist_only_when_enabled() {
    let hang = json!({ "kind": "hang", "seconds": 1.5 });
    let off = Server::start().await;
    assert_eq!(off.post("/v1/faults/actors/embedder", &hang).await.refusal(), refused(404, "TM0014"));
    let on = Server::start_with(limits(), None, true).await;
    for (path, body) in [
        ("/v1/faults/actors/embedder", hang),
        ("/v1/faults/actors/embedder", json!({ "kind": "panic" })),
        ("/v1/faults/store", json!({ "seconds": 2 })),
        ("/v1/faults/log", json!({ "seconds": 0.5 })),
    ] {
        assert_eq!(on.post(path, &body).await.status, 202, "{path} {body}");
    }
    let asked = [
        "inject embedder {\"kind\":\"hang\",\"seconds\":1.5}",
        "inject embedder {\"kind\":\"panic\"}",
        "fail store 2",
        "fail log 0.5",
    ];
    assert_eq!(*on.operations.asked.lock(), asked);
    assert_eq!(on.post("/v1/faults/store", &json!({ "seconds": -1 })).await.refusal(), refused(400, "TM0013"));
    assert_eq!(on.post("/v1/faults/actors/x", &json!({ "kind": "melt" })).await.refusal(), refused(400, "TM0004"));
}

#[tokio::test]
async fn the_console_is_one_page_without_foreign_parts() {
    let server = Server::start().await;
    let page = server.get("/").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for own in ["/console.css", "/console.js"] {
        assert!(page.text.contains(&format!("\"{own}\"")), "{own} is not in the page");
        assert_eq!(server.get(own).await.status, 200);
    }
    let script = server.get("/console.js").await.text;
    for text in [&page.text, &script] {
        let addresses: Vec<_> =
            text.match_indices("://").map(|(at, _)| &text[at.saturating_sub(6)..(at + 25).min(text.len())]).collect();
        assert!(addresses.iter().all(|address| address.contains("www.w3.org")), "{addresses:?}");
    }
    for danger in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!script.contains(danger), "{danger}");
    }
}

#[tokio::test]
async fn heads_are_answered_without_bodies() {
    let server = Server::start().await;
    let answer = Answer::of(server.client.head(server.url("/health/live"))).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, ""));
}
