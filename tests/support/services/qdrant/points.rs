//! The service of points.

use std::collections::HashMap;

use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::query::Variant;
use qdrant_client::qdrant::vector_input::Variant as InputVariant;
use qdrant_client::qdrant::with_payload_selector::SelectorOptions as PayloadOptions;
use qdrant_client::qdrant::with_vectors_selector::SelectorOptions as VectorsOptions;
use qdrant_client::qdrant::{
    self, DenseVector, FieldType, PayloadSchemaType, PointsSelector, ScoredPoint, UpdateStatus, Value, VectorOutput,
    VectorsOutput, WithPayloadSelector, WithVectorsSelector, vector_output, vectors_output,
};
use tonic::{Request, Response, Status};

use super::Service;
use super::store::{Collection, Name, Point};

/// Points of an answer unless asked otherwise.
const DEFAULT_LIMIT: u64 = 10;

fn updated(collection: &Collection, wait: Option<bool>) -> qdrant::PointsOperationResponse {
    let status = if wait == Some(true) { UpdateStatus::Completed } else { UpdateStatus::Acknowledged };
    let result = qdrant::UpdateResult { operation_id: Some(collection.operations), status: status.into() };
    qdrant::PointsOperationResponse { result: Some(result), time: 0.0, usage: None }
}

/// What of the payload is wanted; nothing unless asked, or everything where that is the default.
fn payload(
    point: &Point,
    selector: Option<&WithPayloadSelector>,
    default: bool,
) -> Result<HashMap<String, Value>, Status> {
    Ok(match selector.and_then(|selector| selector.selector_options.as_ref()) {
        None if default => point.payload.clone(),
        None | Some(PayloadOptions::Enable(false)) => HashMap::new(),
        Some(PayloadOptions::Enable(true)) => point.payload.clone(),
        Some(PayloadOptions::Include(include)) => {
            let wanted = point.payload.iter().filter(|(key, _)| include.fields.contains(key));
            wanted.map(|(key, value)| (key.clone(), value.clone())).collect()
        }
        Some(PayloadOptions::Exclude(exclude)) => {
            let wanted = point.payload.iter().filter(|(key, _)| !exclude.fields.contains(key));
            wanted.map(|(key, value)| (key.clone(), value.clone())).collect()
        }
    })
}

fn vectors(point: &Point, selector: Option<&WithVectorsSelector>) -> Result<Option<VectorsOutput>, Status> {
    match selector.and_then(|selector| selector.selector_options.as_ref()) {
        None | Some(VectorsOptions::Enable(false)) => Ok(None),
        Some(VectorsOptions::Enable(true)) => {
            let dense = vector_output::Vector::Dense(DenseVector { data: point.values.clone() });
            let vector = VectorOutput { vector: Some(dense), ..VectorOutput::default() };
            Ok(Some(VectorsOutput { vectors_options: Some(vectors_output::VectorsOptions::Vector(vector)) }))
        }
        Some(VectorsOptions::Include(_)) => Err(Status::unimplemented("the test server has no named vectors")),
    }
}

/// The nearest, best first; of equals in the order of their names.
fn query(collection: &Collection, asked: &qdrant::QueryPoints) -> Result<Vec<ScoredPoint>, Status> {
    let variant = asked.query.as_ref().and_then(|query| query.variant.as_ref());
    let Some(Variant::Nearest(input)) = variant else {
        return Err(Status::unimplemented("the test server knows queries by nearest vector only"));
    };
    let Some(InputVariant::Dense(dense)) = &input.variant else {
        return Err(Status::unimplemented("the test server knows dense queries only"));
    };
    if !asked.prefetch.is_empty() || asked.using.is_some() || asked.lookup_from.is_some() {
        return Err(Status::unimplemented("the test server has no prefetch, named vectors or look-ups"));
    }
    let wanted = collection.values(dense.data.clone())?;
    let mut scored = Vec::new();
    for found in collection.matching(asked.filter.as_ref()) {
        let (name, point) = found?;
        let score: f32 = point.values.iter().zip(&wanted).map(|(one, two)| one * two).sum();
        if asked.score_threshold.is_none_or(|threshold| score >= threshold) {
            scored.push((score, name, point));
        }
    }
    scored.sort_by(|one, two| two.0.total_cmp(&one.0).then(one.1.cmp(&two.1)));
    let (offset, limit) = (asked.offset.unwrap_or(0), asked.limit.unwrap_or(DEFAULT_LIMIT));
    let page = scored.into_iter().skip(usize::try_from(offset).unwrap()).take(usize::try_from(limit).unwrap());
    page.map(|(score, name, point)| {
        Ok(ScoredPoint {
            id: Some(name.id()),
            payload: payload(point, asked.with_payload.as_ref(), false)?,
            score,
            version: 0,
            vectors: vectors(point, asked.with_vectors.as_ref())?,
            shard_key: None,
            order_value: None,
        })
    })
    .collect()
}

