//! An analysis that is done: shared by all who pass it on, and written as JSON once for all of them.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::analysis::Analysis;

/// Room for the JSON of an analysis at the beginning; few are longer.
const USUAL_BYTES: usize = 1024;

/// A finished analysis with its JSON. Clones are cheap; changing one of several makes a copy.
#[derive(Clone)]
pub struct SealedAnalysis(Arc<Sealed>);

#[derive(Clone)]
struct Sealed {
    analysis: Analysis,
    /// Made when it is first asked for.
    json: OnceLock<String>,
}

impl SealedAnalysis {
    /// As JSON, the same text wherever the analysis goes.
    ///
    /// # Errors
    /// If it has a value that JSON does not have.
    pub fn json(&self) -> Result<&str, serde_json::Error> {
        if let Some(json) = self.0.json.get() {
            return Ok(json);
        }
        let mut json = Vec::with_capacity(USUAL_BYTES);
        serde_json::to_writer(&mut json, &self.0.analysis)?;
        let json = String::from_utf8(json).map_err(serde::ser::Error::custom)?;
        Ok(self.0.json.get_or_init(|| json))
    }

    /// The same text as bytes that share it.
    ///
    /// # Errors
    /// If it has a value that JSON does not have.
    pub fn json_bytes(&self) -> Result<Bytes, serde_json::Error> {
        self.json()?;
        Ok(Bytes::from_owner(Text(Arc::clone(&self.0))))
    }
}

/// The JSON of an analysis, where it is made already.
struct Text(Arc<Sealed>);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.0.json.get().map_or(&[], |json| json.as_bytes())
    }
}

impl From<Analysis> for SealedAnalysis {
    fn from(analysis: Analysis) -> Self {
        Self(Arc::new(Sealed { analysis, json: OnceLock::new() }))
    }
}

impl Deref for SealedAnalysis {
    type Target = Analysis;

    fn deref(&self) -> &Analysis {
        &self.0.analysis
    }
}

impl DerefMut for SealedAnalysis {
    /// Breaks the seal: the JSON is made anew.
    fn deref_mut(&mut self) -> &mut Analysis {
        let sealed = Arc::make_mut(&mut self.0);
        sealed.json = OnceLock::new();
        &mut sealed.analysis
    }
}

impl PartialEq for SealedAnalysis {
    fn eq(&self, other: &Self) -> bool {
        self.0.analysis == other.0.analysis
    }
}

impl std::fmt::Debug for SealedAnalysis {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.analysis.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use chrono::DateTime;

    use super::*;
    use crate::messages::analysis::VerdictLabel;
    use crate::messages::correlation::CorrelationId;
    use crate::messages::record::Position;

    fn sealed() -> SealedAnalysis {
        let origin = Position { topic: "documents".into(), partition: 0, offset: 1 };
        SealedAnalysis::from(Analysis {
            document_id: "d".into(),
            correlation_id: CorrelationId::parse("c").unwrap(),
            source: "news".into(),
            symbols: Vec::new(),
            verdict: VerdictLabel::Stored,
            duplicate_of: None,
            rule: None,
            similarity: None,
            sentiment: None,
            category: None,
            entities: Vec::new(),
            embedding: None,
            published_at: None,
            processed_at: DateTime::UNIX_EPOCH,
            timings_ms: [("embed".into(), 1.5)].into(),
            origin,
        })
    }

    #[test]
    fn json_is_that_of_the_analysis_and_follows_its_changes() {
        let first = sealed();
        assert_eq!(first.json().unwrap(), serde_json::to_string(&*first).unwrap());
        let mut second = first.clone();
        second.source = "web".into();
        assert_eq!((&*first.source, &*second.source), ("news", "web"));
        assert_eq!(second.json().unwrap(), serde_json::to_string(&*second).unwrap());
        assert!(second.json().unwrap().contains("\"web\"") && first.json().unwrap().contains("\"news\""));
        let bytes = second.json_bytes().unwrap();
        second.source = "x".into();
        assert_eq!(bytes, serde_json::to_vec(&Analysis { source: "web".into(), ..(*second).clone() }).unwrap());
    }
}
