//! The actor runtime on actix: mailboxes, supervision tree, drain. See `docs/semantics.md`.
