//! The collection: how it is made, when it is refused, and how it becomes equal to the documents.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{TimeZone, Utc};
use qdrant_client::qdrant::vectors_config::Config as VectorsKind;
use qdrant_client::qdrant::{
    CreateCollection, CreateCollectionBuilder, Distance, PayloadSchemaType, VectorParamsBuilder, VectorsConfig,
};
use tidemill::config::qdrant::{QdrantConfig, Quantization};
use tidemill::messages::analysis::{Analysis, VerdictLabel};
use tidemill::messages::correlation::CorrelationId;
use tidemill::messages::document::Document;
use tidemill::messages::record::Position;
use tidemill::stores::documents::{DocumentStore, VerdictRow};
use tidemill::stores::qdrant::{QdrantIndex, point_id};
use tidemill::stores::vectors::{VectorFilter, VectorIndex, VectorQuery};

use crate::server::QdrantTestServer;
use crate::suite::{self, DIMENSION, random_vector};
use crate::{PATIENCE, Place, embedding};

/// A stored document with this vector.
pub fn row(index: usize, vector: &Arc<[f32]>) -> VerdictRow {
    let id: Arc<str> = format!("doc-{index:06}").into();
    let timestamp_ms = i64::try_from(index).unwrap() * 60_000;
    let document = Document {
        id: Arc::clone(&id),
        source: "news".into(),
        url: None,
        title: None,
        text: format!("story {index}"),
        author: None,
        published_at: None,
        symbols: vec!["AAPL".to_owned()],
        lang: None,
        metadata: serde_json::Map::new(),
    };
    let analysis = Analysis {
        document_id: id,
        correlation_id: CorrelationId::random(),
        source: "news".into(),
        symbols: vec!["AAPL".to_owned()],
        verdict: VerdictLabel::Stored,
        duplicate_of: None,
        rule: None,
        similarity: None,
        sentiment: None,
        category: None,
        entities: Vec::new(),
        embedding: Some(embedding("suite-v1", DIMENSION)),
        published_at: None,
        processed_at: Utc.timestamp_opt(1_750_000_000, 0).unwrap(),
        timings_ms: BTreeMap::new(),
        origin: Position { topic: "documents".into(), partition: 0, offset: i64::try_from(index).unwrap() },
    };
    VerdictRow {
        document: Arc::new(document),
        analysis: analysis.into(),
        vector: Some(Arc::clone(vector)),
        content_hash: [0; 32],
        timestamp_ms,
    }
}

/// Vectors of stored documents.
async fn fill(store: &dyn DocumentStore, count: usize) -> Vec<Arc<[f32]>> {
    let mut random = fastrand::Rng::with_seed(30);
    let vectors: Vec<Arc<[f32]>> = (0..count).map(|_| random_vector(&mut random, DIMENSION)).collect();
    let rows = vectors.iter().enumerate().map(|(index, vector)| row(index, vector)).collect();
    store.write(rows).await.unwrap();
    vectors
}

async fn finds(index: &QdrantIndex, vector: &Arc<[f32]>, id: &str) {
    let query = VectorQuery { vector: Arc::clone(vector), k: 1, filter: VectorFilter::default() };
    let found = index.nearest(query).await.unwrap();
    assert_eq!(&*found[0].id, id);
    assert!(found[0].similarity > 0.999);
}

#[tokio::test(flavor = "multi_thread")]
async fn collection_is_made_with_the_right_parameters() {
    let mut place = Place::with_server(QdrantTestServer::start());
    place.config = QdrantConfig {
        shards: 3,
        replication: 3,
        on_disk: true,
        quantization: Quantization::Scalar,
        hnsw_m: 24,
        ..place.config.clone()
    };
    place.open().await;
    let name = place.config.collection.clone();
    let mut store = place.server().shared.store.lock();
    let collection = store.collection(&name).unwrap();
    assert_eq!((collection.params.size, collection.params.distance()), (DIMENSION as u64, Distance::Cosine));
    let created: &CreateCollection = &collection.created;
    assert_eq!(
        (created.shard_number, created.replication_factor, created.write_consistency_factor),
        (Some(3), Some(3), Some(2))
    );
    assert_eq!(created.hnsw_config.unwrap().m, Some(24));
    assert!(created.quantization_config.is_some());
    let schema: Vec<(&str, PayloadSchemaType)> =
        collection.schema.iter().map(|(field, kind)| (field.as_str(), *kind)).collect();
    let keyword = PayloadSchemaType::Keyword;
    assert_eq!(
        schema,
        [
            ("model", keyword),
            ("source", keyword),
            ("state", keyword),
            ("symbols", keyword),
            ("timestamp", PayloadSchemaType::Integer)
        ]
    );
}

