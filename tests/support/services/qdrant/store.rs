//! Collections and points in memory.

use std::collections::{BTreeMap, HashMap};

use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::vector::Vector as VectorKind;
use qdrant_client::qdrant::vectors::VectorsOptions;
use qdrant_client::qdrant::vectors_config::Config as VectorsKind;
use qdrant_client::qdrant::{
    CreateCollection, Distance, Filter, PayloadSchemaType, PointId, PointStruct, UpdateMode, Value, VectorParams,
    Vectors,
};
use tonic::Status;

use super::filter::passes;

/// A point's name; numbers sort before UUIDs, as in Qdrant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    Number(u64),
    Uuid(u128),
}

impl Name {
    /// As a request names it.
    pub fn of(id: Option<&PointId>) -> Result<Self, Status> {
        match id.and_then(|id| id.point_id_options.as_ref()) {
            Some(PointIdOptions::Num(number)) => Ok(Self::Number(*number)),
            Some(PointIdOptions::Uuid(text)) => uuid::Uuid::parse_str(text)
                .map(|uuid| Self::Uuid(uuid.as_u128()))
                .map_err(|_| Status::invalid_argument(format!("Unable to parse UUID: {text}"))),
            None => Err(Status::invalid_argument("Expected point id")),
        }
    }

    /// As an answer names it.
    pub fn id(self) -> PointId {
        match self {
            Self::Number(number) => PointId::from(number),
            Self::Uuid(uuid) => PointId::from(uuid::Uuid::from_u128(uuid).to_string()),
        }
    }
}

/// A point.
#[derive(Debug, Clone)]
pub struct Point {
    pub values: Vec<f32>,
    pub payload: HashMap<String, Value>,
}

/// A collection.
#[derive(Debug, Clone)]
pub struct Collection {
    pub created: CreateCollection,
    pub params: VectorParams,
    pub schema: BTreeMap<String, PayloadSchemaType>,
    pub points: BTreeMap<Name, Point>,
    /// Changes so far.
    pub operations: u64,
}

/// All collections.
#[derive(Debug, Default)]
pub struct Store {
    pub collections: BTreeMap<String, Collection>,
}

impl Store {
    /// Makes a collection.
    pub fn create(&mut self, created: CreateCollection) -> Result<(), Status> {
        let name = created.collection_name.clone();
        if self.collections.contains_key(&name) {
            return Err(Status::already_exists(format!("Wrong input: Collection `{name}` already exists!")));
        }
        let config = created.vectors_config.as_ref().and_then(|config| config.config.clone());
        let Some(VectorsKind::Params(params)) = config else {
            return Err(Status::unimplemented("the test server has unnamed vectors only"));
        };
        if params.size == 0 {
            return Err(Status::invalid_argument("Validation error: vectors.size: must be at least 1"));
        }
        let collection =
            Collection { created, params, schema: BTreeMap::new(), points: BTreeMap::new(), operations: 0 };
        self.collections.insert(name, collection);
        Ok(())
    }

    /// The collection of this name.
    pub fn collection(&mut self, name: &str) -> Result<&mut Collection, Status> {
        let missing = || Status::not_found(format!("Not found: Collection `{name}` doesn't exist!"));
        self.collections.get_mut(name).ok_or_else(missing)
    }
}

impl Collection {
    /// Values as they are kept: with length 1 where the distance is the cosine.
    pub fn values(&self, values: Vec<f32>) -> Result<Vec<f32>, Status> {
        let (expected, got) = (self.params.size, values.len());
        if expected != got as u64 {
            let message = format!("Wrong input: Vector dimension error: expected dim: {expected}, got {got}");
            return Err(Status::invalid_argument(message));
        }
        if self.params.distance() != Distance::Cosine {
            return Err(Status::unimplemented("the test server compares by cosine only"));
        }
        let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        Ok(if norm > f32::EPSILON { values.iter().map(|value| value / norm).collect() } else { values })
    }

    /// Inserts or replaces, all or none.
    pub fn upsert(&mut self, points: Vec<PointStruct>, mode: UpdateMode) -> Result<(), Status> {
        let named: Result<Vec<(Name, Point)>, Status> = points
            .into_iter()
            .map(|point| {
                let name = Name::of(point.id.as_ref())?;
                Ok((name, Point { values: self.values(dense(point.vectors)?)?, payload: point.payload }))
            })
            .collect();
        for (name, point) in named? {
            let known = self.points.contains_key(&name);
            let wanted = match mode {
                UpdateMode::Upsert => true,
                UpdateMode::InsertOnly => !known,
                UpdateMode::UpdateOnly => known,
            };
            if wanted {
                self.points.insert(name, point);
            }
        }
        self.operations += 1;
        Ok(())
    }

    /// Points that pass, in the order of their names.
    pub fn matching<'a>(
        &'a self,
        filter: Option<&'a Filter>,
    ) -> impl Iterator<Item = Result<(Name, &'a Point), Status>> + 'a {
        self.points.iter().filter_map(move |(name, point)| {
            match filter.map_or(Ok(true), |it| passes(it, *name, point)) {
                Ok(true) => Some(Ok((*name, point))),
                Ok(false) => None,
                Err(status) => Some(Err(status)),
            }
        })
    }
}

fn dense(vectors: Option<Vectors>) -> Result<Vec<f32>, Status> {
    match vectors.and_then(|vectors| vectors.vectors_options) {
        Some(VectorsOptions::Vector(vector)) => match vector.vector {
            Some(VectorKind::Dense(dense)) => Ok(dense.data),
            #[expect(deprecated, reason = "older clients send it so")]
            None if !vector.data.is_empty() => Ok(vector.data),
            _ => Err(Status::unimplemented("the test server has dense vectors only")),
        },
        _ => Err(Status::invalid_argument("Wrong input: Not existing vector name error")),
    }
}
