//! The daemon: opens the stores, starts the tree, waits for the end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::reload::Reloader;
use crate::supervisors::{RootExit, Topology, Tree};
use crate::telemetry::logs::LogLevel;
use crate::telemetry::prometheus;

use super::notify::ServiceManager;
use super::open::{OpenError, open};
use super::operations::DaemonOperations;
use super::services::{Live, Services, ServicesCell};
use super::topology::declare;

/// Where the daemon tells which addresses it really listens on, in the data directory.
pub const ENDPOINTS_FILE: &str = "endpoints.json";

/// How long the stores may take to close.
const CLOSE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// Why the daemon could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A store, model or address is not to be had.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The tree could not start.
    #[error("the actors could not start: {0}")]
    Start(String),
    /// Restarts did not help.
    #[error("gave up after too many restarts: {0}")]
    Escalated(String),
}

/// The topology as declared, without opening anything.
#[must_use]
pub fn topology(config: &crate::config::Config) -> Topology {
    declare(config, &ServicesCell::default()).0.topology()
}

/// Where the daemon on this data directory says it listens, if it runs.
#[must_use]
pub fn announced(data_dir: &Path) -> Option<String> {
    if !super::open::is_held(data_dir) {
        return None; // left behind by a daemon that was killed
    }
    let text = std::fs::read_to_string(data_dir.join(ENDPOINTS_FILE)).ok()?;
    let endpoints: serde_json::Value = serde_json::from_str(&text).ok()?;
    endpoints["http"].as_str().map(str::to_owned)
}

/// Runs until a signal asks to stop or the tree gives up; with `sample`, feeds the bundled feed once it runs. A second
/// signal ends the process at once.
///
/// # Errors
/// If it could not start or gave up.
pub fn run(reloader: Arc<Reloader>, log_level: LogLevel, sample: bool) -> Result<(), DaemonError> {
    let config = reloader.current();
    let manager = ServiceManager::of_process();
    if let Some(manager) = &manager {
        manager.follow(&reloader);
        manager.opening();
    }
    let recorder = prometheus::install().map_err(|error| DaemonError::Start(error.to_string()))?;
    actix_rt::System::new().block_on(async move {
        let upkeep_ends = tokio_util::sync::CancellationToken::new();
        let _ends = upkeep_ends.clone().drop_guard();
        actix_rt::spawn(prometheus::upkeep(recorder.clone(), upkeep_ends));
        let cell = ServicesCell::default();
        let (spec, _) = declare(&config, &cell);
        let services = open(&config, Live::new(&config), reloader, log_level).await?;
        let operations = Arc::new(DaemonOperations::new(services.clone(), recorder));
        *services.operations.lock() = Some(operations.clone());
        cell.fill(services.clone());
        let tree = crate::supervisors::start(spec, config.supervision.options())
            .await
            .map_err(|error| DaemonError::Start(error.to_string()))?;
        let _ = services.tree.set(tree.clone());
        announce(&config.daemon.data_dir, &services);
        if sample {
            actix_rt::spawn(super::sample::feed(services.clone()));
        }
        let serves = format!("{} at {}", config.node.roles_in_words(), http_url(&services));
        let attending =
            manager.clone().map(|manager| actix_rt::spawn(manager.attend(tree.clone(), operations, serves)));
        let end = until_end(&tree, &services, manager.as_ref()).await;
        if let Some(task) = attending {
            task.abort();
            let _ = task.await; // it holds the services
        }
        services.operations.lock().take();
        cell.empty();
        close(services).await;
        let _ = std::fs::remove_file(config.daemon.data_dir.join(ENDPOINTS_FILE));
        end
    })
}

/// Closes the files, whoever still has a handle: an API call that was cut off, or a stage whose thread hangs.
async fn close(services: Services) {
    let closed = tokio::task::spawn_blocking(move || {
        services.documents.close();
        services.log.close();
    });
    if tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err() {
        tracing::warn!("the stores did not close in time; what is acknowledged is durable all the same");
    }
}

fn http_url(services: &Services) -> String {
    let address = services.sockets.http_address().map(|address| address.to_string()).unwrap_or_default();
    format!("http://{address}/")
}

/// Writes and logs the addresses.
fn announce(data_dir: &Path, services: &Services) {
    let http = services.sockets.http_address().map(|address| address.to_string()).unwrap_or_default();
    let kafka = services.sockets.kafka_address().map(|address| address.to_string());
    let endpoints = json!({"http": http, "kafka": kafka, "pid": std::process::id()});
    let file = data_dir.join(ENDPOINTS_FILE);
    let fresh = file.with_extension("json.new");
    let written = std::fs::write(&fresh, endpoints.to_string()).and_then(|()| std::fs::rename(&fresh, &file));
    if let Err(error) = written {
        tracing::warn!(%error, file = %file.display(), "addresses can't be written");
    }
    tracing::info!(console = %format!("http://{http}/"), kafka = kafka.unwrap_or_default(), "tidemill is running");
}

async fn until_end(tree: &Tree, services: &Services, manager: Option<&ServiceManager>) -> Result<(), DaemonError> {
    let unusable = |error: std::io::Error| DaemonError::Start(format!("signals can't be handled: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(unusable)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unusable)?;
    tokio::select! {
        exit = tree.wait() => return root_end(exit),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining, a second signal ends at once");
    services.stopping.store(true, Ordering::Relaxed);
    if let Some(manager) = manager {
        manager.stopping();
    }
    tokio::select! {
        report = tree.stop() => {
            tracing::info!(report = %json!(report), "tidemill has stopped");
        }
        _ = terminate.recv() => at_once(),
        _ = interrupt.recv() => at_once(),
    }
    Ok(())
}

fn root_end(exit: RootExit) -> Result<(), DaemonError> {
    match exit {
        RootExit::Stopped => Ok(()),
        RootExit::Escalated { cause } => {
            tracing::error!(cause = %cause, "too many restarts, tidemill ends");
            Err(DaemonError::Escalated(cause.to_string()))
        }
    }
}

fn at_once() {
    tracing::warn!("ended before the drain was complete, open records are delivered again at the next start");
}
