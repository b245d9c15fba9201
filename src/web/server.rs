//! The server under the router: connections within bounds, deadlines for heads and slow readers, an orderly end.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::app::App;
use super::patience::Patient;
use super::state::ApiState;
use super::{api, routes};
use crate::config::http::HttpConfig;

/// How long an answered client may go on sending what nobody reads, so that it sees the answer instead of a reset.
const LINGER: Duration = Duration::from_secs(2);
/// The same when the daemon stops.
const LINGER_AT_STOP: Duration = Duration::from_millis(250);
/// Bytes read and thrown away meanwhile, at most.
const LINGER_BYTES: usize = 64 * 1024 * 1024;
/// Pause after a failed accept, such as when files run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Said to connections over the limit.
const FULL: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
                    connection: close\r\ncontent-length: 91\r\n\r\n\
                    {\"error\":{\"code\":\"TM0016\",\"message\":\"too many connections are open\",\"correlation_id\":null}}";

/// What every connection shares.
#[derive(Clone)]
struct Shared {
    router: axum::Router,
    http: Arc<HttpConfig>,
    /// Says to end after the request at work.
    stopping: CancellationToken,
    /// Says to end at once.
    killed: CancellationToken,
}

/// Serves until `shutdown`, then lets open requests end within `http.drain_seconds`.
///
/// # Errors
/// If the listener's address can't be read.
pub async fn serve(
    listener: TcpListener,
    state: Arc<ApiState>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let app = Arc::new(App::new(state));
    let http = Arc::new(app.api.http.clone());
    let stopping = app.api.stopping.clone();
    let killed = CancellationToken::new();
    let shared = Shared {
        router: routes::router(app.clone()),
        http: http.clone(),
        stopping: stopping.clone(),
        killed: killed.clone(),
    };
    let tracker = TaskTracker::new();
    tracker.spawn(api::stream::publish_snapshots(app));
    tracing::info!(%address, "http is listening");

    tokio::select! {
        () = accept(&listener, &shared, &tracker) => {}
        () = shutdown => {}
        () = stopping.cancelled() => {}
    }
    drop(listener);
    stopping.cancel();
    tracker.close();
    if tokio::time::timeout(Duration::from_secs(http.drain_seconds), tracker.wait()).await.is_err() {
        tracing::warn!(connections = tracker.len(), "http connections cut at the end of the drain");
        killed.cancel();
        tracker.wait().await;
    }
    tracing::info!(%address, "http has stopped");
    Ok(())
}

async fn accept(listener: &TcpListener, shared: &Shared, tracker: &TaskTracker) {
    let places = Arc::new(Semaphore::new(shared.http.max_connections));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            refuse(&stream);
            continue;
        };
        let shared = shared.clone();
        tracker.spawn(async move {
            let killed = shared.killed.clone();
            tokio::select! {
                () = killed.cancelled() => {}
                () = connection(stream, shared) => {}
            }
            drop(place);
        });
    }
}

/// Tells a connection over the limit why it is closed, without waiting for it.
fn refuse(stream: &TcpStream) {
    // What does not fit the socket's empty buffer at once is not worth a task.
    let _ = stream.try_write(FULL.as_bytes());
}

async fn connection(stream: TcpStream, shared: Shared) {
    let Shared { router, http, stopping, .. } = shared;
    // Small answers must not wait for the next packet; a failure only costs time.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Patient::new(stream, Duration::from_secs(http.write_timeout_seconds)));
    let answered = Arc::new(AtomicU64::new(0));
    let limit = http.max_requests_per_connection;
    let service = service_fn(move |request: Request<Incoming>| {
        let router = TowerToHyperService::new(router.clone());
        let last = answered.fetch_add(1, Ordering::Relaxed) + 1 >= limit;
        Box::pin(async move {
            let mut response = router.call(request).await?;
            if last {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(response)
        })
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(http.header_timeout_seconds))
        .max_buf_size(http.max_header_bytes.max(8192));
    let mut connection = builder.serve_connection(io, service);

    let result = tokio::select! {
        result = poll_fn(|context| connection.poll_without_shutdown(context)) => result,
        () = stopping.cancelled() => {
            Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|context| connection.poll_without_shutdown(context)).await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "http connection ended with an error");
    }
    let patience = if stopping.is_cancelled() { LINGER_AT_STOP } else { LINGER };
    linger(connection.into_parts().io.into_inner(), patience).await;
}

/// Closes our side, then reads what the client still sends: closing with unread bytes would reset the connection and
/// could destroy the answer on its way.
async fn linger(mut stream: Patient<TcpStream>, patience: Duration) {
    let drained = async {
        stream.shutdown().await?;
        let mut scrap = vec![0_u8; 16 * 1024];
        let mut total = 0;
        while total < LINGER_BYTES {
            match stream.read(&mut scrap).await? {
                0 => break,
                count => total += count,
            }
        }
        Ok::<_, io::Error>(())
    };
    // The client is gone or silent: either way there is nothing more to do for it.
    let _ = tokio::time::timeout(patience, drained).await;
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_refusal_is_a_whole_answer() {
        let (head, body) = FULL.split_once("\r\n\r\n").unwrap();
        let length: usize = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
        assert_eq!(body.len(), length);
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
