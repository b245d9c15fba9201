//! The collection: made with the right parameters, checked where it is there.

use std::collections::HashMap;

use futures_util::FutureExt as _;
use qdrant_client::qdrant::quantization_config::Quantization as QuantizationKind;
use qdrant_client::qdrant::vectors_config::Config as VectorsKind;
use qdrant_client::qdrant::{
    CollectionInfo, CreateCollection, CreateFieldIndexCollection, Datatype, Distance, FieldType,
    GetCollectionInfoRequest, HnswConfigDiff, PayloadSchemaType, QuantizationConfig, QuantizationType,
    ScalarQuantization, ScrollPoints, Value, VectorParams, VectorsConfig,
};

use super::connection::{CallError, Connection};
use super::points::{self, MODEL, SOURCE, STATE, SYMBOLS, Statement, TIMESTAMP};
use super::{QdrantOpenError, Shared};
use crate::config::qdrant::{QdrantConfig, Quantization};
use crate::messages::analysis::EmbeddingInfo;

/// Names the encoder in the collection's metadata.
const METADATA_MODEL: &str = "tidemill_model";

/// What filters ask for, indexed.
pub(super) const INDEXES: [(&str, FieldType, PayloadSchemaType); 5] = [
    (SOURCE, FieldType::Keyword, PayloadSchemaType::Keyword),
    (SYMBOLS, FieldType::Keyword, PayloadSchemaType::Keyword),
    (TIMESTAMP, FieldType::Integer, PayloadSchemaType::Integer),
    (STATE, FieldType::Keyword, PayloadSchemaType::Keyword),
    (MODEL, FieldType::Keyword, PayloadSchemaType::Keyword),
];

/// The collection and the settings don't fit each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollectionError {
    /// The key is wrong.
    #[error("qdrant.api_key: {0}")]
    Key(String),
    /// It was made for something else.
    #[error(
        "qdrant.collection: collection {name} {found}, {wanted} is needed; name another collection or delete this one"
    )]
    Differs {
        /// Its name.
        name: String,
        /// What it has.
        found: String,
        /// What the encoder needs.
        wanted: String,
    },
    /// Its vectors are another encoder's.
    #[error(
        "encoder.kind: collection {name} holds vectors of {known}, which can't be compared with those of {wanted}; set the \
         encoder back or name another collection as qdrant.collection"
    )]
    Encoder {
        /// Its name.
        name: String,
        /// The encoder it began with.
        known: String,
        /// The one configured now.
        wanted: String,
    },
}

/// A failed call while opening.
fn opening(error: CallError) -> QdrantOpenError {
    match error {
        CallError::Denied(reason) => CollectionError::Key(reason).into(),
        other => QdrantOpenError::Store(other.into()),
    }
}

/// Whether the collection is there and fits.
pub(super) async fn verify(
    connection: &Connection,
    config: &QdrantConfig,
    embedding: &EmbeddingInfo,
) -> Result<bool, QdrantOpenError> {
    let request = GetCollectionInfoRequest { collection_name: config.collection.clone() };
    let answer = connection.once("collection", |client| {
        let request = request.clone();
        async move { client.collection_info(request).await }.boxed()
    });
    let info = match answer.await {
        Ok(answer) => answer.result.unwrap_or_default(),
        Err(CallError::Gone(_)) => return Ok(false),
        Err(error) => return Err(opening(error)),
    };
    fits(config, embedding, &info)?;
    if info_model(&info).is_none_or(|model| model != *embedding.model) {
        // made by other hands, or by a server that keeps no metadata: the points tell
        no_other_model(connection, config, embedding).await?;
    }
    Ok(true)
}

fn info_model(info: &CollectionInfo) -> Option<String> {
    let config = info.config.as_ref()?;
    points::text(&config.metadata, METADATA_MODEL).map(str::to_owned)
}

/// Compares parameters and metadata.
fn fits(config: &QdrantConfig, embedding: &EmbeddingInfo, info: &CollectionInfo) -> Result<(), CollectionError> {
    let wanted = format!("one unnamed vector of {} values by cosine", embedding.dimension);
    let name = config.collection.clone();
    let differs = |found: String| CollectionError::Differs { name: name.clone(), found, wanted: wanted.clone() };
    let vectors = info.config.as_ref().and_then(|config| config.params.as_ref()?.vectors_config.as_ref());
    let params = match vectors.and_then(|vectors| vectors.config.as_ref()) {
        Some(VectorsKind::Params(params)) => params,
        Some(VectorsKind::ParamsMap(_)) => return Err(differs("has named vectors".to_owned())),
        None => return Err(differs("has no vectors".to_owned())),
    };
    if params.size != embedding.dimension as u64 {
        return Err(differs(format!("has vectors of {} values", params.size)));
    }
    if params.distance() != Distance::Cosine {
        return Err(differs(format!("compares by {:?}", params.distance())));
    }
    if !matches!(params.datatype(), Datatype::Default | Datatype::Float32) {
        return Err(differs(format!("keeps values as {:?}", params.datatype())));
    }
    if params.multivector_config.is_some() {
        return Err(differs("has several vectors a point".to_owned()));
    }
    match info_model(info) {
        Some(known) if known != *embedding.model => {
            Err(CollectionError::Encoder { name, known, wanted: embedding.model.to_string() })
        }
        _ => Ok(()),
    }
}

