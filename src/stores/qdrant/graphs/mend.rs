//! Compares the collection with the store of graphs and mends it, while both are in use.
//!
//! The store is the truth. A training that is on its way is left to its trainer; what a newer one took the place of while
//! it was mended is deleted again, as the newer one does that only once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use qdrant_client::qdrant::{PointStruct, RetrievedPoint};
use uuid::Uuid;

use super::{GRAPH_ID, NODE2VEC, QdrantGraphs, look, point_id};
use crate::stores::documents::StoreError;
use crate::stores::graphs::{BATCH_FILES, FileVector, Graph, GraphDrift};
use crate::stores::qdrant::Shared;
use crate::stores::qdrant::points::{self, Statement, text};

/// Points by the training they say they belong to.
type Points = HashMap<String, HashSet<Uuid>>;

impl QdrantGraphs {
    /// Compares everything once, and mends what differs unless it is a dry run.
    pub(super) async fn mend(&self, dry_run: bool) -> Result<GraphDrift, StoreError> {
        let mut drift = GraphDrift::default();
        let published: Vec<Graph> =
            self.store.trainings().await?.into_iter().filter(|it| it.is_published).map(|it| it.graph).collect();
        // a collection has one dimension; graphs of other settings are answered from the store
        let dimension = published.first().map_or(0, |graph| graph.dimension);
        let shared = match published.first() {
            Some(_) if !dry_run => self.open(dimension).await?,
            _ => look(&self.config, dimension as usize)?,
        };
        let mut left = shared.by_training().await?;
        for graph in published.iter().filter(|graph| graph.dimension == dimension) {
            let mut there = left.remove(&*graph.id).unwrap_or_default();
            let found = self.mend_graph(&shared, graph, &mut there, dry_run).await?;
            if self.is_published(graph).await? {
                drift.same += found.same;
                drift.missing += found.missing;
                drift.extra += shared.clear(&graph.id, there, dry_run).await?;
            } else if !dry_run {
                shared.delete_points("drop_graph_files", Statement::all().keyword(GRAPH_ID, &graph.id)).await?;
            }
        }
        // asked only now: what began meanwhile is known too
        let known: HashSet<Arc<str>> = self.store.trainings().await?.into_iter().map(|it| it.graph.id).collect();
        for (id, there) in left.into_iter().filter(|(id, _)| !known.contains(&**id)) {
            drift.extra += shared.clear(&id, there, dry_run).await?;
        }
        Ok(drift)
    }

    /// Compares the files of a graph; those that have a point are taken out of `there`.
    async fn mend_graph(
        &self,
        shared: &Shared,
        graph: &Graph,
        there: &mut HashSet<Uuid>,
        dry_run: bool,
    ) -> Result<GraphDrift, StoreError> {
        let mut drift = GraphDrift::default();
        let mut after: Option<Arc<str>> = None;
        loop {
            let files = self.store.files_after(&graph.id, after.as_deref()).await?;
            let differing = shared.differing(graph, &files, there).await?;
            drift.missing += differing.len() as u64;
            drift.same += (files.len() - differing.len()) as u64;
            if !dry_run {
                shared.upsert_points("mend_graph_files", differing).await?;
            }
            if files.len() < BATCH_FILES {
                return Ok(drift);
            }
            after = files.last().map(|file| Arc::clone(&file.path));
        }
    }
}

impl Shared {
    /// The names of all points; none if there is no collection.
    async fn by_training(&self) -> Result<Points, StoreError> {
        let mut found = Points::new();
        let mut offset = None;
        loop {
            let (page, next) = match self.page(Statement::of(NODE2VEC), points::payload_of(&[GRAPH_ID]), offset).await {
                Ok(page) => page,
                Err(_) if self.is_gone() => return Ok(Points::new()),
                Err(error) => return Err(error),
            };
            for point in &page {
                if let (Some(id), Some(point)) =
                    (text(&point.payload, GRAPH_ID), point.id.as_ref().and_then(points::uuid))
                {
                    found.entry(id.to_owned()).or_default().insert(point);
                }
            }
            offset = next;
            if offset.is_none() {
                return Ok(found);
            }
        }
    }

    /// The points these files should have and don't.
    async fn differing(
        &self,
        graph: &Graph,
        files: &[FileVector],
        there: &mut HashSet<Uuid>,
    ) -> Result<Vec<PointStruct>, StoreError> {
        let ids: Vec<Uuid> =
            files.iter().map(|file| point_id(&graph.id, &file.path)).filter(|id| there.remove(id)).collect();
        let found =
            if ids.is_empty() { Vec::new() } else { self.get_points(&ids, points::whole_payload(), true).await? };
        let mut found: HashMap<Uuid, RetrievedPoint> =
            found.into_iter().filter_map(|point| Some((points::uuid(point.id.as_ref()?)?, point))).collect();
        let mut differing = Vec::new();
        for file in files {
            let wanted = self.file_point(&graph.id, graph, file)?;
            let is = found.remove(&point_id(&graph.id, &file.path));
            let said = is.filter(|point| point.payload == wanted.payload).and_then(points::values);
            let written = self.normalised(&file.vector).map_err(StoreError::Refused)?;
            if !said.is_some_and(|values| points::are_same(&values, &written)) {
                differing.push(wanted);
            }
        }
        Ok(differing)
    }

    /// Deletes points of a training unless it is a dry run; how many.
    async fn clear(&self, id: &str, strangers: HashSet<Uuid>, dry_run: bool) -> Result<u64, StoreError> {
        let count = strangers.len() as u64;
        let strangers: Vec<Uuid> = strangers.into_iter().collect();
        for part in strangers.chunks(self.config.batch_points).filter(|_| !dry_run) {
            let statement = Statement::all().keyword(GRAPH_ID, id).ids(part.iter().copied());
            self.delete_points("drop_graph_files", statement).await?;
        }
        Ok(count)
    }
}
