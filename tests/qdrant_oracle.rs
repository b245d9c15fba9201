//! The Qdrant test server against Qdrant's own engine: `tests/fixtures/golden_qdrant.json` has what the engine answered,
//! written by `deploy/testenv/qdrant_oracle.py`. With `TIDEMILL_TEST_QDRANT` a real server is compared instead.
#![allow(
    clippy::type_complexity,
    clippy::expect_used,
    clippy::unnecessary_wraps,
    clippy::needless_pass_by_value,
    reason = "tests"
)]
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "support/services/qdrant.rs"]
mod qdrant_server;

use std::collections::HashMap;

use qdrant_client::Qdrant;
use qdrant_client::qdrant::condition::ConditionOneOf;
use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::{
    Condition, CountPoints, CreateCollectionBuilder, DeletePoints, Distance, FieldCondition, Filter, HasIdCondition,
    IsEmptyCondition, IsNullCondition, Match, PointId, PointStruct, PointsSelector, Query, QueryPoints, Range,
    RepeatedIntegers, RepeatedStrings, ScoredPoint, ScrollPoints, SearchParams, UpdateMode, UpsertPoints, Value,
    VectorParamsBuilder,
};
use qdrant_server::{QdrantTestServer, users_own};
use serde_json::Value as Json;

const COLLECTION: &str = "tidemill-oracle";

/// The point of an index: every seventh is named by its number, the others by UUID.
fn identity(index: u64) -> PointId {
    if index.is_multiple_of(7) {
        return PointId::from(index);
    }
    PointId::from(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("point-{index}").as_bytes()).to_string())
}

struct Oracle {
    client: Qdrant,
    golden: Json,
    names: HashMap<String, u64>,
    _server: Option<QdrantTestServer>,
}

impl Oracle {
    async fn new() -> Self {
        let golden = serde_json::from_str(include_str!("fixtures/golden_qdrant.json")).unwrap();
        let server = users_own().is_none().then(QdrantTestServer::start);
        let url = users_own().unwrap_or_else(|| server.as_ref().unwrap().url());
        let client = Qdrant::from_url(&url).skip_compatibility_check().build().unwrap();
        let names = (0..1000).map(|index| (text_of(&identity(index)), index)).collect();
        let oracle = Self { client, golden, names, _server: server };
        let _ = oracle.client.delete_collection(COLLECTION).await;
        let size = oracle.golden["dimension"].as_u64().unwrap();
        let params = VectorParamsBuilder::new(size, Distance::Cosine);
        oracle.client.create_collection(CreateCollectionBuilder::new(COLLECTION).vectors_config(params)).await.unwrap();
        oracle.upsert(&oracle.golden["points"], UpdateMode::Upsert).await;
        oracle
    }

    async fn upsert(&self, points: &Json, mode: UpdateMode) {
        let point = |point: &Json| {
            let payload = point["payload"].as_object().unwrap().clone();
            let payload: HashMap<String, Value> = payload.into_iter().map(|(key, value)| (key, value.into())).collect();
            PointStruct::new(identity(point["id"].as_u64().unwrap()), floats(&point["vector"]), payload)
        };
        let request = UpsertPoints {
            collection_name: COLLECTION.to_owned(),
            wait: Some(true),
            points: list(points).iter().map(point).collect(),
            update_mode: Some(mode.into()),
            ..UpsertPoints::default()
        };
        self.client.upsert_points(request).await.unwrap();
    }

    async fn query(&self, asked: &Json, limit: u64) -> Vec<(u64, f32)> {
        let request = QueryPoints {
            collection_name: COLLECTION.to_owned(),
            query: Some(Query::new_nearest(floats(&asked["vector"]))),
            filter: asked.get("filter").map(filter),
            limit: Some(limit),
            offset: asked["offset"].as_u64(),
            #[expect(clippy::cast_possible_truncation, reason = "written from 32 bits")]
            score_threshold: asked["score_threshold"].as_f64().map(|it| it as f32),
            params: Some(SearchParams { exact: Some(true), ..SearchParams::default() }),
            ..QueryPoints::default()
        };
        let found = self.client.query(request).await.unwrap().result;
        found.iter().map(|ScoredPoint { id, score, .. }| (self.index(id.as_ref().unwrap()), *score)).collect()
    }

    async fn count(&self, wanted: Option<Filter>) -> u64 {
        let request = CountPoints {
            collection_name: COLLECTION.to_owned(),
            filter: wanted,
            exact: Some(true),
            ..CountPoints::default()
        };
        self.client.count(request).await.unwrap().result.unwrap().count
    }

    fn index(&self, id: &PointId) -> u64 {
        self.names[&text_of(id)]
    }
}

fn text_of(id: &PointId) -> String {
    match id.point_id_options.as_ref().unwrap() {
        PointIdOptions::Num(number) => number.to_string(),
        PointIdOptions::Uuid(text) => text.clone(),
    }
}

fn list(value: &Json) -> &[Json] {
    value.as_array().unwrap()
}

