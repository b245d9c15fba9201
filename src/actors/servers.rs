//! The doors: the HTTP API and the produce-only Kafka listener, as supervised services.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::Config;
use crate::supervisors::{Fault, ServiceContext};

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
        let kafka = if config.listener_is_on() {
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

    /// Where the Kafka listener really listens, if it is on.
    #[must_use]
    pub fn kafka_address(&self) -> Option<SocketAddr> {
        self.kafka.as_ref().and_then(|socket| socket.local_addr().ok())
    }
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
/// If the socket fails.
pub async fn http(services: Services, ctx: ServiceContext) -> Result<(), Fault> {
    let state = services.api.get().cloned().ok_or_else(|| Fault::broken("the API is not assembled"))?;
    let listener = adopt(&services.sockets.http)?;
    let stopping = ctx.clone();
    let serving = crate::web::serve(listener, state, async move { stopping.stopping().await });
    ctx.protect(serving).await.map_err(|error| Fault::broken(format!("http server failed: {error}")))
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
        config.kafka.topics.declared(),
        config.kafka_listener.clone(),
        async move { stopping.stopping().await },
    );
    ctx.protect(serving).await.map_err(|error| Fault::broken(format!("kafka listener failed: {error}")))
}