fn retrieved(
    name: Name,
    point: &Point,
    with_payload: Option<&WithPayloadSelector>,
    with_vectors: Option<&WithVectorsSelector>,
) -> Result<qdrant::RetrievedPoint, Status> {
    Ok(qdrant::RetrievedPoint {
        id: Some(name.id()),
        payload: payload(point, with_payload, true)?,
        vectors: vectors(point, with_vectors)?,
        shard_key: None,
        order_value: None,
    })
}

/// The points a change means.
fn selected(collection: &Collection, selector: Option<PointsSelector>) -> Result<Vec<Name>, Status> {
    match selector.and_then(|selector| selector.points_selector_one_of) {
        Some(PointsSelectorOneOf::Points(list)) => list.ids.iter().map(|id| Name::of(Some(id))).collect(),
        Some(PointsSelectorOneOf::Filter(filter)) => {
            collection.matching(Some(&filter)).map(|found| Ok(found?.0)).collect()
        }
        None => Err(Status::invalid_argument("PointSelector is missing")),
    }
}

/// Writes the service: what is here, and what is refused.
macro_rules! service {
    ({ $($here:tt)* } refuses { $($name:ident($request:ident) -> $answer:ident;)* }) => {
        #[tonic::async_trait]
        impl qdrant::points_server::Points for Service {
            $($here)*
            $(async fn $name(&self, _: Request<qdrant::$request>) -> Result<Response<qdrant::$answer>, Status> {
                Err(Status::unimplemented(concat!("the test server has no ", stringify!($name))))
            })*
        }
    };
}

