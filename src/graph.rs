//! Graph learning: from edges to vectors of nodes. Pure; it knows nothing of actors, stores or HTTP.

pub mod communities;
pub mod csr;
pub mod edge_list;
pub mod error;
pub mod evaluation;
pub mod node2vec;
pub mod projection;
mod reference;
mod skipgram;
pub mod walks;
