//! Claims in Qdrant: points of their own, each named by its document's id.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use qdrant_client::qdrant::{GetPoints, PointStruct, RetrievedPoint, ScoredPoint, WithPayloadSelector};
use uuid::Uuid;

use super::points::{self, DOCUMENT_ID, Payload, State, Statement, claim_point_id, point_id};
use super::{QdrantIndex, Shared, ordered};
use crate::messages::record::Position;
use crate::stores::documents::StoreError;
use crate::stores::shared_vectors::{ClaimLimits, Claimant, SettledVector, SharedVectors, VectorClaim};
use crate::stores::vectors::{Neighbor, VectorQuery};

impl Shared {
    /// Points by id, those there are.
    pub(super) async fn get_points(
        &self,
        ids: &[Uuid],
        payload: WithPayloadSelector,
        vectors: bool,
    ) -> Result<Vec<RetrievedPoint>, StoreError> {
        let mut found = Vec::new();
        for part in ids.chunks(self.config.batch_points) {
            let request = GetPoints {
                collection_name: self.config.collection.clone(),
                ids: part.iter().map(|id| points::named(*id)).collect(),
                with_payload: Some(payload.clone()),
                with_vectors: Some(vectors.into()),
                read_consistency: self.read_consistency(),
                ..GetPoints::default()
            };
            let answer = self.connection.ask("get", |client| {
                let request = request.clone();
                async move { client.get_points(request).await }.boxed()
            });
            found.extend(self.noticed(answer.await)?.result);
        }
        Ok(found)
    }

    /// Which of these points are there.
    async fn present(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, StoreError> {
        let found = self.get_points(ids, points::no_payload(), false).await?;
        Ok(found.iter().filter_map(|point| points::uuid(point.id.as_ref()?)).collect())
    }

    /// Documents among the stored points found that are claimed anew.
    async fn claimed_anew(&self, found: &[Vec<ScoredPoint>]) -> Result<HashSet<String>, StoreError> {
        let stored = found.iter().flatten().filter(|point| !points::is_claim(&point.payload));
        let ids: HashMap<Uuid, String> = stored
            .filter_map(|point| points::text(&point.payload, DOCUMENT_ID))
            .map(|id| (claim_point_id(id), id.to_owned()))
            .collect();
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        let asked: Vec<Uuid> = ids.keys().copied().collect();
        let claimed = self.present(&asked).await?;
        Ok(ids.into_iter().filter(|(point, _)| claimed.contains(point)).map(|(_, id)| id).collect())
    }

    /// Ends the claims of these records.
    async fn end_claims(&self, operation: &'static str, claims: &[(Arc<str>, Position)]) -> Result<(), StoreError> {
        for part in claims.chunks(self.config.batch_points) {
            let ids = part.iter().map(|(id, _)| claim_point_id(id));
            let statement = Statement::all().ids(ids).origins(part.iter().map(|(_, origin)| origin));
            self.delete_points(operation, statement).await?;
        }
        Ok(())
    }
}

impl SharedVectors for QdrantIndex {
    fn nearest_claimed(&self, queries: Vec<VectorQuery>) -> BoxFuture<'_, Result<Vec<Vec<Neighbor>>, StoreError>> {
        async move {
            let shared = &self.shared;
            shared.check_ready()?;
            let stated: Vec<(VectorQuery, Statement)> = queries
                .into_iter()
                .map(|query| {
                    let statement = Statement::of(&shared.embedding.model).not_state(State::Gone);
                    let statement = statement.filtered(&query.filter);
                    (query, statement)
                })
                .collect();
            let found = shared.query("nearest_claimed", &stated).await?;
            let anew = shared.claimed_anew(&found).await?;
            let counts = |point: &ScoredPoint| {
                let id = points::text(&point.payload, DOCUMENT_ID);
                points::is_claim(&point.payload) || id.is_some_and(|id| !anew.contains(id))
            };
            let answers = found
                .into_iter()
                .zip(&stated)
                .map(|(points, (query, _))| ordered(points.into_iter().filter(counts).collect(), query));
            Ok(answers.collect())
        }
        .boxed()
    }

