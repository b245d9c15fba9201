//! Graph learning: speed, memory, growth with the graph, and quality beside peers.
//!
//! ```sh
//! cargo bench --bench graph                                  # walks and training on a graph of 10,000 nodes
//! cargo bench --bench graph -- memory                        # a million nodes, five million edges
//! cargo bench --bench graph -- scaling docs/graph-scaling.svg
//! cargo bench --bench graph -- read FOLDER                   # imports of a repository
//! cargo bench --bench graph -- split GRAPHS_DIR JOB_DIR      # what peers learn from; deploy/bench-peers.sh calls
//! cargo bench --bench graph -- score GRAPHS_DIR JOB_DIR      # this, the peers, then this
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a benchmark"
)]

mod generate;
mod quality;
mod reading;
mod scaling;
mod speed;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] | ["speed"] => speed::run(),
        ["memory"] => speed::memory(),
        ["scaling", svg] => scaling::run(svg.as_ref()),
        ["read", folder] => reading::run(folder),
        ["split", graphs, jobs] => quality::split(graphs.as_ref(), jobs.as_ref()),
        ["score", graphs, jobs] => quality::score(graphs.as_ref(), jobs.as_ref()),
        _ => println!(
            "usage: speed | memory | scaling SVG | read FOLDER | split GRAPHS_DIR JOB_DIR | score GRAPHS_DIR JOB_DIR"
        ),
    }
}