async fn refusal(place: &Place, model: &str, dimension: usize) -> String {
    let opened = QdrantIndex::open(&place.config, &embedding(model, dimension), Arc::clone(&place.store)).await;
    let error = opened.err().unwrap();
    assert!(!error.may_pass(), "{error}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn collection_of_another_kind_is_refused_with_the_reason() {
    let place = Place::new();
    place.open().await;
    let error = refusal(&place, "suite-v1", 384).await;
    assert!(error.contains("has vectors of 24 values") && error.contains("384"), "{error}");
    let error = refusal(&place, "other-v2", DIMENSION).await;
    assert!(error.contains("suite-v1") && error.contains("other-v2") && error.contains("encoder.kind"), "{error}");
    assert_eq!(
        QdrantIndex::probe(&place.config, &embedding("suite-v1", DIMENSION)).await.unwrap(),
        format!("qdrant 1.20.0 answers, collection {} fits", place.config.collection)
    );

    let mut euclid = Place::with_server(QdrantTestServer::start());
    let name = euclid.config.collection.clone();
    let params = VectorParamsBuilder::new(DIMENSION as u64, Distance::Euclid).build();
    let config = VectorsConfig { config: Some(VectorsKind::Params(params)) };
    let created: CreateCollection = CreateCollectionBuilder::new(name).vectors_config(config).into();
    euclid.server().shared.store.lock().create(created).unwrap();
    let error = refusal(&euclid, "suite-v1", DIMENSION).await;
    assert!(error.contains("compares by Euclid"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_of_another_encoder_without_a_name_on_the_collection_are_noticed() {
    let mut place = Place::with_server(QdrantTestServer::start());
    fill(&*place.store, 3).await;
    let index = place.open().await;
    index.check().await.unwrap();
    assert_eq!(index.len(), 3);
    drop(index);
    let name = place.config.collection.clone();
    place.server().shared.store.lock().collection(&name).unwrap().created.metadata.clear();
    drop(place.open().await);
    let error = refusal(&place, "other-v2", DIMENSION).await;
    assert!(error.contains("suite-v1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_api_key_is_a_setting_to_change() {
    let mut place = Place::with_server(QdrantTestServer::start_with_key(Some("right")));
    for key in [None, Some("wrong")] {
        place.config.api_key = key.map(tidemill::config::secret::Secret::new);
        let error = refusal(&place, "suite-v1", DIMENSION).await;
        assert!(error.contains("qdrant.api_key") && !error.contains("wrong"), "{error}");
    }
    place.config.api_key = Some(tidemill::config::secret::Secret::new("right"));
    place.open().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn collection_becomes_equal_to_the_documents_at_the_start() {
    let place = Place::new();
    let vectors = fill(&*place.store, 350).await;
    let index = place.open().await;
    index.check().await.unwrap();
    assert_eq!(index.len(), 350);
    finds(&index, &vectors[7], "doc-000007").await;
    // some are lost, some are strangers
    index.remove((0..100).map(|at| Arc::from(format!("doc-{at:06}"))).collect()).await.unwrap();
    let mut strangers = suite::entries(20, 9);
    for (at, entry) in strangers.iter_mut().enumerate() {
        entry.id = format!("stranger-{at}").into();
    }
    index.upsert(strangers.clone()).await.unwrap();
    drop(index);
    let index = place.open().await;
    index.check().await.unwrap();
    assert_eq!(index.len(), 350);
    finds(&index, &vectors[7], "doc-000007").await;
    let query = VectorQuery { vector: strangers[0].vector.clone(), k: 1, filter: VectorFilter::default() };
    assert!(index.nearest(query).await.unwrap()[0].similarity < 0.999);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_collection_is_made_and_filled_again_under_a_running_daemon() {
    let mut place = Place::with_server(QdrantTestServer::start());
    let vectors = fill(&*place.store, 120).await;
    let index = place.open().await;
    let name = place.config.collection.clone();
    place.server().shared.store.lock().collections.remove(&name);
    let error = index.upsert(suite::entries(1, 1)).await.unwrap_err();
    assert!(error.is_retriable() && error.to_string().contains("doesn't exist"), "{error}");
    assert!(index.wait_until_ready(PATIENCE).await);
    finds(&index, &vectors[11], "doc-000011").await;
    index.check().await.unwrap();
    assert_eq!(index.len(), 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn points_are_named_by_their_document_and_replaced() {
    let mut place = Place::with_server(QdrantTestServer::start());
    let index = place.open().await;
    index.upsert(suite::entries(3, 1)).await.unwrap();
    index.upsert(suite::entries(3, 2)).await.unwrap();
    let name = place.config.collection.clone();
    let store = &place.server().shared.store;
    let names: Vec<u128> = store
        .lock()
        .collection(&name)
        .unwrap()
        .points
        .keys()
        .map(|name| match name {
            crate::server::Name::Uuid(uuid) => *uuid,
            crate::server::Name::Number(_) => unreachable!(),
        })
        .collect();
    let mut expected: Vec<u128> = (0..3).map(|at| point_id(&format!("doc-{at:06}")).as_u128()).collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
}
