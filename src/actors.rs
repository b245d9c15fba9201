//! The actors: one per file: receive, call an engine, send on.
