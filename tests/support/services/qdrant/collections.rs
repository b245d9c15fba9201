//! The service of collections.

use std::collections::HashMap;

use qdrant_client::qdrant::{self, CollectionStatus, OptimizerStatus, PayloadSchemaInfo};
use tonic::{Request, Response, Status};

use super::Service;
use super::store::Collection;

fn done(result: bool) -> Response<qdrant::CollectionOperationResponse> {
    Response::new(qdrant::CollectionOperationResponse { result, time: 0.0 })
}

#[expect(deprecated, reason = "what it was created with is told as it came")]
fn info(collection: &Collection) -> qdrant::CollectionInfo {
    let created = &collection.created;
    let schema = collection.schema.iter().map(|(field, kind)| {
        let info = PayloadSchemaInfo { data_type: (*kind).into(), params: None, points: None };
        (field.clone(), info)
    });
    qdrant::CollectionInfo {
        status: CollectionStatus::Green.into(),
        optimizer_status: Some(OptimizerStatus { ok: true, error: String::new() }),
        segments_count: 1,
        config: Some(qdrant::CollectionConfig {
            params: Some(qdrant::CollectionParams {
                shard_number: created.shard_number.unwrap_or(1),
                on_disk_payload: created.on_disk_payload.unwrap_or(true),
                vectors_config: created.vectors_config.clone(),
                replication_factor: created.replication_factor,
                write_consistency_factor: created.write_consistency_factor,
                ..qdrant::CollectionParams::default()
            }),
            hnsw_config: created.hnsw_config,
            quantization_config: created.quantization_config,
            metadata: created.metadata.clone(),
            ..qdrant::CollectionConfig::default()
        }),
        payload_schema: schema.collect::<HashMap<_, _>>(),
        points_count: Some(collection.points.len() as u64),
        indexed_vectors_count: Some(0),
        ..qdrant::CollectionInfo::default()
    }
}

/// Writes the service: what is here, and what is refused.
macro_rules! service {
    ({ $($here:tt)* } refuses { $($name:ident($request:ident) -> $answer:ident;)* }) => {
        #[tonic::async_trait]
        impl qdrant::collections_server::Collections for Service {
            $($here)*
            $(async fn $name(&self, _: Request<qdrant::$request>) -> Result<Response<qdrant::$answer>, Status> {
                Err(Status::unimplemented(concat!("the test server has no ", stringify!($name))))
            })*
        }
    };
}

service!({
    async fn get(
        &self,
        request: Request<qdrant::GetCollectionInfoRequest>,
    ) -> Result<Response<qdrant::GetCollectionInfoResponse>, Status> {
        self.0.enter(&request).await?;
        let mut store = self.0.store.lock();
        let result = Some(info(store.collection(&request.into_inner().collection_name)?));
        Ok(Response::new(qdrant::GetCollectionInfoResponse { result, time: 0.0 }))
    }

    async fn list(
        &self,
        request: Request<qdrant::ListCollectionsRequest>,
    ) -> Result<Response<qdrant::ListCollectionsResponse>, Status> {
        self.0.enter(&request).await?;
        let names = self.0.store.lock().collections.keys().cloned().collect::<Vec<_>>();
        let collections = names.into_iter().map(|name| qdrant::CollectionDescription { name }).collect();
        Ok(Response::new(qdrant::ListCollectionsResponse { collections, time: 0.0 }))
    }

    async fn create(
        &self,
        request: Request<qdrant::CreateCollection>,
    ) -> Result<Response<qdrant::CollectionOperationResponse>, Status> {
        self.0.enter_write(&request).await?;
        self.0.store.lock().create(request.into_inner())?;
        Ok(done(true))
    }

    async fn delete(
        &self,
        request: Request<qdrant::DeleteCollection>,
    ) -> Result<Response<qdrant::CollectionOperationResponse>, Status> {
        self.0.enter_write(&request).await?;
        let removed = self.0.store.lock().collections.remove(&request.into_inner().collection_name);
        Ok(done(removed.is_some()))
    }

    async fn collection_exists(
        &self,
        request: Request<qdrant::CollectionExistsRequest>,
    ) -> Result<Response<qdrant::CollectionExistsResponse>, Status> {
        self.0.enter(&request).await?;
        let exists = self.0.store.lock().collections.contains_key(&request.into_inner().collection_name);
        let result = Some(qdrant::CollectionExists { exists });
        Ok(Response::new(qdrant::CollectionExistsResponse { result, time: 0.0 }))
    }
} refuses {
    update(UpdateCollection) -> CollectionOperationResponse;
    update_aliases(ChangeAliases) -> CollectionOperationResponse;
    list_collection_aliases(ListCollectionAliasesRequest) -> ListAliasesResponse;
    list_aliases(ListAliasesRequest) -> ListAliasesResponse;
    collection_cluster_info(CollectionClusterInfoRequest) -> CollectionClusterInfoResponse;
    update_collection_cluster_setup(UpdateCollectionClusterSetupRequest) -> UpdateCollectionClusterSetupResponse;
    create_shard_key(CreateShardKeyRequest) -> CreateShardKeyResponse;
    delete_shard_key(DeleteShardKeyRequest) -> DeleteShardKeyResponse;
    list_shard_keys(ListShardKeysRequest) -> ListShardKeysResponse;
});
