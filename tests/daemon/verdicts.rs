//! What became of the documents of a corpus, as the API tells it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::corpus::{Expected, Sample};
use crate::process::Daemon;

/// What became of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// `stored`, `duplicate` or `dead`.
    pub label: String,
    /// What it copies.
    pub of: Option<String>,
    /// Sentiment of a stored document.
    pub score: Option<f64>,
}

/// Posts a chunk until every document in it is acknowledged, through overload, faults and restarts.
pub async fn post_until_acknowledged(daemon: &mut Daemon, chunk: &[&Sample]) {
    let body = Value::Array(chunk.iter().map(|sample| sample.body.clone()).collect());
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    loop {
        tick.tick().await;
        if let Some((202, answer)) = daemon.try_post("/v1/documents", &body).await {
            assert_eq!(answer["accepted"].as_array().unwrap().len(), chunk.len(), "{answer}");
            return;
        }
    }
}

/// Verdict of every document: label, and what it copies.
pub async fn verdicts(daemon: &Daemon) -> BTreeMap<String, Verdict> {
    let mut verdicts = BTreeMap::new();
    for item in daemon.all("/v1/documents").await {
        let analysis = &item["analysis"];
        let verdict = Verdict {
            label: analysis["verdict"].as_str().unwrap().to_owned(),
            of: analysis["duplicate_of"].as_str().map(ToOwned::to_owned),
            score: analysis["sentiment"]["score"].as_f64(),
        };
        let twice = verdicts.insert(item["id"].as_str().unwrap().to_owned(), verdict);
        assert!(twice.is_none(), "{} has two verdicts", item["id"]);
    }
    for letter in daemon.all("/v1/dead-letters").await {
        let id = letter["document_id"].as_str().expect("poison could be decoded").to_owned();
        // the same document sent twice by a client that saw no answer is two records, and two dead letters
        let dead = Verdict { label: "dead".to_owned(), of: None, score: None };
        let earlier = verdicts.insert(id.clone(), dead);
        assert!(earlier.is_none_or(|earlier| earlier.label == "dead"), "{id} is dead and alive");
    }
    verdicts
}

/// Every document has the verdict that the corpus foresees.
pub fn check(samples: &[Sample], verdicts: &BTreeMap<String, Verdict>) {
    assert_eq!(verdicts.len(), samples.len(), "every acknowledged document has exactly one verdict");
    for Sample { id, expected, .. } in samples {
        let verdict = &verdicts[id];
        let found = match verdict.label.as_str() {
            "stored" => Expected::Stored,
            "duplicate" => Expected::DuplicateOf(verdict.of.clone().unwrap()),
            _ => Expected::Dead,
        };
        assert_eq!(&found, expected, "verdict of {id}");
    }
}
