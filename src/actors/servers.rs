//! The doors: the HTTP API and the produce-only Kafka listener, as supervised services.

use std::net::SocketAddr;
use std::sync::Arc;

use chrono::Utc;

use crate::config::Config;
use crate::config::log::LogBackend;
use crate::graph::repository::Source;
use crate::messages::code::{ErrorCode, Rejection};
use crate::models::ModelError;
use crate::supervisors::{Fault, ServiceContext};
use crate::text::decode::decode;
use crate::web::state::{ApiState, Graphs, Judge, Node, Workers};

use super::sentiment_analyzer::analyze;
use super::services::Services;

/// Listening sockets, bound before the tree starts, so that a taken port is an error at once and a restarted service
/// listens on the same address.
pub struct Sockets {
    /// HTTP.
    http: std::net::TcpListener,
    /// Kafka protocol; `None` when it is off or a real broker is used.
    kafka: Option<std::net::TcpListener>,
}

impl Sockets {
    /// Binds what the configuration asks for.
    ///
    /// # Errors
    /// Names the setting and the address that can't be bound.
    pub fn bind(config: &Config) -> Result<Self, String> {
        let http = bind("http.listen", &config.http.listen)?;
        let kafka = if listener_is_on(config) {
            Some(bind("kafka_listener.listen", &config.kafka_listener.listen)?)
        } else {
            None
        };
        Ok(Self { http, kafka })
    }

    /// Where HTTP really listens.
    ///
    /// # Errors
    /// If the socket is gone.
    pub fn http_address(&self) -> std::io::Result<SocketAddr> {
        self.http.local_addr()
    }

    /// A handle on the HTTP socket.
    ///
    /// # Errors
    /// If the socket is gone.
    pub fn adopt_http(&self) -> Result<tokio::net::TcpListener, Fault> {
        adopt(&self.http)
    }

    /// Where the Kafka listener really listens, if it is on.
    #[must_use]
    pub fn kafka_address(&self) -> Option<SocketAddr> {
        self.kafka.as_ref().and_then(|socket| socket.local_addr().ok())
    }
}

/// The listener feeds the embedded log only, whose node is always a worker; with a broker, producers talk to the broker.
#[must_use]
pub fn listener_is_on(config: &Config) -> bool {
    config.kafka_listener.enabled && config.log.backend == LogBackend::Embedded
}

fn bind(setting: &str, address: &str) -> Result<std::net::TcpListener, String> {
    let named = |error: std::io::Error| format!("{setting} = {address:?}: {error}");
    let socket = std::net::TcpListener::bind(address).map_err(named)?;
    socket.set_nonblocking(true).map_err(named)?;
    Ok(socket)
}

/// A handle on a bound socket for one run of a service.
fn adopt(socket: &std::net::TcpListener) -> Result<tokio::net::TcpListener, Fault> {
    socket
        .try_clone()
        .and_then(tokio::net::TcpListener::from_std)
        .map_err(|error| Fault::broken(format!("listening socket is gone: {error}")))
}

/// The HTTP API.
///
/// # Errors
/// If the socket fails or the token can't be read.
pub async fn http(services: Services, ctx: ServiceContext) -> Result<(), Fault> {
    let state = Arc::new(api_state(&services)?);
    let listener = services.sockets.adopt_http()?;
    let stopping = ctx.clone();
    let serving = crate::web::serve(listener, state, async move { stopping.stopping().await });
    ctx.protect(serving).await.map_err(|error| Fault::broken(format!("http server failed: {error}")))
}

fn api_state(services: &Services) -> Result<ApiState, Fault> {
    let config = services.live.config.load_full();
    let limits = Arc::clone(&services.live.documents);
    let (encoder, model, live) =
        (Arc::clone(&services.encoder), Arc::clone(&services.sentiment), Arc::clone(&services.live.sentiment));
    let refused = |error: ModelError| Rejection::new(ErrorCode::EncodingFailed, error.to_string());
    Ok(ApiState {
        token: config.http.resolve_token().map_err(|error| Fault::broken(error.to_string()))?,
        faults_enabled: config.faults.enabled,
        decode: Arc::new(move |bytes| decode(bytes, &limits.load(), Utc::now())),
        log: Arc::clone(&services.log),
        documents_topic: Arc::clone(&services.documents_topic),
        bars_topic: config.kafka.topics.bars.as_str().into(),
        bars: Arc::clone(&services.market.bars),
        signals: Arc::clone(&services.market.signals),
        runs: Arc::clone(&services.market.runs),
        backtests: Arc::new(services.backtester.clone()),
        documents: Arc::clone(&services.documents),
        vectors: Arc::clone(&services.vectors),
        encoder: Arc::clone(&services.encoder),
        cache: Arc::clone(&services.cache),
        judge: judge(services),
        analyze: Arc::new(move |texts| {
            let opinions = analyze(&*encoder, &*model, &texts, live.load().min_confidence).map_err(refused)?;
            Ok(opinions.into_iter().map(|opinion| serde_json::json!(opinion)).collect())
        }),
        jobs: Arc::clone(&services.jobs),
        graphs: graphs(services, &config),
        operations: services.operations.lock().clone().ok_or_else(|| Fault::broken("the daemon is not assembled"))?,
        events: Arc::clone(&services.events),
        stopping: tokio_util::sync::CancellationToken::new(),
        node: node(&config)?,
        http: config.http.clone(),
    })
}

/// What the routes of learned repositories need.
fn graphs(services: &Services, config: &Config) -> Graphs {
    let access = config.graph.repository.access();
    let check_url = move |url: &str| {
        let source = Source::parse(url, access).map_err(|error| error.to_string())?;
        Ok(source.url().to_owned())
    };
    Graphs {
        store: Arc::clone(&services.graphs),
        check_url: Arc::new(check_url),
        job_ttl_ms: config.graph.job_ttl_ms(),
    }
}

/// What this node serves itself, and whom it asks for the rest.
fn node(config: &Config) -> Result<Node, Fault> {
    let workers = Workers::new(&config.node, &config.http).map_err(|error| Fault::broken(error.to_string()))?;
    Ok(Node { api: config.node.is_api(), worker: config.node.is_worker(), workers: workers.map(Arc::new) })
}

/// Names what an opinion depends on besides the text, as it is now.
fn judge(services: &Services) -> Judge {
    let (encoder, model) = (services.encoder.info().model.clone(), Arc::clone(services.sentiment.name()));
    let live = Arc::clone(&services.live.sentiment);
    Arc::new(move || format!("{encoder}/{model}/{}", live.load().min_confidence))
}

/// The Kafka listener.
///
/// # Errors
/// If the socket fails.
pub async fn kafka_listener(services: Services, ctx: ServiceContext) -> Result<(), Fault> {
    let config = services.live.config.load_full();
    let Some(socket) = &services.sockets.kafka else {
        return Err(Fault::broken("the kafka listener has no socket"));
    };
    let listener = adopt(socket)?;
    let stopping = ctx.clone();
    let serving = crate::kafka::listener::serve(
        listener,
        Arc::clone(&services.log),
        config.kafka.topics.inputs(),
        config.kafka_listener.clone(),
        async move { stopping.stopping().await },
    );
    ctx.protect(serving).await.map_err(|error| Fault::broken(format!("kafka listener failed: {error}")))
}