/// Looks for a point of another encoder.
async fn no_other_model(
    connection: &Connection,
    config: &QdrantConfig,
    embedding: &EmbeddingInfo,
) -> Result<(), QdrantOpenError> {
    let request = ScrollPoints {
        collection_name: config.collection.clone(),
        filter: Some(Statement::all().not_model(&embedding.model).filter()),
        limit: Some(1),
        with_payload: Some(true.into()),
        ..ScrollPoints::default()
    };
    let answer = connection.once("scroll", |client| {
        let request = request.clone();
        async move { client.scroll(request).await }.boxed()
    });
    let Some(point) = answer.await.map_err(opening)?.result.into_iter().next() else { return Ok(()) };
    let known = points::text(&point.payload, MODEL).unwrap_or("no known encoder").to_owned();
    let wanted = embedding.model.to_string();
    Err(CollectionError::Encoder { name: config.collection.clone(), known, wanted }.into())
}

impl Shared {
    /// Makes the collection and its indexes where they are missing, and checks what is there.
    pub(super) async fn ensure_collection(&self) -> Result<(), QdrantOpenError> {
        if !verify(&self.connection, &self.config, &self.embedding).await? {
            let request = creation(&self.config, &self.embedding);
            let made = self.connection.once("create", |client| {
                let request = request.clone();
                async move { client.create_collection(request).await }.boxed()
            });
            match made.await {
                Ok(_) => tracing::info!(collection = %self.config.collection, "qdrant collection created"),
                // another daemon was faster
                Err(CallError::Exists(_)) => {}
                Err(CallError::Refused(reason)) if reason.contains("already exists") => {}
                Err(error) => return Err(opening(error)),
            }
            if !verify(&self.connection, &self.config, &self.embedding).await? {
                let reason = format!("qdrant: collection {} is not there after it was created", self.config.collection);
                return Err(opening(CallError::Away(reason)));
            }
        }
        self.ensure_indexes().await.map_err(opening)
    }

    async fn ensure_indexes(&self) -> Result<(), CallError> {
        let request = GetCollectionInfoRequest { collection_name: self.config.collection.clone() };
        let answer = self.connection.ask("collection", |client| {
            let request = request.clone();
            async move { client.collection_info(request).await }.boxed()
        });
        let schema = answer.await?.result.unwrap_or_default().payload_schema;
        for &(field, kind, known) in self.indexes {
            if schema.get(field).is_some_and(|found| found.data_type() == known) {
                continue;
            }
            let request = CreateFieldIndexCollection {
                collection_name: self.config.collection.clone(),
                wait: Some(true),
                field_name: field.to_owned(),
                field_type: Some(kind.into()),
                ..CreateFieldIndexCollection::default()
            };
            let made = self.connection.update("index", |client| {
                let request = request.clone();
                async move { client.create_field_index(request).await }.boxed()
            });
            made.await?;
        }
        Ok(())
    }
}

#[expect(deprecated, reason = "the newer settings of memory are unknown to servers before 1.20")]
fn creation(config: &QdrantConfig, embedding: &EmbeddingInfo) -> CreateCollection {
    let vectors = VectorParams {
        size: embedding.dimension as u64,
        distance: Distance::Cosine.into(),
        datatype: Some(Datatype::Float32.into()),
        on_disk: Some(config.on_disk),
        ..VectorParams::default()
    };
    let quantization = match config.quantization {
        Quantization::None => None,
        Quantization::Scalar => Some(QuantizationConfig {
            quantization: Some(QuantizationKind::Scalar(ScalarQuantization {
                r#type: QuantizationType::Int8.into(),
                quantile: None,
                always_ram: Some(true),
                ..ScalarQuantization::default()
            })),
        }),
    };
    CreateCollection {
        collection_name: config.collection.clone(),
        vectors_config: Some(VectorsConfig { config: Some(VectorsKind::Params(vectors)) }),
        shard_number: Some(config.shards),
        replication_factor: Some(config.replication),
        write_consistency_factor: Some(config.majority()),
        quantization_config: quantization,
        hnsw_config: Some(HnswConfigDiff {
            m: Some(u64::from(config.hnsw_m)),
            ef_construct: Some(u64::from(config.hnsw_ef_construct)),
            ..HnswConfigDiff::default()
        }),
        on_disk_payload: Some(config.on_disk),
        metadata: HashMap::from([(METADATA_MODEL.to_owned(), Value::from(embedding.model.to_string()))]),
        ..CreateCollection::default()
    }
}
