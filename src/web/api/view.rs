//! The document as users see it: the document's own fields, then verdict, origin and timings, then the analysis.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::messages::analysis::{Analysis, VerdictLabel};
use crate::messages::correlation::CorrelationId;
use crate::messages::document::Document;
use crate::messages::pipeline::DuplicateRule;
use crate::messages::record::Position;
use crate::stores::documents::StoredDocument;

/// A document with what became of it.
#[derive(Debug, Serialize)]
pub(crate) struct DocumentView {
    #[serde(flatten)]
    document: Document,
    correlation_id: CorrelationId,
    verdict: VerdictLabel,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<DuplicateRule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    similarity: Option<f32>,
    origin: Position,
    timings_ms: BTreeMap<Cow<'static, str>, f32>,
    analysis: Analysis,
}

impl From<StoredDocument> for DocumentView {
    fn from(stored: StoredDocument) -> Self {
        let StoredDocument { document, analysis } = stored;
        Self {
            document,
            correlation_id: analysis.correlation_id.clone(),
            verdict: analysis.verdict,
            duplicate_of: analysis.duplicate_of.clone(),
            rule: analysis.rule,
            similarity: analysis.similarity,
            origin: analysis.origin.clone(),
            timings_ms: analysis.timings_ms.clone(),
            analysis,
        }
    }
}
