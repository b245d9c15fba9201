//! `[node]`: what this daemon does of what daemons that share their services do together.

use std::path::PathBuf;

use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Config;
use super::endpoint::is_private;
use super::log::LogBackend;
use super::problem::Problems;
use super::secret::Secret;
use super::store::StoreBackend;

/// A part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes documents over HTTP and answers queries. Alone it loads no model and consumes nothing.
    Api,
    /// Runs the pipeline and answers what needs a model. Alone its HTTP has only models and operations.
    Worker,
}

impl Role {
    /// As written in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker => "worker",
        }
    }
}

/// The roles of this node, and where an API node finds its workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    /// `api`, `worker` or both (default). An API node alone takes documents, answers queries, loads no model and consumes
    /// nothing; it needs a log and a store that others share. A worker alone runs the pipeline, and its HTTP has only
    /// models, health, metrics and what operators need.
    pub roles: Vec<Role>,
    /// Where an API node sends what needs a model (`/v1/search`, `/v1/analyze`, `/v1/embeddings`): base addresses of workers
    /// such as `https://worker-1.example:8080`, taken in turn, at most 256. Empty (default) answers those paths with 503.
    pub worker_urls: Vec<String>,
    /// Token the workers ask for (their `http.token`). Default: this node's own `http.token`. Better given as
    /// `TIDEMILL__NODE__WORKER_TOKEN` or `worker_token_file` than in the file. Never printed.
    #[serde(skip_serializing)]
    pub worker_token: Option<Secret>,
    /// File that holds the workers' token. Not together with `worker_token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_token_file: Option<PathBuf>,
    /// Seconds all tries of one request have together, 1 to 600. Default 30. No longer than a client waits.
    pub worker_timeout_seconds: u64,
    /// Requests at workers at once, 1 to 10,000; over it clients get 429. Default 64: a worker computes few at a time
    /// (`http.max_concurrent_compute`) and lets the others wait.
    pub worker_requests: usize,
    /// Failures in a row (no answer, or 502, 503, 504) after which a worker is left out for a while, 1 to 1,000. Default 3.
    pub worker_failures: u32,
    /// Seconds a worker is left out the first time, 1 to 3,600; each further time doubles it, up to twelve times as long.
    /// Default 5.
    pub worker_out_seconds: u64,
    /// Whether `worker_urls` may be plain `http://` to other machines than this one and private names (without a dot, or
    /// ending in `.local`, `.internal` or `.svc`). Default false: texts and the token would be readable on the way.
    pub allow_plaintext: bool,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            roles: vec![Role::Api, Role::Worker],
            worker_urls: Vec::new(),
            worker_token: None,
            worker_token_file: None,
            worker_timeout_seconds: 30,
            worker_requests: 64,
            worker_failures: 3,
            worker_out_seconds: 5,
            allow_plaintext: false,
        }
    }
}

impl NodeConfig {
    /// Whether it takes documents and answers queries.
    #[must_use]
    pub fn is_api(&self) -> bool {
        self.roles.contains(&Role::Api)
    }

    /// Whether it runs the pipeline and has the models.
    #[must_use]
    pub fn is_worker(&self) -> bool {
        self.roles.contains(&Role::Worker)
    }

    /// Its roles in words, such as `api and worker`.
    #[must_use]
    pub fn roles_in_words(&self) -> String {
        let names: Vec<&str> = self.roles.iter().map(|role| role.as_str()).collect();
        names.join(" and ")
    }

    /// Checks every field.
    pub fn validate(&self, problems: &mut Problems) {
        let given = format!("{:?}", self.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>());
        let twice = self.roles.iter().enumerate().any(|(at, role)| self.roles[..at].contains(role));
        let allowed = "\"api\", \"worker\" or both, each once";
        problems.require(!self.roles.is_empty() && !twice, "roles", &given, allowed);
        problems.require(self.worker_urls.len() <= 256, "worker_urls", self.worker_urls.len(), "at most 256 addresses");
        for url in &self.worker_urls {
            if let Err(allowed) = self.check_url(url) {
                problems.require(false, "worker_urls", url, allowed);
            }
        }
        problems.require(
            self.worker_urls.is_empty() || !self.is_worker(),
            "worker_urls",
            self.worker_urls.join(", "),
            "empty on a node with the role \"worker\": it has the models itself",
        );
        let both = self.worker_token.is_some() && self.worker_token_file.is_some();
        problems.require(!both, "worker_token_file", "(set)", "absent while node.worker_token is set");
        let usable = self
            .worker_token
            .as_ref()
            .is_none_or(|token| !token.is_empty() && token.expose().bytes().all(|byte| byte.is_ascii_graphic()));
        problems.require(usable, "worker_token", "(hidden)", "visible ASCII characters");
        problems.range("worker_timeout_seconds", self.worker_timeout_seconds, 1, 600);
        problems.range("worker_requests", self.worker_requests, 1, 10_000);
        problems.range("worker_failures", self.worker_failures, 1, 1_000);
        problems.range("worker_out_seconds", self.worker_out_seconds, 1, 3_600);
    }

