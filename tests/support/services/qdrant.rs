//! A Qdrant server for tests: the real gRPC protocol over an exact scan, in this process, on a port of its own, with
//! faults to order.
//!
//! What it can do is what `tests/qdrant_oracle.rs` compares with Qdrant's own engine: cosine search with filters (match,
//! range, has id, empty, must, should, must not), count and scroll by filter, delete by filter. What it can't do it
//! refuses as unimplemented, so that nothing passes by being left out. Its errors, authentication and modes of writing
//! follow Qdrant's documentation and are not compared with a server. Where `TIDEMILL_TEST_QDRANT` names a server, the
//! tests that need no faults use that one.
#![allow(dead_code, clippy::result_large_err, clippy::unwrap_used, reason = "each test file uses its own part")]

#[path = "qdrant/collections.rs"]
mod collections;
#[path = "qdrant/filter.rs"]
mod filter;
#[path = "qdrant/points.rs"]
mod points;
#[path = "qdrant/store.rs"]
mod store;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use qdrant_client::qdrant::collections_server::CollectionsServer;
use qdrant_client::qdrant::points_server::PointsServer;
use qdrant_client::qdrant::qdrant_server::{self, QdrantServer};
use qdrant_client::qdrant::{HealthCheckReply, HealthCheckRequest};
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status};

#[allow(unused_imports, reason = "each test file uses its own part")]
pub use self::store::{Name, Store};

/// Names a user's own server.
pub const VARIABLE: &str = "TIDEMILL_TEST_QDRANT";
/// Version it says it has.
const VERSION: &str = "1.20.0";

/// The address of the user's own server, if one is named.
pub fn users_own() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|url| !url.is_empty())
}

/// Why a request fails on purpose.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Time before every answer.
    pub delay: Duration,
    /// Every request fails as a server that starts does.
    pub unavailable: bool,
    /// Every write fails as on a full disk.
    pub disk_full: bool,
    /// Every write fails as on a read-only server.
    pub read_only: bool,
    /// This many writes are applied, but their answers get lost.
    pub lost_answers: u32,
}

/// What the services share.
pub struct Shared {
    pub store: Mutex<Store>,
    pub faults: Mutex<Faults>,
    api_key: Option<String>,
    requests: AtomicU64,
}

impl Shared {
    /// Lets a request in, or not.
    async fn enter<T>(&self, request: &Request<T>) -> Result<(), Status> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let faults = self.faults.lock().clone();
        if !faults.delay.is_zero() {
            tokio::time::sleep(faults.delay).await;
        }
        if faults.unavailable {
            return Err(Status::unavailable("Service is starting"));
        }
        let Some(key) = &self.api_key else { return Ok(()) };
        match request.metadata().get("api-key").and_then(|sent| sent.to_str().ok()) {
            Some(sent) if sent == key => Ok(()),
            Some(_) => Err(Status::unauthenticated("Invalid API key or JWT")),
            None => Err(Status::unauthenticated("Must provide an API key or an Authorization bearer token")),
        }
    }

    /// As [`Shared::enter`] for a write.
    async fn enter_write<T>(&self, request: &Request<T>) -> Result<(), Status> {
        self.enter(request).await?;
        let faults = self.faults.lock();
        if faults.disk_full {
            let message =
                "Service internal error: No space left on device: WAL buffer size exceeds available disk space";
            return Err(Status::internal(message));
        }
        if faults.read_only {
            return Err(Status::permission_denied("Forbidden: Write operations are forbidden"));
        }
        Ok(())
    }

    /// The answer to an applied write, which may get lost.
    fn written<T>(&self, answer: T) -> Result<Response<T>, Status> {
        let mut faults = self.faults.lock();
        if faults.lost_answers > 0 {
            faults.lost_answers -= 1;
            return Err(Status::unavailable("connection reset"));
        }
        Ok(Response::new(answer))
    }
}

/// An address below the range that the system gives to outgoing connections: a client that tries to reach a server which
/// is down can't be given the server's own port, and a restart finds it free.
fn free_address() -> SocketAddr {
    let addresses = std::iter::repeat_with(|| SocketAddr::from(([127, 0, 0, 1], fastrand::u16(20_000..32_000))));
    addresses.take(1000).find(|address| std::net::TcpListener::bind(address).is_ok()).unwrap()
}

/// A running server; its data outlives a stop. Stopped when dropped.
pub struct QdrantTestServer {
    pub shared: Arc<Shared>,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl QdrantTestServer {
    /// Starts one on a free port.
    pub fn start() -> Self {
        Self::start_with_key(None)
    }

    /// Starts one that wants this key.
    pub fn start_with_key(api_key: Option<&str>) -> Self {
        let shared = Arc::new(Shared {
            store: Mutex::default(),
            faults: Mutex::default(),
            api_key: api_key.map(str::to_owned),
            requests: AtomicU64::new(0),
        });
        let mut server = Self { shared, address: free_address(), runtime: None };
        server.restart();
        server
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Orders faults.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.shared.faults.lock());
    }

    /// Ends it as `kill -9` does: every connection is cut, nothing answers.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // a runtime may not wait for another one's end on its own threads
            let end = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5)));
            end.join().unwrap();
        }
    }

    /// Starts it again on its port, with its data.
    pub fn restart(&mut self) {
        self.stop();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind(self.address).unwrap();
        self.address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::clone(&self.shared);
        runtime.spawn(async move {
            let incoming =
                tokio_stream::wrappers::TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
            tonic::transport::Server::builder()
                .add_service(CollectionsServer::new(Service(Arc::clone(&shared))))
                .add_service(PointsServer::new(Service(Arc::clone(&shared))))
                .add_service(QdrantServer::new(Service(shared)))
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        self.runtime = Some(runtime);
    }
}

impl Drop for QdrantTestServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // waiting is not allowed where an async test ends
            runtime.shutdown_background();
        }
    }
}

/// The services over the shared state.
pub struct Service(pub Arc<Shared>);

#[tonic::async_trait]
impl qdrant_server::Qdrant for Service {
    async fn health_check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckReply>, Status> {
        let delay = self.0.faults.lock().delay;
        tokio::time::sleep(delay).await;
        if self.0.faults.lock().unavailable {
            return Err(Status::unavailable("Service is starting"));
        }
        let title = "qdrant - vector search engine".to_owned();
        Ok(Response::new(HealthCheckReply { title, version: VERSION.to_owned(), commit: None }))
    }
}
