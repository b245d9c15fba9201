//! How long the imports of a repository on this machine take to read.

use std::time::Instant;

use tidemill::graph::dependencies::{self, ReadOptions};
use tidemill::graph::reading::unobserved;
use tidemill::graph::repository::{self, Access, Limits, Places, Source};

/// Rounds; the fastest counts.
const ROUNDS: usize = 5;

/// Reads a repository again and again as if for the first time, on one thread and on all.
pub fn run(folder: &str) {
    let access = Access { https: false, ssh: false, http: false, file: true, private_addresses: true };
    let source = Source::parse(&format!("file://{folder}"), access).unwrap();
    let places = Places::temporary(std::env::temp_dir());
    for threads in [1, 0] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let round = || {
            let started = Instant::now();
            let checkout = repository::fetch(&source, &Limits::default(), &places, &unobserved).unwrap();
            let options = ReadOptions::default();
            let graph = pool.install(|| dependencies::read(&checkout, &options, &Limits::default(), &unobserved));
            (started.elapsed().as_secs_f64(), graph.unwrap())
        };
        let (seconds, graph) =
            (0..ROUNDS).map(|_| round()).min_by(|one, two| one.0.total_cmp(&two.0)).expect("there are rounds");
        println!(
            "Tidemill, {} threads: {seconds:.3} s, {} files, {} edges",
            pool.current_num_threads(),
            graph.files.len(),
            graph.edges.len()
        );
    }
}
