//! Points, their names and payloads, and what a request says of the points it means.

use std::collections::HashMap;
use std::sync::Arc;

use qdrant_client::qdrant::condition::ConditionOneOf;
use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::read_consistency::Value as Consistency;
use qdrant_client::qdrant::value::Kind;
use qdrant_client::qdrant::vector::Vector as VectorKind;
use qdrant_client::qdrant::vector_input::Variant as InputVariant;
use qdrant_client::qdrant::vector_output::Vector as OutputKind;
use qdrant_client::qdrant::vectors::VectorsOptions;
use qdrant_client::qdrant::vectors_output::VectorsOptions as OutputOptions;
use qdrant_client::qdrant::with_payload_selector::SelectorOptions;
use qdrant_client::qdrant::{
    Condition, DenseVector, FieldCondition, Filter, HasIdCondition, Match, PayloadIncludeSelector, PointId,
    PointStruct, PointsSelector, QuantizationSearchParams, Query, Range, ReadConsistency, ReadConsistencyType,
    RepeatedStrings, RetrievedPoint, ScoredPoint, Value, Vector, VectorInput, VectorOutput, Vectors,
    WithPayloadSelector, query,
};
use uuid::Uuid;

use super::Shared;
use crate::messages::record::Position;
use crate::stores::documents::StoreError;
use crate::stores::shared_vectors::{Claimant, VectorClaim};
use crate::stores::vectors::{Neighbor, VectorEntry, VectorFilter};

/// Document id.
pub(super) const DOCUMENT_ID: &str = "document_id";
/// The document's source.
pub(super) const SOURCE: &str = "source";
/// The document's symbols.
pub(super) const SYMBOLS: &str = "symbols";
/// The record's time, milliseconds since the Unix epoch.
pub(super) const TIMESTAMP: &str = "timestamp";
/// The encoder's model.
pub(super) const MODEL: &str = "model";
/// What the point is: see [`State`].
pub(super) const STATE: &str = "state";
/// The record a claim came from: `TOPIC/PARTITION/OFFSET`.
pub(super) const ORIGIN: &str = "origin";
/// When a claim was made, milliseconds since the Unix epoch.
pub(super) const CLAIMED_AT: &str = "claimed_at";
/// Correlation id of the record.
const CORRELATION_ID: &str = "correlation_id";

/// How far a value may be off: the server normalises by itself.
const TOLERANCE: f32 = 1e-5;
/// Name space of the points' ids.
const POINTS: Uuid = Uuid::from_u128(0x5d0c_6c53_7a53_5b8e_9a55_0a1b_b0b7_6f21);
/// Name space of the claims' ids.
const CLAIMS: Uuid = Uuid::from_u128(0x8a4e_3d1f_21c6_5c1e_8f0d_4b7a_c35d_9e02);

/// The point of a document's stored vector.
#[must_use]
pub fn point_id(document_id: &str) -> Uuid {
    Uuid::new_v5(&POINTS, document_id.as_bytes())
}

/// The point of a document's claim.
#[must_use]
pub fn claim_point_id(document_id: &str) -> Uuid {
    Uuid::new_v5(&CLAIMS, document_id.as_bytes())
}

/// What a point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The vector of a stored document.
    Stored,
    /// The claim of a document on its way.
    Pending,
    /// Word that an earlier revision no longer counts: the document is a copy now.
    Gone,
}

impl State {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Pending => "pending",
            Self::Gone => "gone",
        }
    }
}

/// Which points are meant.
#[derive(Debug, Clone, Default)]
pub(super) struct Statement {
    must: Vec<Condition>,
    must_not: Vec<Condition>,
}

impl Statement {
    /// All points.
    pub(super) fn all() -> Self {
        Self::default()
    }

    /// Those of this model.
    pub(super) fn of(model: &str) -> Self {
        let mut statement = Self::default();
        statement.must.push(keyword(MODEL, model));
        statement
    }

    /// Only those in this state.
    pub(super) fn state(mut self, state: State) -> Self {
        self.must.push(keyword(STATE, state.as_str()));
        self
    }

