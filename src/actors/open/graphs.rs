//! What learns repositories.

use std::sync::Arc;

use super::OpenError;
use crate::actors::graph_trainer::GraphTrainer;
use crate::config::Config;
use crate::config::store::VectorsBackend;
use crate::graph::repository::sweep;
use crate::stores::graphs::GraphStore;
use crate::stores::qdrant::graphs::QdrantGraphs;

/// The store of graphs, with vectors in Qdrant where those of documents are.
pub(super) fn with_vectors(config: &Config, store: Arc<dyn GraphStore>) -> Arc<dyn GraphStore> {
    match config.store.vectors.backend {
        VectorsBackend::Embedded => store,
        VectorsBackend::Qdrant => Arc::new(QdrantGraphs::new(store, &config.qdrant, &config.graph.qdrant_collection)),
    }
}

/// Makes the trainer, and deletes what a crash left of the repositories that were read then.
pub(super) fn open_trainer(config: &Config, store: &Arc<dyn GraphStore>) -> Result<Arc<GraphTrainer>, OpenError> {
    let graph = config.graph.rooted(&config.daemon.data_dir);
    let named = |reason: String| OpenError::DataDir { path: graph.temp_dir.clone(), reason };
    let swept = sweep(&graph.temp_dir).map_err(|error| named(error.to_string()))?;
    if swept > 0 {
        tracing::info!(directories = swept, "repositories of the process before are deleted");
    }
    let trainer = GraphTrainer::new(Arc::clone(store), graph.clone());
    Ok(Arc::new(trainer.map_err(|error| named(format!("no threads: {error}")))?))
}