#[expect(clippy::cast_possible_truncation, reason = "written from 32 bits")]
fn floats(value: &Json) -> Vec<f32> {
    list(value).iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

fn filter(written: &Json) -> Filter {
    let part = |name: &str| written[name].as_array().into_iter().flatten().map(condition).collect();
    Filter { must: part("must"), must_not: part("must_not"), should: part("should"), min_should: None }
}

fn condition(written: &Json) -> Condition {
    let one = if let Some(inner) = written.get("filter") {
        ConditionOneOf::Filter(filter(inner))
    } else if let Some(ids) = written.get("has_id") {
        let has_id = list(ids).iter().map(|index| identity(index.as_u64().unwrap())).collect();
        ConditionOneOf::HasId(HasIdCondition { has_id })
    } else if let Some(key) = written.get("is_empty") {
        ConditionOneOf::IsEmpty(IsEmptyCondition { key: key.as_str().unwrap().to_owned() })
    } else if let Some(key) = written.get("is_null") {
        ConditionOneOf::IsNull(IsNullCondition { key: key.as_str().unwrap().to_owned() })
    } else {
        let key = written["key"].as_str().unwrap().to_owned();
        let range = written.get("range").map(|range| {
            let bound = |name: &str| range[name].as_f64();
            Range { lt: bound("lt"), gt: bound("gt"), gte: bound("gte"), lte: bound("lte") }
        });
        let r#match = written.get("match").map(|wanted| Match { match_value: Some(match_value(wanted)) });
        ConditionOneOf::Field(FieldCondition { key, range, r#match, ..FieldCondition::default() })
    };
    Condition { condition_one_of: Some(one) }
}

fn match_value(wanted: &Json) -> MatchValue {
    let strings = |value: &Json| RepeatedStrings {
        strings: list(value).iter().map(|text| text.as_str().unwrap().to_owned()).collect(),
    };
    if let Some(any) = wanted.get("any") {
        return MatchValue::Keywords(strings(any));
    }
    if let Some(except) = wanted.get("except") {
        return MatchValue::ExceptKeywords(strings(except));
    }
    match &wanted["value"] {
        Json::String(text) => MatchValue::Keyword(text.clone()),
        Json::Bool(value) => MatchValue::Boolean(*value),
        number => MatchValue::Integers(RepeatedIntegers { integers: vec![number.as_i64().unwrap()] }),
    }
}

/// The same points with the same scores; of equal scores any order.
#[track_caller]
fn assert_found(found: &[(u64, f32)], expected: &Json, about: &Json) {
    let expected: Vec<(u64, f64)> =
        list(expected).iter().map(|pair| (pair[0].as_u64().unwrap(), pair[1].as_f64().unwrap())).collect();
    let ids = |list: &[u64]| list.to_vec();
    let (found_ids, expected_ids): (Vec<u64>, Vec<u64>) =
        (found.iter().map(|it| it.0).collect(), expected.iter().map(|it| it.0).collect());
    assert_eq!(ids(&found_ids), ids(&expected_ids), "{about}");
    for ((_, found), (_, expected)) in found.iter().zip(&expected) {
        assert!((f64::from(*found) - expected).abs() < 2e-6, "{found} / {expected}: {about}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn test_server_answers_as_qdrants_engine_does() {
    let oracle = Oracle::new().await;
    for asked in list(&oracle.golden["queries"]) {
        let found = oracle.query(asked, asked["limit"].as_u64().unwrap()).await;
        assert_found(&found, &asked["found"], asked);
        assert_eq!(oracle.count(Some(filter(&asked["filter"]))).await, asked["count"].as_u64().unwrap(), "{asked}");
    }
    for scroll in list(&oracle.golden["scrolls"]) {
        let mut offset = None;
        for page in list(&scroll["pages"]) {
            let request = ScrollPoints {
                collection_name: COLLECTION.to_owned(),
                filter: Some(filter(&scroll["filter"])),
                offset: offset.take(),
                limit: Some(17),
                ..ScrollPoints::default()
            };
            let answer = oracle.client.scroll(request).await.unwrap();
            let ids: Vec<u64> = answer.result.iter().map(|point| oracle.index(point.id.as_ref().unwrap())).collect();
            let expected: Vec<u64> = list(&page["ids"]).iter().map(|id| id.as_u64().unwrap()).collect();
            assert_eq!(ids, expected, "{scroll}");
            assert_eq!(answer.next_page_offset.as_ref().map(|id| oracle.index(id)), page["next"].as_u64(), "{scroll}");
            offset = answer.next_page_offset;
        }
    }
    for change in list(&oracle.golden["changes"]) {
        if let Some(points) = change.get("upsert") {
            let mode = match change["mode"].as_str().unwrap() {
                "insert_only" => UpdateMode::InsertOnly,
                "update_only" => UpdateMode::UpdateOnly,
                _ => UpdateMode::Upsert,
            };
            oracle.upsert(points, mode).await;
            assert_found(&oracle.query(change, 10).await, &change["found"], change);
        } else {
            let points = Some(PointsSelectorOneOf::Filter(filter(&change["delete"])));
            let request = DeletePoints {
                collection_name: COLLECTION.to_owned(),
                wait: Some(true),
                points: Some(PointsSelector { points_selector_one_of: points }),
                ..DeletePoints::default()
            };
            oracle.client.delete_points(request).await.unwrap();
        }
        assert_eq!(oracle.count(None).await, change["left"].as_u64().unwrap(), "{change}");
    }
}
