//! Graphs that are made.

use std::collections::HashSet;

use fastrand::Rng;

/// Edges of a Barabási–Albert graph: every node after the first few joins `each` others, chosen by their degree.
pub fn barabasi_albert(nodes: u32, each: u32, seed: u64) -> Vec<(u32, u32, f32)> {
    let mut random = Rng::with_seed(seed);
    let mut edges: Vec<(u32, u32, f32)> = (1..=each).map(|node| (0, node, 1.0)).collect();
    let mut ends: Vec<u32> = edges.iter().flat_map(|&(from, to, _)| [from, to]).collect();
    for node in each + 1..nodes {
        let mut chosen = HashSet::new();
        while chosen.len() < each as usize {
            chosen.insert(ends[random.usize(0..ends.len())]);
        }
        let mut chosen: Vec<u32> = chosen.into_iter().collect();
        chosen.sort_unstable();
        for other in chosen {
            edges.push((node, other, 1.0));
            ends.extend([node, other]);
        }
    }
    edges
}

/// Most memory this process has held, in MiB, as Linux counts it; 0 elsewhere.
pub fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0.0);
    kib / 1024.0
}