    fn claim(&self, claims: Vec<VectorClaim>) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let shared = &self.shared;
            shared.check_ready()?;
            // a copy leaves word only where an earlier revision or claim of it could be found
            let copies = claims.iter().filter(|claim| claim.vector.is_none());
            let asked: Vec<Uuid> = copies.flat_map(|copy| [point_id(&copy.id), claim_point_id(&copy.id)]).collect();
            let present = if asked.is_empty() { HashSet::new() } else { shared.present(&asked).await? };
            let (mut made, mut ended) = (Vec::new(), Vec::new());
            let now_ms = Utc::now().timestamp_millis();
            for claim in &claims {
                if claim.vector.is_some() || present.contains(&point_id(&claim.id)) {
                    made.push(shared.claim_point(claim, now_ms)?);
                } else if present.contains(&claim_point_id(&claim.id)) {
                    ended.push(claim_point_id(&claim.id));
                }
            }
            if !ended.is_empty() {
                shared.delete_points("unclaim", Statement::all().ids(ended)).await?;
            }
            shared.upsert_points("claim", made).await
        }
        .boxed()
    }

    fn withdraw(&self, claims: Vec<(Arc<str>, Position)>) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            self.shared.check_ready()?;
            self.shared.end_claims("withdraw", &claims).await
        }
        .boxed()
    }

    fn claimant<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Claimant>, StoreError>> {
        async move {
            self.shared.check_ready()?;
            let found = self.shared.get_points(&[claim_point_id(id)], points::wanted_payload(), false).await?;
            Ok(found.first().and_then(|point| points::claimant(&point.payload)))
        }
        .boxed()
    }

    fn settle(&self, settled: Vec<SettledVector>) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let shared = &self.shared;
            shared.check_ready()?;
            let stored: Result<Vec<PointStruct>, StoreError> = settled
                .iter()
                .filter_map(|settled| Some((settled.entry.as_ref()?, &settled.correlation_id)))
                .map(|(entry, correlation_id)| shared.stored_point(entry, Some(correlation_id)))
                .collect();
            shared.upsert_points("settle", stored?).await?;
            let copies: Vec<Uuid> =
                settled.iter().filter(|settled| settled.entry.is_none()).map(|it| point_id(&it.id)).collect();
            if !copies.is_empty() {
                shared.delete_points("remove", Statement::all().ids(copies)).await?;
            }
            let claims: Vec<(Arc<str>, Position)> =
                settled.into_iter().map(|settled| (settled.id, settled.origin)).collect();
            shared.end_claims("unclaim", &claims).await
        }
        .boxed()
    }

    fn settle_again(&self, stored: Vec<SettledVector>) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let shared = &self.shared;
            shared.check_ready()?;
            let ids: Vec<Uuid> = stored.iter().map(|settled| claim_point_id(&settled.id)).collect();
            let claims = shared.get_points(&ids, points::wanted_payload(), true).await?;
            let left: HashMap<Uuid, (Position, Vec<f32>)> = claims
                .into_iter()
                .filter(|point| points::text(&point.payload, points::STATE) == Some(State::Pending.as_str()))
                .filter_map(|point| {
                    let origin = points::claimant(&point.payload)?.origin;
                    Some((points::uuid(point.id.as_ref()?)?, (origin, points::values(point)?)))
                })
                .collect();
            let mut again = Vec::new();
            for mut settled in stored {
                // another record's claim is a revision on its way
                let Some((origin, values)) = left.get(&claim_point_id(&settled.id)) else { continue };
                if *origin == settled.origin
                    && let Some(entry) = &mut settled.entry
                {
                    entry.vector = values.as_slice().into();
                    again.push(settled);
                }
            }
            if again.is_empty() { Ok(()) } else { self.settle(again).await }
        }
        .boxed()
    }

    fn limits(&self) -> ClaimLimits {
        let config = &self.shared.config;
        ClaimLimits { lease: config.lock_lease(), max_age: Duration::from_secs(config.claim_max_age_seconds) }
    }
}

/// What of a claim tells when it may end.
pub(super) fn claim_of(payload: &Payload) -> Option<(Arc<str>, Claimant)> {
    let id = points::text(payload, DOCUMENT_ID)?.into();
    Some((id, points::claimant(payload)?))
}