service!({
    async fn upsert(
        &self,
        request: Request<qdrant::UpsertPoints>,
    ) -> Result<Response<qdrant::PointsOperationResponse>, Status> {
        self.0.enter_write(&request).await?;
        let request = request.into_inner();
        if request.update_filter.is_some() {
            return Err(Status::unimplemented("the test server has no update filter"));
        }
        let mode = request.update_mode();
        let answer = {
            let mut store = self.0.store.lock();
            let collection = store.collection(&request.collection_name)?;
            collection.upsert(request.points, mode)?;
            updated(collection, request.wait)
        };
        self.0.written(answer)
    }

    async fn delete(
        &self,
        request: Request<qdrant::DeletePoints>,
    ) -> Result<Response<qdrant::PointsOperationResponse>, Status> {
        self.0.enter_write(&request).await?;
        let request = request.into_inner();
        let answer = {
            let mut store = self.0.store.lock();
            let collection = store.collection(&request.collection_name)?;
            for name in selected(collection, request.points)? {
                collection.points.remove(&name);
            }
            collection.operations += 1;
            updated(collection, request.wait)
        };
        self.0.written(answer)
    }

    async fn get(
        &self,
        request: Request<qdrant::GetPoints>,
    ) -> Result<Response<qdrant::GetResponse>, Status> {
        self.0.enter(&request).await?;
        let request = request.into_inner();
        let mut store = self.0.store.lock();
        let collection = store.collection(&request.collection_name)?;
        let mut result = Vec::new();
        for id in &request.ids {
            let name = Name::of(Some(id))?;
            if let Some(point) = collection.points.get(&name) {
                let (payload, vectors) = (request.with_payload.as_ref(), request.with_vectors.as_ref());
                result.push(retrieved(name, point, payload, vectors)?);
            }
        }
        Ok(Response::new(qdrant::GetResponse { result, time: 0.0, usage: None }))
    }

    async fn create_field_index(
        &self,
        request: Request<qdrant::CreateFieldIndexCollection>,
    ) -> Result<Response<qdrant::PointsOperationResponse>, Status> {
        self.0.enter_write(&request).await?;
        let request = request.into_inner();
        let kind = match request.field_type() {
            FieldType::Keyword => PayloadSchemaType::Keyword,
            FieldType::Integer => PayloadSchemaType::Integer,
            other => return Err(Status::unimplemented(format!("the test server has no index of {other:?}"))),
        };
        let answer = {
            let mut store = self.0.store.lock();
            let collection = store.collection(&request.collection_name)?;
            collection.schema.insert(request.field_name, kind);
            collection.operations += 1;
            updated(collection, request.wait)
        };
        self.0.written(answer)
    }

    async fn scroll(
        &self,
        request: Request<qdrant::ScrollPoints>,
    ) -> Result<Response<qdrant::ScrollResponse>, Status> {
        self.0.enter(&request).await?;
        let request = request.into_inner();
        if request.order_by.is_some() {
            return Err(Status::unimplemented("the test server scrolls by id only"));
        }
        let first = request.offset.as_ref().map(|id| Name::of(Some(id))).transpose()?;
        let limit = request.limit.map_or(DEFAULT_LIMIT, u64::from);
        let mut store = self.0.store.lock();
        let collection = store.collection(&request.collection_name)?;
        let (mut result, mut next_page_offset) = (Vec::new(), None);
        for found in collection.matching(request.filter.as_ref()) {
            let (name, point) = found?;
            if first.is_some_and(|first| name < first) {
                continue;
            }
            if result.len() as u64 == limit {
                next_page_offset = Some(name.id());
                break;
            }
            result.push(retrieved(name, point, request.with_payload.as_ref(), request.with_vectors.as_ref())?);
        }
        Ok(Response::new(qdrant::ScrollResponse { next_page_offset, result, time: 0.0, usage: None }))
    }

    async fn count(
        &self,
        request: Request<qdrant::CountPoints>,
    ) -> Result<Response<qdrant::CountResponse>, Status> {
        self.0.enter(&request).await?;
        let request = request.into_inner();
        let mut store = self.0.store.lock();
        let collection = store.collection(&request.collection_name)?;
        let mut count = 0;
        for found in collection.matching(request.filter.as_ref()) {
            found?;
            count += 1;
        }
        let result = Some(qdrant::CountResult { count });
        Ok(Response::new(qdrant::CountResponse { result, time: 0.0, usage: None }))
    }

    async fn query(
        &self,
        request: Request<qdrant::QueryPoints>,
    ) -> Result<Response<qdrant::QueryResponse>, Status> {
        self.0.enter(&request).await?;
        let request = request.into_inner();
        let mut store = self.0.store.lock();
        let result = query(store.collection(&request.collection_name)?, &request)?;
        Ok(Response::new(qdrant::QueryResponse { result, time: 0.0, usage: None }))
    }

    async fn query_batch(
        &self,
        request: Request<qdrant::QueryBatchPoints>,
    ) -> Result<Response<qdrant::QueryBatchResponse>, Status> {
        self.0.enter(&request).await?;
        let request = request.into_inner();
        let mut store = self.0.store.lock();
        let collection = store.collection(&request.collection_name)?;
        let answers: Result<Vec<_>, Status> =
            request.query_points.iter().map(|asked| Ok(qdrant::BatchResult { result: query(collection, asked)? })).collect();
        Ok(Response::new(qdrant::QueryBatchResponse { result: answers?, time: 0.0, usage: None }))
    }
} refuses {
    update_vectors(UpdatePointVectors) -> PointsOperationResponse;
    delete_vectors(DeletePointVectors) -> PointsOperationResponse;
    set_payload(SetPayloadPoints) -> PointsOperationResponse;
    overwrite_payload(SetPayloadPoints) -> PointsOperationResponse;
    delete_payload(DeletePayloadPoints) -> PointsOperationResponse;
    clear_payload(ClearPayloadPoints) -> PointsOperationResponse;
    delete_field_index(DeleteFieldIndexCollection) -> PointsOperationResponse;
    create_vector_name(CreateVectorNameRequest) -> PointsOperationResponse;
    delete_vector_name(DeleteVectorNameRequest) -> PointsOperationResponse;
    search(SearchPoints) -> SearchResponse;
    search_batch(SearchBatchPoints) -> SearchBatchResponse;
    search_groups(SearchPointGroups) -> SearchGroupsResponse;
    recommend(RecommendPoints) -> RecommendResponse;
    recommend_batch(RecommendBatchPoints) -> RecommendBatchResponse;
    recommend_groups(RecommendPointGroups) -> RecommendGroupsResponse;
    discover(DiscoverPoints) -> DiscoverResponse;
    discover_batch(DiscoverBatchPoints) -> DiscoverBatchResponse;
    update_batch(UpdateBatchPoints) -> UpdateBatchResponse;
    query_groups(QueryPointGroups) -> QueryGroupsResponse;
    facet(FacetCounts) -> FacetResponse;
    search_matrix_pairs(SearchMatrixPoints) -> SearchMatrixPairsResponse;
    search_matrix_offsets(SearchMatrixPoints) -> SearchMatrixOffsetsResponse;
});
