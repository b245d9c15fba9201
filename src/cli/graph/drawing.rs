//! The picture of what was learned.

use std::fmt::Write as _;

use super::learned::Space;
use crate::graph::communities::communities;
use crate::graph::picture::{Picture, by_community, by_folder};
use crate::graph::projection::project;

/// The same vectors give the same picture.
const SEED: u64 = 1;

/// What colours mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Colours {
    /// The folder a file lies in.
    Folder,
    /// Nodes that hang together.
    Community,
}

/// Draws the nodes where their vectors put them. Those without an edge are left out: chance put them where they are.
pub(super) fn draw(space: &Space, colours: Colours) -> String {
    let degrees = space.degrees();
    let shown: Vec<u32> = (0_u32..).zip(&degrees).filter(|(_, degree)| **degree > 0).map(|(node, _)| node).collect();
    let pick = |node: &u32| space.names[*node as usize].clone();
    let paths: Vec<String> = shown.iter().map(pick).collect();
    let mut place = vec![u32::MAX; space.names.len()];
    for (index, &node) in (0_u32..).zip(&shown) {
        place[node as usize] = index;
    }
    let edges: Vec<(u32, u32)> =
        space.edges.iter().map(|&(from, to)| (place[from as usize], place[to as usize])).collect();
    let vectors: Vec<f32> = shown.iter().filter_map(|&node| space.embeddings.row(node)).flatten().copied().collect();
    let positions = project(&vectors, space.embeddings.dimension, SEED);
    let groups = match colours {
        Colours::Folder => by_folder(&paths),
        Colours::Community => {
            let all = communities(&space.csr, SEED).labels;
            let own: Vec<u32> = shown.iter().map(|&node| all[node as usize]).collect();
            let own_degrees: Vec<u32> = shown.iter().map(|&node| degrees[node as usize]).collect();
            by_community(&paths, &own, &own_degrees)
        }
    };
    let left_out = space.names.len() - shown.len();
    let words = if space.is_repository { ["file", "import"] } else { ["node", "edge"] };
    let [dot, line] = words;
    let mut subtitle = format!("{} {dot}s, {} {line}s", shown.len(), edges.len());
    if left_out > 0 {
        let _ = write!(subtitle, "; {left_out} without any {line} are left out");
    }
    Picture {
        title: &space.title,
        subtitle: &subtitle,
        words,
        paths: &paths,
        positions: &positions,
        edges: &edges,
        groups: &groups,
    }
    .to_svg()
}