    /// None in this state.
    pub(super) fn not_state(mut self, state: State) -> Self {
        self.must_not.push(keyword(STATE, state.as_str()));
        self
    }

    /// None of this model.
    pub(super) fn not_model(mut self, model: &str) -> Self {
        self.must_not.push(keyword(MODEL, model));
        self
    }

    /// Only these.
    pub(super) fn ids(mut self, ids: impl IntoIterator<Item = Uuid>) -> Self {
        self.must.push(has_id(ids));
        self
    }

    /// Only claims of these records.
    pub(super) fn origins<'a>(mut self, origins: impl IntoIterator<Item = &'a Position>) -> Self {
        let strings = origins.into_iter().map(origin_text).collect();
        self.must.push(matching(ORIGIN, MatchValue::Keywords(RepeatedStrings { strings })));
        self
    }

    /// Only those with this word in a field.
    pub(super) fn keyword(mut self, key: &str, value: &str) -> Self {
        self.must.push(keyword(key, value));
        self
    }

    /// None with this word in a field.
    pub(super) fn not_keyword(mut self, key: &str, value: &str) -> Self {
        self.must_not.push(keyword(key, value));
        self
    }

    /// Only those where a field is true, or false.
    pub(super) fn flag(mut self, key: &str, value: bool) -> Self {
        self.must.push(matching(key, MatchValue::Boolean(value)));
        self
    }

    /// Only what a search asks for.
    pub(super) fn filtered(mut self, filter: &VectorFilter) -> Self {
        if filter.since_ms.is_some() || filter.until_ms.is_some() {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds fit until the year 287,000")]
            let bound = |time: Option<i64>| time.map(|time| time as f64);
            let range = Range { gte: bound(filter.since_ms), lte: bound(filter.until_ms), ..Range::default() };
            self.must.push(field(FieldCondition {
                key: TIMESTAMP.to_owned(),
                range: Some(range),
                ..FieldCondition::default()
            }));
        }
        self.must.extend(filter.source.as_deref().map(|source| keyword(SOURCE, source)));
        self.must.extend(filter.symbol.as_deref().map(|symbol| keyword(SYMBOLS, symbol)));
        self.must_not.extend(filter.except.as_deref().map(|id| has_id([point_id(id), claim_point_id(id)])));
        self
    }

    /// As a search takes it.
    pub(super) fn filter(&self) -> Filter {
        Filter { must: self.must.clone(), must_not: self.must_not.clone(), ..Filter::default() }
    }

    /// As a change takes it.
    pub(super) fn selector(&self) -> PointsSelector {
        PointsSelector { points_selector_one_of: Some(PointsSelectorOneOf::Filter(self.filter())) }
    }
}

fn keyword(key: &str, value: &str) -> Condition {
    matching(key, MatchValue::Keyword(value.to_owned()))
}

