//! How time grows with the graph, as a picture.

use std::fmt::Write;
use std::path::Path;

use tidemill::graph::node2vec::Node2VecConfig;

use crate::speed::{graph, learn};

/// Nodes of the graphs.
const NODES: [u32; 7] = [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000];
/// Width and height of the picture, and the room left for what stands beside the lines.
const SIZE: (f64, f64) = (640.0, 420.0);
const ROOM: f64 = 60.0;

/// Learns graphs of a thousand to a million nodes, one walk from each node, and writes the picture.
pub fn run(svg: &Path) {
    let config = Node2VecConfig { epochs: 1, walks_per_node: 1, ..Node2VecConfig::default() };
    let mut points = Vec::new();
    for nodes in NODES {
        let graph = graph(nodes);
        // Small graphs are learned several times: one thread's start takes longer than they do.
        let runs = (100_000 / nodes).clamp(1, 20);
        let seconds = (0..runs).map(|_| learn(&graph, &config).0).fold(f64::INFINITY, f64::min);
        println!("{nodes} nodes: {seconds:.4} s, {:.2} µs a node", seconds / f64::from(nodes) * 1e6);
        points.push((f64::from(nodes), seconds));
    }
    std::fs::write(svg, picture(&points)).unwrap();
}

/// Both axes in powers of ten; a thin line shows growth in proportion from the first point on.
fn picture(points: &[(f64, f64)]) -> String {
    let (low, high) =
        points.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), point| (low.min(point.1), high.max(point.1)));
    let (low, high) = (low.log10().floor(), high.log10().ceil());
    let x = |nodes: f64| ROOM + (nodes.log10() - 3.0) / 3.0 * (SIZE.0 - 2.0 * ROOM);
    let y = |seconds: f64| SIZE.1 - ROOM - (seconds.log10() - low) / (high - low) * (SIZE.1 - 2.0 * ROOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{}\" y=\"28\" text-anchor=\"middle\" font-size=\"15\">Learning time by number of nodes (three edges each, one walk a node)</text>\n",
        SIZE.0,
        SIZE.1,
        SIZE.0 / 2.0
    );
    for power in 3..=6 {
        let at = x(10_f64.powi(power));
        writeln!(svg, "<path d=\"M{at:.1} {} V{}\" stroke=\"#dddddd\"/>", ROOM, SIZE.1 - ROOM).unwrap();
        writeln!(svg, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">10<tspan dy=\"-5\" font-size=\"9\">{power}</tspan></text>", SIZE.1 - ROOM + 20.0).unwrap();
    }
    for power in low as i32..=high as i32 {
        let at = y(10_f64.powi(power));
        writeln!(svg, "<path d=\"M{ROOM} {at:.1} H{}\" stroke=\"#dddddd\"/>", SIZE.0 - ROOM).unwrap();
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{} s</text>",
            ROOM - 8.0,
            at + 4.0,
            10_f64.powi(power)
        )
        .unwrap();
    }
    let (first, last) = (points[0], points[points.len() - 1]);
    let proportional = first.1 * last.0 / first.0;
    writeln!(
        svg,
        "<path d=\"M{:.1} {:.1} L{:.1} {:.1}\" stroke=\"#999999\" stroke-dasharray=\"4 4\"/>",
        x(first.0),
        y(first.1),
        x(last.0),
        y(proportional)
    )
    .unwrap();
    let line: Vec<String> =
        points.iter().map(|&(nodes, seconds)| format!("{:.1} {:.1}", x(nodes), y(seconds))).collect();
    writeln!(svg, "<path d=\"M{}\" fill=\"none\" stroke=\"#1f6feb\" stroke-width=\"2\"/>", line.join(" L")).unwrap();
    for &(nodes, seconds) in points {
        writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"#1f6feb\"/>", x(nodes), y(seconds)).unwrap();
    }
    writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">nodes (dashed: in proportion to the smallest)</text>\n</svg>",
        SIZE.0 / 2.0,
        SIZE.1 - 12.0
    )
    .unwrap();
    svg
}
