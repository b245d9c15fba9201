//! Nodes that a node is told apart from, and the stretches of a walk that share them.

use fastrand::Rng;

use super::{Node2VecConfig, Objective};
use crate::graph::csr::Csr;
use crate::graph::walks::{NodeAlias, below};

/// Most windows that share their negatives. Few, so that a stretch fits in the first cache.
const WINDOWS: usize = 16;

/// Where negatives come from.
#[derive(Debug)]
pub(in crate::graph) enum Negatives {
    /// All nodes alike; how many there are.
    Evenly(u32),
    /// By degree to the power of 0.75; nothing where no node has an arc, and then there is no walk to learn either.
    ByDegree(Option<NodeAlias>),
}

impl Negatives {
    pub(in crate::graph) fn new(graph: &Csr, objective: Objective) -> Self {
        let nodes = u32::try_from(graph.nodes()).unwrap_or(u32::MAX);
        match objective {
            Objective::SingleTable => Self::Evenly(nodes),
            Objective::SkipGram => {
                let weights: Vec<f32> = (0..nodes).map(|node| graph.strength(node).powf(0.75)).collect();
                Self::ByDegree(NodeAlias::new(&weights))
            }
        }
    }

    /// One node.
    pub(in crate::graph) fn draw(&self, random: &mut Rng) -> u32 {
        match self {
            Self::Evenly(nodes) => below(random, *nodes),
            Self::ByDegree(alias) => alias.as_ref().map_or(0, |alias| alias.draw(random)),
        }
    }
}

/// Windows of a walk that follow each other and share their negatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::graph) struct Passage<'a> {
    /// Nodes of all its windows; each but the last ones begins a window.
    pub(in crate::graph) nodes: &'a [u32],
    /// Nodes of a window, its first included.
    pub(in crate::graph) size: usize,
}

impl<'a> Passage<'a> {
    /// Divides a walk: windows of full size, or the one from its start where the walk is shorter than that.
    pub(in crate::graph) fn of(walk: &'a [u32], config: &Node2VecConfig) -> impl Iterator<Item = Self> + use<'a> {
        let size = config.context_size.min(walk.len());
        let windows = if size < 2 { 0 } else { walk.len() + 1 - size };
        (0..windows).step_by(WINDOWS).map(move |first| {
            let last = (first + WINDOWS).min(windows);
            Self { nodes: &walk[first..last + size - 1], size }
        })
    }

    /// How many nodes a window's first is near to.
    pub(in crate::graph) fn near(&self) -> usize {
        self.size - 1
    }

    /// How many negatives its windows share.
    pub(in crate::graph) fn far(&self, config: &Node2VecConfig) -> usize {
        self.near() * config.negatives
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passages_have_every_window_of_a_walk_once() {
        let walk: Vec<u32> = (0..100).collect();
        for (length, context_size) in
            [(0, 5), (1, 5), (2, 5), (5, 5), (20, 10), (25, 10), (26, 10), (100, 2), (100, 100)]
        {
            let config = Node2VecConfig { context_size, ..Node2VecConfig::default() };
            let walk = &walk[..length];
            let passages: Vec<Passage> = Passage::of(walk, &config).collect();
            let found: Vec<&[u32]> = passages.iter().flat_map(|passage| passage.nodes.windows(passage.size)).collect();
            let size = context_size.min(length).max(1);
            let expected: Vec<&[u32]> = if length < 2 { Vec::new() } else { walk.windows(size).collect() };
            assert_eq!(found, expected, "{length} nodes, windows of {context_size}");
            assert!(passages.iter().all(|passage| passage.nodes.len() < WINDOWS + passage.size));
        }
    }
}
