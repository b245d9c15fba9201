//! The HTTP API, authentication and the console page.
//!
//! [`router`] makes the API from an [`state::ApiState`]; [`serve`] runs it on a listener with hyper's own limits:
//! deadlines for heads, bodies and answers, a bound on connections, an orderly end. Every path stands once in
//! `routes::ENDPOINTS`, from which the router and `/openapi.json` are both made.

mod api;
mod app;
mod body;
mod cached;
mod compute;
mod envelope;
mod error;
mod forward;
mod guard;
mod items;
mod media;
mod openapi;
mod parameters;
mod patience;
mod routes;
mod server;
pub mod state;
mod workers;

use std::sync::Arc;

pub use routes::{Listed, listed};
pub use server::serve;

/// The API as an axum router. Prefer [`serve`], which also bounds connections, heads and slow readers.
pub fn router(state: Arc<state::ApiState>) -> axum::Router {
    routes::router(Arc::new(app::App::new(state)))
}
