//! `GET /v1/explain/{id}`: the whole way of a document, found by any of its names.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::view::DocumentView;
use crate::messages::analysis::{Analysis, VerdictLabel};
use crate::messages::code::ErrorCode;
use crate::messages::dead_letter::StoredDeadLetter;
use crate::stores::documents::{DeliveryRow, StoredDocument};
use crate::web::app::{App, AppState};
use crate::web::error::{ApiError, ApiResult};
use crate::web::parameters::Id;

/// Stages in the order of the way; timings are kept by name.
const WAY: &[&str] = &[
    "log",
    "source",
    "fingerprint",
    "embed",
    "dedup",
    "near",
    "sentiment",
    "analy",
    "write",
    "sql",
    "vector",
    "publish",
];

/// Everything known by this id: a document's, a correlation or a dead letter's id.
pub(crate) async fn explain(State(app): State<AppState>, Id(id): Id) -> ApiResult<Json<Value>> {
    let mut found = Found::default();
    found.collect(&app, &id).await?;
    if found.is_empty() {
        let ahead = app.api.operations.backlog();
        let message = format!("nothing is known by {id:?}; {ahead} records are on their way and may bring it");
        return Err(ApiError::new(ErrorCode::NotFound, message));
    }
    let mut documents = Vec::with_capacity(found.documents.len());
    for stored in found.documents {
        documents.push(document_way(&app, stored).await?);
    }
    let dead_letters: Vec<Value> = found.dead_letters.iter().map(dead_letter_way).collect();
    Ok(Json(json!({
        "id": id,
        "matched": found.matched,
        "documents": documents,
        "dead_letters": dead_letters,
    })))
}

/// What the store knows by an id, each thing once.
#[derive(Default)]
struct Found {
    matched: Vec<&'static str>,
    documents: Vec<StoredDocument>,
    dead_letters: Vec<StoredDeadLetter>,
}

impl Found {
    fn is_empty(&self) -> bool {
        self.documents.is_empty() && self.dead_letters.is_empty()
    }

    async fn collect(&mut self, app: &App, id: &str) -> ApiResult<()> {
        let store = &app.api.documents;
        if let Some(stored) = app.query(store.get(id)).await? {
            self.matched.push("document_id");
            self.add_document(stored);
        }
        let correlated = app.query(store.by_correlation(id)).await?;
        if !correlated.is_empty() {
            self.matched.push("correlation_id");
        }
        for stored in correlated {
            self.add_document(stored);
        }
        if let Some(letter) = app.query(store.dead_letter(id)).await? {
            self.matched.push("dead_letter_id");
            if let Some(document_id) = letter.document_id.clone()
                && let Some(stored) = app.query(store.get(&document_id)).await?
            {
                self.add_document(stored);
            }
            self.add_letter(letter);
        }
        let letters = app.query(store.dead_letters_of(id)).await?;
        if !letters.is_empty() {
            self.matched.push("dead_letters");
        }
        for letter in letters {
            self.add_letter(letter);
        }
        Ok(())
    }

    fn add_document(&mut self, stored: StoredDocument) {
        if !self.documents.iter().any(|known| known.document.id == stored.document.id) {
            self.documents.push(stored);
        }
    }

    fn add_letter(&mut self, letter: StoredDeadLetter) {
        if !self.dead_letters.iter().any(|known| known.id == letter.id) {
            self.dead_letters.push(letter);
        }
    }
}

async fn document_way(app: &App, stored: StoredDocument) -> ApiResult<Value> {
    let analysis = &stored.analysis;
    let deliveries: Vec<DeliveryRow> = app.query(app.api.documents.deliveries_of(&analysis.document_id)).await?;
    let original = match &analysis.duplicate_of {
        Some(of) => app.query(app.api.documents.get(of)).await?.map(|original| {
            json!({
                "id": original.document.id,
                "title": original.document.title,
                "correlation_id": original.analysis.correlation_id,
                "origin": original.analysis.origin,
                "processed_at": original.analysis.processed_at,
            })
        }),
        None => None,
    };
    let mut way = json!({
        "document_id": analysis.document_id,
        "correlation_id": analysis.correlation_id,
        "verdict": analysis.verdict,
        "because": because(analysis),
        "origin": analysis.origin,
        "processed_at": analysis.processed_at,
        "stages": stages(&analysis.timings_ms),
        "total_ms": analysis.timings_ms.values().sum::<f32>(),
        "models": {
            "embedding": analysis.embedding,
            "sentiment": analysis.sentiment.as_ref().map(|sentiment| &sentiment.model),
        },
    });
    if let Some(original) = original {
        way["original"] = original;
    }
    way["deliveries"] = json!(deliveries);
    way["document"] = json!(DocumentView::from(stored));
    Ok(way)
}

/// The verdict's reason in words.
fn because(analysis: &Analysis) -> String {
    match (analysis.verdict, &analysis.duplicate_of, analysis.rule) {
        (VerdictLabel::Stored, _, _) => "no earlier document in the window is a copy".to_owned(),
        (VerdictLabel::Duplicate, Some(of), Some(rule)) => {
            let rule =
                serde_json::to_value(rule).ok().and_then(|rule| rule.as_str().map(str::to_owned)).unwrap_or_default();
            let similarity =
                analysis.similarity.map(|value| format!(" with similarity {value:.4}")).unwrap_or_default();
            format!("rule {rule} found it a copy of {of}{similarity}")
        }
        (VerdictLabel::Duplicate, _, _) => "it is a copy of an earlier document".to_owned(),
    }
}

/// Stages with their milliseconds, in the order of the way; stages we do not know come last by name.
fn stages(timings: &BTreeMap<Cow<'static, str>, f32>) -> Vec<Value> {
    let mut stages: Vec<_> = timings.iter().collect();
    stages.sort_by_key(|(stage, _)| WAY.iter().position(|known| stage.starts_with(known)).unwrap_or(WAY.len()));
    stages.into_iter().map(|(stage, milliseconds)| json!({ "stage": stage, "ms": milliseconds })).collect()
}

fn dead_letter_way(letter: &StoredDeadLetter) -> Value {
    json!({
        "verdict": "dead",
        "because": format!("{} gave up: {}", letter.stage, letter.error),
        "advice": letter.code.advice(),
        "origin": { "topic": letter.topic, "partition": letter.partition, "offset": letter.offset },
        "dead_letter": letter,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_come_in_the_order_of_the_way() {
        let timings = ["writer", "embedder", "zzz", "fingerprinter", "sentiment"].map(|name| (name.into(), 1.0));
        let names: Vec<_> = stages(&timings.into()).iter().map(|stage| stage["stage"].clone()).collect();
        assert_eq!(names, ["fingerprinter", "embedder", "sentiment", "writer", "zzz"]);
    }
}
