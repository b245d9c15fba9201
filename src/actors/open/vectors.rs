//! The vector index.

use std::sync::Arc;

use super::OpenError;
use super::data_dir::same_encoder;
use crate::config::Config;
use crate::config::store::VectorsBackend;
use crate::messages::analysis::EmbeddingInfo;
use crate::models::Encoder;
use crate::stores::documents::{DocumentStore, RememberedDocument};
use crate::stores::qdrant::QdrantIndex;
use crate::stores::vector_index::{EmbeddedIndex, Opened, PooledIndex, Rebuilt};
use crate::stores::vectors::VectorIndex;

/// Opens the index, and rebuilds it from the store where its file is lost, torn or behind.
pub(super) async fn open_vectors(
    config: &Config,
    encoder: &dyn Encoder,
    documents: &Arc<dyn DocumentStore>,
) -> Result<Arc<dyn VectorIndex>, OpenError> {
    let path = config.daemon.data_dir.join(&config.store.vectors.path);
    if !config.node.is_worker() || !encoder.makes_vectors() {
        // nothing is compared or searched here: it stays empty
        let (index, _) = EmbeddedIndex::open(&path, encoder.info().dimension, &config.store.vectors)?;
        return Ok(Arc::new(PooledIndex::new(index)));
    }
    same_encoder(&config.daemon.data_dir, &encoder.info().model)?;
    if config.store.vectors.backend == VectorsBackend::Qdrant {
        let index = QdrantIndex::open(&config.qdrant, encoder.info(), Arc::clone(documents)).await?;
        return Ok(Arc::new(index));
    }
    let (index, opened) = EmbeddedIndex::open(&path, encoder.info().dimension, &config.store.vectors)?;
    let stored = documents.counts().await?.stored;
    match opened {
        Opened::MustRebuild(reason) => rebuild(&index, &**documents, &reason).await?,
        // a process killed between the verdict and its vector leaves a file that looks current
        Opened::Current if index.len() as u64 != stored => rebuild(&index, &**documents, "vectors are missing").await?,
        Opened::Current => {}
    }
    Ok(Arc::new(PooledIndex::new(index)))
}

async fn rebuild(index: &EmbeddedIndex, documents: &dyn DocumentStore, reason: &str) -> Result<(), OpenError> {
    let mut done = Rebuilt::default();
    let mut failed = None;
    index.start_rebuild();
    let visit = Box::new(|document: RememberedDocument| {
        if failed.is_none() {
            failed = index.confirm(&document, &mut done).err();
        }
    });
    documents.remember(i64::MIN, visit).await?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    index.finish_rebuild(&mut done)?;
    tracing::info!(reason, kept = done.kept, inserted = done.inserted, removed = done.removed, "vector index rebuilt");
    Ok(())
}

/// Asks the vector database, where one is configured, for checks; what it says.
///
/// # Errors
/// Why it can't be used.
pub async fn try_vectors(config: &Config, encoder: &EmbeddingInfo) -> Option<Result<String, OpenError>> {
    match config.store.vectors.backend {
        VectorsBackend::Embedded => None,
        VectorsBackend::Qdrant => Some(QdrantIndex::probe(&config.qdrant, encoder).await.map_err(OpenError::from)),
    }
}
