//! From repositories to dependency graphs: imports of each language, bad repositories, hosts, what is kept.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "graph_reading/bad_input.rs"]
mod bad_input;
#[path = "graph_reading/export.rs"]
mod export;
#[path = "graph_reading/fixture.rs"]
mod fixture;
#[path = "graph_reading/hosts.rs"]
mod hosts;
#[path = "graph_reading/languages.rs"]
mod languages;
#[path = "graph_reading/python.rs"]
mod python;
#[path = "graph_reading/reading_time.rs"]
mod reading_time;
#[path = "graph_reading/scripts.rs"]
mod scripts;
#[path = "graph_reading/sources.rs"]
mod sources;
