//! How long reading takes, the first time and again. The repository is `TIDEMILL_BENCH_REPOSITORY`, else a small one.

use std::time::Instant;

use tidemill::graph::dependencies::{self, DependencyGraph, ReadOptions};
use tidemill::graph::reading::unobserved;
use tidemill::graph::repository::{self, Access, Limits, Source};

use crate::fixture::Fixture;

/// `TIDEMILL_BENCH_REPOSITORY=URL CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo test --test graph_reading reading_time -- --nocapture`
#[test]
fn reading_time() {
    let fixture = Fixture::of(&[("a.py", "import b\n"), ("b.js", "require('./c')"), ("c.js", "")]);
    let open = Access { https: true, ssh: true, http: true, file: true, private_addresses: true };
    let source = match std::env::var("TIDEMILL_BENCH_REPOSITORY") {
        Ok(url) => Source::parse(&url, open).unwrap(),
        Err(_) => fixture.source(),
    };
    let read = |round: &str| -> DependencyGraph {
        let begun = Instant::now();
        let checkout = repository::fetch(&source, &Limits::default(), &fixture.places(), &unobserved).unwrap();
        let fetched = begun.elapsed();
        let graph = dependencies::read(&checkout, &ReadOptions::default(), &Limits::default(), &unobserved).unwrap();
        let (files, edges, parsed, bytes) =
            (graph.files.len(), graph.edges.len(), graph.parsed, checkout.received_bytes());
        println!(
            "{round}: {files} files, {edges} edges, {parsed} parsed, {bytes} bytes received, {fetched:.2?} to fetch, {:.2?} in all",
            begun.elapsed()
        );
        graph
    };
    let (first, again) = (read("first"), read("again"));
    assert_eq!((first.parsed, again.parsed), (first.files.len() - unparsed(&first), 0));
    assert_eq!(first, DependencyGraph { parsed: first.parsed, ..again });
}

/// Source files that were skipped.
fn unparsed(graph: &DependencyGraph) -> usize {
    graph.skipped.iter().filter(|one| graph.files.iter().any(|file| file.path == one.path)).count()
}