fn matching(key: &str, value: MatchValue) -> Condition {
    let r#match = Some(Match { match_value: Some(value) });
    field(FieldCondition { key: key.to_owned(), r#match, ..FieldCondition::default() })
}

fn field(condition: FieldCondition) -> Condition {
    Condition { condition_one_of: Some(ConditionOneOf::Field(condition)) }
}

fn has_id(ids: impl IntoIterator<Item = Uuid>) -> Condition {
    let has_id = ids.into_iter().map(named).collect();
    Condition { condition_one_of: Some(ConditionOneOf::HasId(HasIdCondition { has_id })) }
}

/// A point's name.
pub(super) fn named(id: Uuid) -> PointId {
    PointId::from(id.to_string())
}

/// The name of a point of ours.
pub(super) fn uuid(id: &PointId) -> Option<Uuid> {
    match id.point_id_options.as_ref()? {
        PointIdOptions::Uuid(text) => Uuid::parse_str(text).ok(),
        PointIdOptions::Num(_) => None,
    }
}

/// The values of a point that was asked with its vector.
#[expect(deprecated, reason = "servers before 1.16 answer in the older field")]
pub(super) fn values(point: RetrievedPoint) -> Option<Vec<f32>> {
    match point.vectors?.vectors_options? {
        OutputOptions::Vector(VectorOutput { vector: Some(OutputKind::Dense(dense)), .. }) => Some(dense.data),
        OutputOptions::Vector(output) if !output.data.is_empty() => Some(output.data),
        _ => None,
    }
}

/// Whether a vector is the one that was written.
pub(super) fn are_same(values: &[f32], written: &[f32]) -> bool {
    let same = |(is, was): (&f32, &f32)| (is - was).abs() <= TOLERANCE;
    values.len() == written.len() && values.iter().zip(written).all(same)
}

/// A query by a vector.
pub(super) fn nearest_to(data: Vec<f32>) -> Query {
    let input = VectorInput { variant: Some(InputVariant::Dense(DenseVector { data })) };
    Query { variant: Some(query::Variant::Nearest(input)) }
}

/// Has quantized candidates compared once more by their full values.
pub(super) fn full_values() -> QuantizationSearchParams {
    QuantizationSearchParams { rescore: Some(true), ..QuantizationSearchParams::default() }
}

/// Has a majority of the replicas answer.
pub(super) fn majority() -> ReadConsistency {
    ReadConsistency { value: Some(Consistency::Type(ReadConsistencyType::Majority.into())) }
}

/// What of the payload answers need.
pub(super) fn wanted_payload() -> WithPayloadSelector {
    payload_of(&[DOCUMENT_ID, TIMESTAMP, STATE, ORIGIN, CLAIMED_AT])
}

/// These fields of the payload.
pub(super) fn payload_of(fields: &[&str]) -> WithPayloadSelector {
    let fields = fields.iter().map(|&field| field.to_owned()).collect();
    WithPayloadSelector { selector_options: Some(SelectorOptions::Include(PayloadIncludeSelector { fields })) }
}

/// All of the payload.
pub(super) fn whole_payload() -> WithPayloadSelector {
    WithPayloadSelector { selector_options: Some(SelectorOptions::Enable(true)) }
}

/// Nothing of the payload.
pub(super) fn no_payload() -> WithPayloadSelector {
    WithPayloadSelector { selector_options: Some(SelectorOptions::Enable(false)) }
}

/// Payload of a point.
pub(super) type Payload = HashMap<String, Value>;

/// The text of a payload field.
pub(super) fn text<'a>(payload: &'a Payload, key: &str) -> Option<&'a str> {
    match payload.get(key)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

/// Whether a payload field is true.
pub(super) fn flag(payload: &Payload, key: &str) -> Option<bool> {
    match payload.get(key)?.kind.as_ref()? {
        Kind::BoolValue(value) => Some(*value),
        _ => None,
    }
}

/// The number of a payload field.
pub(super) fn integer(payload: &Payload, key: &str) -> Option<i64> {
    match payload.get(key)?.kind.as_ref()? {
        Kind::IntegerValue(integer) => Some(*integer),
        _ => None,
    }
}

/// The texts of a payload field.
pub(super) fn texts(payload: &Payload, key: &str) -> Option<Vec<String>> {
    let Kind::ListValue(list) = payload.get(key)?.kind.as_ref()? else { return None };
    let text = |value: &Value| match value.kind.as_ref()? {
        Kind::StringValue(text) => Some(text.clone()),
        _ => None,
    };
    list.values.iter().map(text).collect()
}

/// A point found; `None` if it is none of ours.
pub(super) fn neighbor(point: &ScoredPoint) -> Option<Neighbor> {
    Some(Neighbor {
        id: text(&point.payload, DOCUMENT_ID)?.into(),
        similarity: point.score.clamp(-1.0, 1.0),
        timestamp_ms: integer(&point.payload, TIMESTAMP)?,
    })
}

/// Whether the point is a claim.
pub(super) fn is_claim(payload: &Payload) -> bool {
    text(payload, STATE) != Some(State::Stored.as_str())
}

/// Who made a claim.
pub(super) fn claimant(payload: &Payload) -> Option<Claimant> {
    let origin = origin_of(text(payload, ORIGIN)?)?;
    Some(Claimant { origin, claimed_at_ms: integer(payload, CLAIMED_AT)? })
}

/// A record's position in one word; topics have no slash in their names.
pub(super) fn origin_text(origin: &Position) -> String {
    format!("{}/{}/{}", origin.topic, origin.partition, origin.offset)
}

fn origin_of(text: &str) -> Option<Position> {
    let (rest, offset) = text.rsplit_once('/')?;
    let (topic, partition) = rest.rsplit_once('/')?;
    Some(Position { topic: topic.into(), partition: partition.parse().ok()?, offset: offset.parse().ok()? })
}

/// A point of a vector under this name.
pub(super) fn point(id: Uuid, data: Vec<f32>, payload: Payload) -> PointStruct {
    let vector = Vector { vector: Some(VectorKind::Dense(DenseVector { data })), ..Vector::default() };
    PointStruct {
        id: Some(named(id)),
        payload,
        vectors: Some(Vectors { vectors_options: Some(VectorsOptions::Vector(vector)) }),
    }
}

impl Shared {
    /// The point of a stored document.
    pub(super) fn stored_point(
        &self,
        entry: &VectorEntry,
        correlation_id: Option<&str>,
    ) -> Result<PointStruct, StoreError> {
        let values = self.normalised(&entry.vector).map_err(StoreError::Refused)?;
        Ok(point(point_id(&entry.id), values, self.stored_payload(entry, correlation_id)))
    }

    /// The payload of a stored document.
    pub(super) fn stored_payload(&self, entry: &VectorEntry, correlation_id: Option<&str>) -> Payload {
        let mut payload = self.payload(&entry.id, State::Stored, entry.timestamp_ms, &entry.source);
        payload.insert(SYMBOLS.to_owned(), Value::from(entry.symbols.to_vec()));
        if let Some(correlation_id) = correlation_id {
            payload.insert(CORRELATION_ID.to_owned(), Value::from(correlation_id.to_owned()));
        }
        payload
    }

    /// The point of a claim. Word of a copy has some vector, since every point needs one; no search counts it.
    pub(super) fn claim_point(&self, claim: &VectorClaim, now_ms: i64) -> Result<PointStruct, StoreError> {
        let (state, values) = match &claim.vector {
            Some(vector) => (State::Pending, self.normalised(vector).map_err(StoreError::Refused)?),
            None => (State::Gone, (0..self.embedding.dimension).map(|at| if at == 0 { 1.0 } else { 0.0 }).collect()),
        };
        let mut payload = self.payload(&claim.id, state, claim.timestamp_ms, &claim.source);
        payload.insert(ORIGIN.to_owned(), Value::from(origin_text(&claim.origin)));
        payload.insert(CLAIMED_AT.to_owned(), Value::from(now_ms));
        Ok(point(claim_point_id(&claim.id), values, payload))
    }

    fn payload(&self, id: &Arc<str>, state: State, timestamp_ms: i64, source: &str) -> Payload {
        HashMap::from([
            (DOCUMENT_ID.to_owned(), Value::from(id.to_string())),
            (STATE.to_owned(), Value::from(state.as_str())),
            (MODEL.to_owned(), Value::from(self.embedding.model.to_string())),
            (TIMESTAMP.to_owned(), Value::from(timestamp_ms)),
            (SOURCE.to_owned(), Value::from(source)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_points_are_fixed() {
        assert_eq!(point_id("doc-1"), point_id("doc-1"));
        assert_ne!(point_id("doc-1"), claim_point_id("doc-1"));
        assert_eq!(point_id("doc-1").get_version_num(), 5);
    }

    #[test]
    fn origin_survives_its_text() {
        let origin = Position { topic: "documents.v2_x-y".into(), partition: 11, offset: 9_000_000_000 };
        assert_eq!(origin_of(&origin_text(&origin)), Some(origin));
        assert_eq!(origin_of("no position"), None);
    }
}
