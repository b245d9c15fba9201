//! The simple scores of a pair of nodes that learned vectors have to be better than (Liben-Nowell and Kleinberg 2007).

use crate::graph::csr::Csr;

/// A score from the neighbourhoods of two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heuristic {
    /// How many neighbours they share.
    CommonNeighbours,
    /// Share of all their neighbours that both have.
    Jaccard,
    /// Shared neighbours, those with many neighbours counting less: sum of `1 / ln(degree)`.
    AdamicAdar,
    /// Product of their degrees.
    PreferentialAttachment,
}

impl Heuristic {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::CommonNeighbours, Self::Jaccard, Self::AdamicAdar, Self::PreferentialAttachment];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::CommonNeighbours => "common neighbours",
            Self::Jaccard => "Jaccard",
            Self::AdamicAdar => "Adamic-Adar",
            Self::PreferentialAttachment => "preferential attachment",
        }
    }

    /// The score of a pair.
    #[expect(clippy::cast_precision_loss, reason = "counts of neighbours")]
    pub fn score(self, graph: &Csr, one: u32, two: u32) -> f64 {
        let shared = || shared(graph.neighbours(one), graph.neighbours(two));
        let degrees = (graph.degree(one), graph.degree(two));
        match self {
            Self::CommonNeighbours => shared().count() as f64,
            Self::Jaccard => {
                let both = shared().count();
                both as f64 / (degrees.0 + degrees.1 - both).max(1) as f64
            }
            // A shared neighbour has degree 2 at least, unless arcs lead one way; then it counts as if it had.
            Self::AdamicAdar => shared().map(|node| 1.0 / (graph.degree(node).max(2) as f64).ln()).sum(),
            Self::PreferentialAttachment => degrees.0 as f64 * degrees.1 as f64,
        }
    }
}

/// What two ascending lists share.
fn shared<'a>(one: &'a [u32], two: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
    let (mut left, mut right) = (0, 0);
    std::iter::from_fn(move || {
        while left < one.len() && right < two.len() {
            match one[left].cmp(&two[right]) {
                std::cmp::Ordering::Less => left += 1,
                std::cmp::Ordering::Greater => right += 1,
                std::cmp::Ordering::Equal => {
                    left += 1;
                    right += 1;
                    return Some(one[left - 1]);
                }
            }
        }
        None
    })
}
