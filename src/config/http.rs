//! `[http]`: the API, its limits and who may use it.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::problem::Problems;
use super::secret::Secret;

/// The HTTP API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address and port to listen on, such as `127.0.0.1:8080`. Port 0 takes any free one. Only loopback is allowed
    /// without a token, so that a fresh start is never open to a network.
    pub listen: String,
    /// Token that writes must carry as `Authorization: Bearer TOKEN`; at least 16 visible ASCII characters. Better given
    /// as `TIDEMILL__HTTP__TOKEN` or `token_file` than in the file. Never printed.
    #[serde(skip_serializing)]
    pub token: Option<Secret>,
    /// File that holds the token in its first line; white space around it is dropped. Not together with `token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Host names a browser may use to reach the daemon besides `localhost` and plain addresses. Guards a loopback
    /// daemon against DNS rebinding and every daemon against writes from other sites' pages.
    pub allowed_hosts: Vec<String>,
    /// Largest body of a request in bytes, 1 KiB to 1 GiB. 8 MiB is about ten thousand headlines.
    pub max_body_bytes: usize,
    /// Bytes of all bodies held at once, from `max_body_bytes` to 4 GiB; over it requests get 429. This, not the number of
    /// connections, is what keeps memory flat.
    pub max_inflight_body_bytes: usize,
    /// Requests with a body or a model call at work at once, 1 to 10,000; over it requests get 429.
    pub max_inflight_requests: usize,
    /// Documents in one request, 1 to 100,000.
    pub max_batch: usize,
    /// Seconds a client has to send a whole body, 1 to 600. 30 s lets a slow uplink send 8 MiB at 2 Mbit/s.
    pub body_timeout_seconds: u64,
    /// Seconds a client has to send a request's head, and a connection may idle between requests, 1 to 600.
    pub header_timeout_seconds: u64,
    /// Seconds a client may read nothing of an answer before it is cut off, 1 to 600. Frees the place of a dead watcher.
    pub write_timeout_seconds: u64,
    /// Largest head of a request in bytes, 8 KiB to 1 MiB.
    pub max_header_bytes: usize,
    /// Connections open at once, 1 to 100,000; more are told 503 and closed.
    pub max_connections: usize,
    /// Requests on one connection before it is closed, 1 to 1,000,000, so that a load balancer can spread long-lived clients.
    pub max_requests_per_connection: u64,
    /// Records accepted but not consumed over which new documents get 429; 0 means no limit. At 100 documents a second,
    /// 100,000 is a quarter of an hour of work.
    pub max_backlog_records: u64,
    /// Seconds `Retry-After` asks a refused client to wait, 1 to 3,600.
    pub retry_after_seconds: u64,
    /// Seconds the log has to acknowledge, 1 to 300; after that the request gets 503 and may be sent again.
    pub append_timeout_seconds: u64,
    /// Seconds a store has to answer a query, 1 to 300.
    pub query_timeout_seconds: u64,
    /// Model calls (search, analyze, embeddings) at work at once, 1 to 256. They share the cores with the pipeline, so few
    /// keep it fed.
    pub max_concurrent_compute: usize,
    /// Seconds a model call may wait and work, 1 to 600.
    pub compute_timeout_seconds: u64,
    /// Texts in one call of analyze or embeddings, 1 to 10,000.
    pub max_texts: usize,
    /// Watchers of `/v1/stream` at once, 0 to 10,000.
    pub stream_clients: usize,
    /// Milliseconds between two snapshots on `/v1/stream`, 100 to 60,000.
    pub stream_snapshot_ms: u64,
    /// Seconds open requests have to end when the daemon stops, 0 to 600.
    pub drain_seconds: u64,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            token: None,
            token_file: None,
            allowed_hosts: Vec::new(),
            max_body_bytes: 8 * 1024 * 1024,
            max_inflight_body_bytes: 64 * 1024 * 1024,
            max_inflight_requests: 256,
            max_batch: 10_000,
            body_timeout_seconds: 30,
            header_timeout_seconds: 15,
            write_timeout_seconds: 20,
            max_header_bytes: 32 * 1024,
            max_connections: 1024,
            max_requests_per_connection: 10_000,
            max_backlog_records: 100_000,
            retry_after_seconds: 2,
            append_timeout_seconds: 20,
            query_timeout_seconds: 10,
            max_concurrent_compute: 2,
            compute_timeout_seconds: 60,
            max_texts: 512,
            stream_clients: 32,
            stream_snapshot_ms: 2000,
            drain_seconds: 10,
        }
    }
}

/// Shortest token taken, in bytes.
const MIN_TOKEN_BYTES: usize = 16;

impl HttpConfig {
    /// The listening address.
    ///
    /// # Errors
    /// If `listen` is not an address and port.
    pub fn address(&self) -> Result<SocketAddr, std::net::AddrParseError> {
        self.listen.parse()
    }

