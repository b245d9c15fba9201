//! The HTTP API, authentication and the console page.