    fn check_url(&self, text: &str) -> Result<(), &'static str> {
        const FORM: &str = "http://HOST:PORT or https://HOST:PORT, without user, query or fragment";
        let url = Url::parse(text).map_err(|_| FORM)?;
        let plain = url.username().is_empty() && url.password().is_none();
        if !plain || url.query().is_some() || url.fragment().is_some() || url.path() != "/" {
            return Err(FORM);
        }
        match (url.scheme(), url.host_str()) {
            ("https", Some(_)) => Ok(()),
            ("http", Some(host)) if self.allow_plaintext || is_private(host) => Ok(()),
            ("http", Some(_)) => Err("https:// to other machines, unless node.allow_plaintext = true"),
            _ => Err(FORM),
        }
    }
}

/// What roles ask of other sections.
pub fn validate_together(config: &Config, problems: &mut Problems) {
    let node = &config.node;
    if node.is_worker() || node.roles.is_empty() {
        return;
    }
    let roles = "[\"api\"]";
    problems.section("node", |problems| {
        problems.require(
            config.log.backend != LogBackend::Embedded,
            "roles",
            roles,
            "also \"worker\" while log.backend = \"embedded\": that log is inside one process, so no worker would ever see \
             what this node takes in; set log.backend = \"kafka\"",
        );
        problems.require(
            config.store.backend != StoreBackend::Sqlite,
            "roles",
            roles,
            "also \"worker\" while store.backend = \"sqlite\": that file is inside one process, so no query here would ever \
             see what workers store; set store.backend = \"postgres\"",
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(node: &NodeConfig) -> Vec<(String, String)> {
        let mut problems = Problems::default();
        problems.section("node", |problems| node.validate(problems));
        problems.into_found().into_iter().map(|problem| (problem.key, problem.allowed)).collect()
    }

    fn with_urls(urls: &[&str]) -> NodeConfig {
        let worker_urls = urls.iter().map(|url| (*url).to_owned()).collect();
        NodeConfig { roles: vec![Role::Api], worker_urls, ..NodeConfig::default() }
    }

    #[test]
    fn defaults_are_both_roles_and_valid() {
        assert_eq!(problems_of(&NodeConfig::default()), []);
        assert!(NodeConfig::default().is_api() && NodeConfig::default().is_worker());
        assert_eq!(NodeConfig::default().roles_in_words(), "api and worker");
    }

    #[test]
    fn a_node_without_a_role_or_with_one_twice_is_refused() {
        for roles in [vec![], vec![Role::Api, Role::Api]] {
            let found = problems_of(&NodeConfig { roles, ..NodeConfig::default() });
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].0, "node.roles");
        }
    }

    #[test]
    fn plain_http_leaves_the_machine_only_when_allowed() {
        let near = ["http://127.0.0.1:8080", "http://[::1]:8080", "http://worker:8080", "http://w-0.w.prod.svc:8080"];
        assert_eq!(problems_of(&with_urls(&near)), []);
        let far = with_urls(&["http://10.0.0.7:8080", "http://worker.example.com"]);
        assert_eq!(problems_of(&far).len(), 2);
        assert_eq!(problems_of(&NodeConfig { allow_plaintext: true, ..far }), []);
        assert_eq!(problems_of(&with_urls(&["https://worker.example.com"])), []);
    }

    #[test]
    fn urls_are_addresses_and_nothing_more() {
        for url in ["worker:8080", "ftp://worker", "http://user:pass@worker:1", "http://worker/path", "http://w/?q=1"] {
            assert_eq!(problems_of(&with_urls(&[url])).len(), 1, "{url}");
        }
    }

    #[test]
    fn a_worker_has_no_workers() {
        let node = NodeConfig { roles: vec![Role::Api, Role::Worker], ..with_urls(&["http://worker:8080"]) };
        assert_eq!(problems_of(&node)[0].0, "node.worker_urls");
    }

    #[test]
    fn an_api_node_alone_needs_a_log_and_a_store_that_others_share() {
        let mut config = Config { node: with_urls(&[]), ..Config::default() };
        let found = |config: &Config| {
            let mut problems = Problems::default();
            validate_together(config, &mut problems);
            let found = problems.into_found();
            assert!(found.iter().all(|problem| problem.key == "node.roles"));
            found.into_iter().map(|problem| problem.allowed).collect::<Vec<_>>()
        };
        let both = found(&config);
        assert!(both.len() == 2 && both[0].contains("log.backend") && both[1].contains("store.backend"), "{both:?}");
        config.log.backend = LogBackend::Kafka;
        assert!(found(&config).len() == 1);
        config.store.backend = StoreBackend::Postgres;
        assert!(found(&config).is_empty());
        config.node.roles = vec![Role::Worker];
        (config.log.backend, config.store.backend) = (LogBackend::Embedded, StoreBackend::Sqlite);
        assert!(found(&config).is_empty(), "a worker alone may be fed by the kafka listener");
    }
}
