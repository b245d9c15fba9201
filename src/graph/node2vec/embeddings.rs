//! What training gives.

/// Vectors of all nodes, and how the training went.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// Numbers in a vector.
    pub dimension: usize,
    /// The vectors one after the other, in the order of the nodes.
    pub values: Vec<f32>,
    /// Loss of every epoch.
    pub losses: Vec<EpochLoss>,
    /// Steps of all walks.
    pub steps: u64,
    /// Pairs learned from, negative ones included.
    pub pairs: u64,
}

/// Loss of one epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochLoss {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Mean of `-ln σ(h·h' + offset)` over near pairs plus mean of `-ln σ(-h·h' - offset)` over random pairs; 1.386 is a
    /// coin's.
    pub loss: f64,
}

impl Embeddings {
    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.values.len() / self.dimension
    }

    /// The vector of a node, `None` where there is no such node.
    pub fn row(&self, node: u32) -> Option<&[f32]> {
        let start = (node as usize).checked_mul(self.dimension)?;
        self.values.get(start..start.checked_add(self.dimension)?)
    }

    /// The `count` nodes whose vectors point most the same way, with the cosine, nearest first; ties by number.
    pub fn nearest(&self, node: u32, count: usize) -> Vec<(u32, f32)> {
        let Some(row) = self.row(node) else { return Vec::new() };
        let own = dot(row, row).sqrt();
        let mut near: Vec<(u32, f32)> = (0..)
            .zip(self.values.chunks_exact(self.dimension))
            .filter(|&(other, _)| other != node)
            .map(|(other, values)| {
                let norm = own * dot(values, values).sqrt();
                (other, if norm > 0.0 { dot(row, values) / norm } else { 0.0 })
            })
            .collect();
        let order = |one: &(u32, f32), two: &(u32, f32)| two.1.total_cmp(&one.1).then(one.0.cmp(&two.0));
        if count < near.len() {
            near.select_nth_unstable_by(count, order);
            near.truncate(count);
        }
        near.sort_unstable_by(order);
        near
    }
}

fn dot(one: &[f32], two: &[f32]) -> f32 {
    one.iter().zip(two).map(|(one, two)| one * two).sum()
}
