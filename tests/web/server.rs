//! The API on a real port, with fakes behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::Value;
use tidemill::actors::backtester::Backtester;
use tidemill::actors::drill;
use tidemill::actors::services::Market;
use tidemill::config::Config;
use tidemill::config::backtest::BacktestConfig;
use tidemill::config::cache::CacheConfig;
use tidemill::config::http::HttpConfig;
use tidemill::config::jobs::JobsConfig;
use tidemill::config::secret::Secret;
use tidemill::config::store::StoreConfig;
use tidemill::graph::repository::{Access, Source};
use tidemill::jobs::{Jobs, Registry};
use tidemill::messages::event::EventBus;
use tidemill::stores::cache::Cache;
use tidemill::stores::cache::memory::MemoryCache;
use tidemill::stores::jobs::{Clock, QueueRules};
use tidemill::stores::sqlite::SqliteStore;
use tidemill::stores::sqlite::jobs::SqliteJobs;
use tidemill::web::state::{ApiState, Graphs, Node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::fakes::{FakeAnalyst, FakeEncoder, FakeLog, FakeOperations, FakeStore, FakeVectors, decode};

/// Longest any test waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running API.
pub struct Server {
    pub address: SocketAddr,
    pub client: reqwest::Client,
    pub log: Arc<FakeLog>,
    pub store: Arc<FakeStore>,
    pub vectors: Arc<FakeVectors>,
    pub operations: Arc<FakeOperations>,
    pub analyst: Arc<FakeAnalyst>,
    pub cache: Arc<Cache>,
    pub events: Arc<EventBus>,
    pub stopping: CancellationToken,
    pub task: tokio::task::JoinHandle<std::io::Result<()>>,
    pub jobs: Arc<Jobs>,
    /// Bars, signals and backtests.
    pub market: Arc<SqliteStore>,
    pub graphs: Arc<SqliteStore>,
    /// Holds the job queue, the market data and the learned graphs.
    directory: tempfile::TempDir,
}

/// Small limits, so that tests reach them soon.
pub fn limits() -> HttpConfig {
    HttpConfig {
        listen: "127.0.0.1:0".to_owned(),
        max_body_bytes: 1024 * 1024,
        max_inflight_body_bytes: 4 * 1024 * 1024,
        max_batch: 2000,
        body_timeout_seconds: 1,
        header_timeout_seconds: 2,
        append_timeout_seconds: 1,
        query_timeout_seconds: 1,
        max_texts: 40,
        stream_snapshot_ms: 100,
        drain_seconds: 1,
        ..HttpConfig::default()
    }
}

/// Small limits of backtests, for the same reason.
fn backtest_limits() -> Config {
    let backtest =
        BacktestConfig { sync_bars: 500, max_bars: 1000, max_sets: 10_000, max_rows: 100, ..BacktestConfig::default() };
    Config { backtest, ..Config::default() }
}

/// Repositories of these tests may be on any public host, over https.
fn check_url(url: &str) -> Result<String, String> {
    let source = Source::parse(url, Access::default()).map_err(|error| error.to_string())?;
    Ok(source.url().to_owned())
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(limits(), None, false).await
    }

    pub async fn start_with(http: HttpConfig, token: Option<&str>, faults_enabled: bool) -> Self {
        Self::start_over((http, token), faults_enabled, Cache::off(), Node::default()).await
    }

    /// As a node of these roles.
    pub async fn start_as(http: HttpConfig, token: Option<&str>, faults_enabled: bool, node: Node) -> Self {
        Self::start_over((http, token), faults_enabled, Cache::off(), node).await
    }

    /// With a cache of its own.
    pub async fn start_cached(token: Option<&str>) -> Self {
        let memory = Arc::new(MemoryCache::new(1 << 20));
        let cache = Cache::new(Some(memory), &CacheConfig::default());
        Self::start_over((limits(), token), false, cache, Node::default()).await
    }

    async fn start_over(
        (http, token): (HttpConfig, Option<&str>),
        faults_enabled: bool,
        cache: Cache,
        node: Node,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let store = Arc::new(FakeStore::default());
        let operations = Arc::new(FakeOperations {
            store: store.clone(),
            backlog: AtomicU64::new(0),
            ready: AtomicBool::new(true),
            stopping: AtomicBool::new(false),
            asked: Mutex::default(),
        });
        let log = Arc::new(FakeLog::default());
        let vectors = Arc::new(FakeVectors::default());
        let analyst = Arc::new(FakeAnalyst::default());
        let analyze = analyst.clone();
        let events = Arc::new(EventBus::new(100));
        let stopping = CancellationToken::new();
        let directory = tempfile::tempdir().unwrap();
        let queue = SqliteJobs::open(
            &directory.path().join("jobs.sqlite3"),
            &StoreConfig::default(),
            QueueRules::default(),
            Clock::System,
        )
        .unwrap();
        let market = SqliteStore::open(&directory.path().join("market.sqlite3"), &StoreConfig::default()).unwrap();
        let market = Arc::new(market);
        let settings = Arc::new(ArcSwap::from_pointee(backtest_limits()));
        let backtester = Backtester::new(Market::of(&market), log.clone(), settings);
        let (one, many) = (backtester.clone(), backtester.clone());
        let registry = Registry::default()
            .register("drill", "pretends", drill::run)
            .register("free", "takes any payload", async |_: Value, _| Ok(Value::Null))
            .register("graph", "learns nothing", async |_: Value, _| Ok(Value::Null))
            .register("backtest", "", move |request, ctx| one.clone().backtest_job(request, ctx))
            .register("sweep", "", move |request, ctx| many.clone().sweep_job(request, ctx));
        let graphs = SqliteStore::open(&directory.path().join("graphs.sqlite3"), &StoreConfig::default()).unwrap();
        let graphs = Arc::new(graphs);
        let mut config = JobsConfig { max_payload_bytes: 4096, ..JobsConfig::default() };
        config.kinds.drill.capacity = Some(5);
        config.kinds.graph.capacity = Some(3);
        let jobs = Arc::new(Jobs::new(Arc::new(queue), registry, config, events.clone()));
        let state = ApiState {
            http,
            node,
            token: token.map(Secret::new),
            faults_enabled,
            decode: Arc::new(decode),
            log: log.clone(),
            documents_topic: "documents".into(),
            bars_topic: "bars".into(),
            bars: market.clone(),
            signals: market.clone(),
            runs: market.clone(),
            backtests: Arc::new(backtester),
            documents: store.clone(),
            vectors: vectors.clone(),
            encoder: Arc::new(FakeEncoder::default()),
            analyze: Arc::new(move |texts| Ok(analyze.analyze(texts))),
            judge: Arc::new(|| "fake".to_owned()),
            cache: Arc::new(cache),
            jobs: jobs.clone(),
            graphs: Graphs { store: graphs.clone(), check_url: Arc::new(check_url), job_ttl_ms: 3_600_000 },
            operations: operations.clone(),
            events: events.clone(),
            stopping: stopping.clone(),
        };
        let cache = Arc::clone(&state.cache);
        let task = tokio::spawn(tidemill::web::serve(listener, Arc::new(state), std::future::pending()));
        tidemill::tls::install_provider();
        let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        Self {
            address,
            client,
            log,
            store,
            vectors,
            operations,
            analyst,
            cache,
            events,
            stopping,
            task,
            jobs,
            market,
            graphs,
            directory,
        }
    }

    /// Keeps the job queue from writing for as long as the connection lives.
    pub fn lock_jobs(&self) -> rusqlite::Connection {
        let file = rusqlite::Connection::open(self.directory.path().join("jobs.sqlite3")).unwrap();
        file.execute_batch("BEGIN IMMEDIATE").unwrap();
        file
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.client.get(self.url(path))).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.client.delete(self.url(path))).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.client.post(self.url(path)).json(body)).await
    }

    pub async fn post_bytes(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        Answer::of(self.client.post(self.url(path)).header("content-type", content_type).body(body)).await
    }

    /// Sends raw bytes and reads until the server closes.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        read.expect("the server should close the connection").unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Status, headers and body of an answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The error's code, after checking the shape every error must have.
    pub fn error_code(&self) -> String {
        let body = self.json();
        let error = &body["error"];
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{self:?}");
        assert_eq!(error["correlation_id"].as_str(), Some(self.header("correlation-id")), "{self:?}");
        error["code"].as_str().unwrap().to_owned()
    }

    /// Status and code together.
    pub fn refusal(&self) -> (u16, String) {
        (self.status, self.error_code())
    }
}

/// What a refusal should be.
pub fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