    /// Whether only this machine can reach the API.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.address().is_ok_and(|address| address.ip().is_loopback())
    }

    /// The token from `token` or `token_file`, if there is one.
    ///
    /// # Errors
    /// If the file can't be read or holds no usable token.
    pub fn resolve_token(&self) -> std::io::Result<Option<Secret>> {
        let Some(path) = &self.token_file else { return Ok(self.token.clone()) };
        let fault = |reason: String| std::io::Error::other(format!("http.token_file {}: {reason}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
        let token = text.lines().next().unwrap_or_default().trim();
        if !is_usable(token) {
            return Err(fault(format!("the first line must be {MIN_TOKEN_BYTES} or more visible ASCII characters")));
        }
        Ok(Some(Secret::new(token)))
    }

    /// Checks every field.
    pub fn validate(&self, problems: &mut Problems) {
        let parses = self.address().is_ok();
        problems.require(parses, "listen", &self.listen, "an IP address and port, such as 127.0.0.1:8080");
        let guarded = self.token.is_some() || self.token_file.is_some();
        let safe = !parses || self.is_loopback() || guarded;
        problems.require(
            safe,
            "listen",
            &self.listen,
            "a loopback address, unless http.token or http.token_file is set",
        );
        let usable = self.token.as_ref().is_none_or(|token| is_usable(token.expose()));
        problems.require(usable, "token", "(hidden)", "at least 16 visible ASCII characters");
        let both = self.token.is_some() && self.token_file.is_some();
        problems.require(!both, "token_file", "(set)", "absent while http.token is set");
        for host in &self.allowed_hosts {
            let plain =
                !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
            problems.require(plain, "allowed_hosts", host, "host names without scheme, port or path");
        }
        self.validate_sizes(problems);
        self.validate_times(problems);
    }

    fn validate_sizes(&self, problems: &mut Problems) {
        const MIB: usize = 1024 * 1024;
        problems.range("max_body_bytes", self.max_body_bytes, 1024, 1024 * MIB);
        problems.range("max_inflight_body_bytes", self.max_inflight_body_bytes, self.max_body_bytes, 4096 * MIB);
        problems.range("max_inflight_requests", self.max_inflight_requests, 1, 10_000);
        problems.range("max_batch", self.max_batch, 1, 100_000);
        problems.range("max_header_bytes", self.max_header_bytes, 8192, MIB);
        problems.range("max_connections", self.max_connections, 1, 100_000);
        problems.range("max_requests_per_connection", self.max_requests_per_connection, 1, 1_000_000);
        problems.range("max_concurrent_compute", self.max_concurrent_compute, 1, 256);
        problems.range("max_texts", self.max_texts, 1, 10_000);
        problems.range("stream_clients", self.stream_clients, 0, 10_000);
    }

    fn validate_times(&self, problems: &mut Problems) {
        problems.range("body_timeout_seconds", self.body_timeout_seconds, 1, 600);
        problems.range("header_timeout_seconds", self.header_timeout_seconds, 1, 600);
        problems.range("write_timeout_seconds", self.write_timeout_seconds, 1, 600);
        problems.range("retry_after_seconds", self.retry_after_seconds, 1, 3600);
        problems.range("append_timeout_seconds", self.append_timeout_seconds, 1, 300);
        problems.range("query_timeout_seconds", self.query_timeout_seconds, 1, 300);
        problems.range("compute_timeout_seconds", self.compute_timeout_seconds, 1, 600);
        problems.range("stream_snapshot_ms", self.stream_snapshot_ms, 100, 60_000);
        problems.range("drain_seconds", self.drain_seconds, 0, 600);
    }
}

fn is_usable(token: &str) -> bool {
    token.len() >= MIN_TOKEN_BYTES && token.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn problems_of(config: &HttpConfig) -> Vec<String> {
        let mut problems = Problems::default();
        problems.section("http", |problems| config.validate(problems));
        problems.into_found().into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(problems_of(&HttpConfig::default()), Vec::<String>::new());
    }

    #[test]
    fn listening_beyond_loopback_needs_a_token() {
        let open = HttpConfig { listen: "0.0.0.0:8080".to_owned(), ..HttpConfig::default() };
        assert_eq!(problems_of(&open), ["http.listen"]);
        let guarded = HttpConfig { token: Some(Secret::new("0123456789abcdef")), ..open };
        assert_eq!(problems_of(&guarded), Vec::<String>::new());
    }

    #[test]
    fn a_weak_token_is_refused() {
        let weak = HttpConfig { token: Some(Secret::new("short")), ..HttpConfig::default() };
        assert_eq!(problems_of(&weak), ["http.token"]);
    }

    #[test]
    fn the_token_shows_neither_in_debug_nor_in_dumps() {
        let config = HttpConfig { token: Some(Secret::new("0123456789abcdef")), ..HttpConfig::default() };
        assert!(!format!("{config:?}").contains("0123456789abcdef"));
        assert!(!toml::to_string(&config).unwrap().contains("0123456789abcdef"));
    }

    #[test]
    fn the_token_file_gives_its_first_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        let config = HttpConfig { token_file: Some(path), ..HttpConfig::default() };
        assert_eq!(config.resolve_token().unwrap(), Some(Secret::new("0123456789abcdef")));
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(toml::from_str::<HttpConfig>("lissten = \"127.0.0.1:1\"").is_err());
    }
}
