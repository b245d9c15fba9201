//! Compares the collection with the documents while it is in use, for the job `reindex`.
//!
//! What is there when a comparison begins is remembered by the points' names; documents that are confirmed, and points
//! that are written meanwhile, are struck off. Points of other encoders and claims are left alone.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use qdrant_client::qdrant::RetrievedPoint;
use uuid::Uuid;

use super::points::{self, DOCUMENT_ID, State, Statement, point_id};
use super::{QdrantIndex, Shared};
use crate::stores::documents::{RememberedDocument, StoreError};
use crate::stores::vectors::Reconcile;

impl Reconcile for QdrantIndex {
    fn begin(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let shared = &self.shared;
            shared.check_ready()?;
            shared.unconfirmed.lock().clear();
            let mut offset = None;
            loop {
                let stored = Statement::of(&shared.embedding.model).state(State::Stored);
                let (page, next) = shared.page(stored, points::no_payload(), offset).await?;
                let ids = page.iter().filter_map(|point| points::uuid(point.id.as_ref()?));
                shared.unconfirmed.lock().extend(ids);
                offset = next;
                if offset.is_none() {
                    return Ok(());
                }
            }
        }
        .boxed()
    }

    fn confirm(&self, documents: Arc<[RememberedDocument]>) -> BoxFuture<'_, Result<Vec<bool>, StoreError>> {
        async move {
            let shared = &self.shared;
            shared.check_ready()?;
            let with_vector = documents.iter().filter(|document| document.vector.is_some());
            let ids: Vec<Uuid> = with_vector.map(|document| point_id(&document.id)).collect();
            let found = shared.get_points(&ids, points::whole_payload(), true).await?;
            let mut found: HashMap<Uuid, RetrievedPoint> =
                found.into_iter().filter_map(|point| Some((points::uuid(point.id.as_ref()?)?, point))).collect();
            let mut confirmed = Vec::with_capacity(documents.len());
            for document in documents.iter() {
                let Some(vector) = &document.vector else {
                    confirmed.push(true); // it needs none
                    continue;
                };
                let id = point_id(&document.id);
                let same = match found.remove(&id) {
                    Some(point) => shared.is_as_stored(point, document, vector)?,
                    None => false,
                };
                if same {
                    shared.unconfirmed.lock().remove(&id);
                }
                confirmed.push(same);
            }
            Ok(confirmed)
        }
        .boxed()
    }

    fn unconfirmed(&self) -> BoxFuture<'_, Result<Vec<Arc<str>>, StoreError>> {
        async move {
            let shared = &self.shared;
            shared.check_ready()?;
            let left: Vec<Uuid> = shared.unconfirmed.lock().iter().copied().collect();
            let found = shared.get_points(&left, points::wanted_payload(), false).await?;
            let named = found.iter().filter(|point| !points::is_claim(&point.payload));
            Ok(named.filter_map(|point| points::text(&point.payload, DOCUMENT_ID)).map(Arc::from).collect())
        }
        .boxed()
    }
}

impl Shared {
    /// Whether a point is what a document would be written as.
    fn is_as_stored(
        &self,
        point: RetrievedPoint,
        document: &RememberedDocument,
        vector: &[f32],
    ) -> Result<bool, StoreError> {
        let wanted = self.normalised(vector).map_err(StoreError::Refused)?;
        let payload = &point.payload;
        let said = points::text(payload, points::STATE) == Some(State::Stored.as_str())
            && points::text(payload, points::MODEL) == Some(&*self.embedding.model)
            && points::text(payload, points::SOURCE) == Some(&*document.source)
            && points::integer(payload, points::TIMESTAMP) == Some(document.timestamp_ms)
            && points::texts(payload, points::SYMBOLS).is_some_and(|symbols| symbols == document.symbols);
        Ok(said && points::values(point).is_some_and(|values| points::are_same(&values, &wanted)))
    }
}
