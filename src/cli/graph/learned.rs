//! What was learned, in one form for repositories and files of edges.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::cli::exit::UsageError;
use crate::graph::csr::Csr;
use crate::graph::edge_list::EdgeList;
use crate::graph::learning::Learned;
use crate::graph::node2vec::Embeddings;

/// Names suggested where one is not there.
const SUGGESTED: usize = 5;

/// Nodes with their vectors.
pub(super) struct Space {
    /// Headline of a picture.
    pub(super) title: String,
    /// Whether nodes are files and packages.
    pub(super) is_repository: bool,
    /// Names of the nodes.
    pub(super) names: Vec<String>,
    /// Language of each node; none for external packages. Empty where nodes are no files.
    pub(super) languages: Vec<Option<&'static str>>,
    /// Edges, each pair once.
    pub(super) edges: Vec<(u32, u32)>,
    pub(super) csr: Csr,
    pub(super) embeddings: Embeddings,
    /// What is printed.
    pub(super) figures: Value,
}

/// A node and how near it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Near {
    pub(super) name: String,
    pub(super) similarity: f32,
}

impl Space {
    pub(super) fn of_repository(learned: Learned, directed: bool) -> anyhow::Result<Self> {
        let figures = learned.figures();
        let graph = &learned.graph;
        let commit: String = learned.commit.chars().take(10).collect();
        let node = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        Ok(Self {
            title: format!("{} at {commit}", learned.url),
            is_repository: true,
            names: (0..graph.nodes()).map(|index| graph.name(node(index)).to_owned()).collect(),
            languages: (0..graph.nodes())
                .map(|index| graph.files.get(index).map(|file| file.language.name()))
                .collect(),
            edges: graph.edges.iter().map(|edge| (edge.from, edge.to)).collect(),
            csr: Csr::from_edges(graph.nodes(), &graph.weighted_edges(), directed)?,
            embeddings: learned.embeddings,
            figures,
        })
    }

    pub(super) fn of_edges(file: &Path, list: EdgeList, csr: Csr, embeddings: Embeddings, figures: Value) -> Self {
        Self {
            title: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            is_repository: false,
            names: list.names,
            languages: Vec::new(),
            edges: list.edges.into_iter().map(|(from, to, _)| (from, to)).collect(),
            csr,
            embeddings,
            figures,
        }
    }

    /// The nodes nearest to one that has edges, among those that have.
    ///
    /// # Errors
    /// If there is no such node; names that end the same way are suggested.
    pub(super) fn nearest(&self, name: &str, k: usize) -> anyhow::Result<Vec<Near>> {
        let Some(index) = self.names.iter().position(|known| known == name) else {
            let end = name.rsplit('/').next().unwrap_or(name);
            let like: Vec<&str> =
                self.names.iter().map(String::as_str).filter(|known| known.ends_with(end)).take(SUGGESTED).collect();
            let hint = if like.is_empty() { String::new() } else { format!("; there is {}", like.join(", ")) };
            return Err(UsageError(format!("--similar {name:?}: there is no such node{hint}")).into());
        };
        let degrees = self.degrees();
        if degrees[index] == 0 {
            return Ok(Vec::new()); // its vector is where chance put it
        }
        let node = u32::try_from(index)?;
        let near = self.embeddings.nearest(node, self.names.len()).into_iter();
        let connected = near.filter(|(other, _)| degrees[*other as usize] > 0).take(k);
        Ok(connected.map(|(other, similarity)| Near { name: self.names[other as usize].clone(), similarity }).collect())
    }

    /// Edges of each node, in both directions.
    pub(super) fn degrees(&self) -> Vec<u32> {
        let mut degrees = vec![0_u32; self.names.len()];
        for end in self.edges.iter().flat_map(|&(from, to)| [from, to]) {
            degrees[end as usize] += 1;
        }
        degrees
    }
}
