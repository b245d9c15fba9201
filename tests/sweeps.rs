//! Sweeps: the lanes and the GPU's kernel against the engine for one set; searching, keeping, stopping, going on.
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::expect_used, reason = "tests")]

#[path = "sweeps/cuda.rs"]
mod cuda;
#[path = "sweeps/lanes.rs"]
mod lanes;
#[path = "sweeps/market.rs"]
mod market;
#[path = "sweeps/rows.rs"]
mod rows;
#[path = "sweeps/search.rs"]
mod search;
#[path = "sweeps/strategies.rs"]
mod strategies;
