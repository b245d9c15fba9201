//! The relational store: documents, bars and what is made of both.

use std::fs::File;
use std::sync::Arc;

use super::OpenError;
use super::data_dir::lock_data_dir;
use crate::actors::servers::Sockets;
use crate::actors::services::Market;
use crate::actors::waiting::patiently;
use crate::config::Config;
use crate::config::log::LogBackend;
use crate::config::store::StoreBackend;
use crate::kafka::log::Log;
use crate::messages::event::EventBus;
use crate::stores::documents::{DocumentStore, StoreCounts};
use crate::stores::graphs::GraphStore;
use crate::stores::postgres::{self, PostgresStore};
use crate::stores::sqlite::SqliteStore;
use crate::telemetry::logs::LogLevel;

/// Opens the store, waiting for a server that is away.
pub(super) async fn open_documents(
    config: &Config,
    sockets: &Sockets,
    log_level: &LogLevel,
    events: &Arc<EventBus>,
) -> Result<(Arc<dyn DocumentStore>, Arc<dyn GraphStore>, Market), OpenError> {
    match config.store.backend {
        StoreBackend::Sqlite => {
            let store = Arc::new(open_sqlite(config)?);
            store.keep_events(events).await?;
            let market = Market::of(&store);
            Ok((Arc::clone(&store) as _, store, market))
        }
        StoreBackend::Postgres => {
            let patience = config.postgres.startup_wait();
            let open = async || PostgresStore::open(&config.postgres).await;
            let store = patiently("documents", patience, sockets, postgres::OpenError::may_pass, open).await?;
            store.keep_logs(log_level.tap(), events);
            let store = Arc::new(store);
            let market = Market::of(&store);
            Ok((Arc::clone(&store) as _, store, market))
        }
    }
}

/// Opens bars, signals and backtests for a command of its own, while no daemon uses the data directory; holds it meanwhile.
///
/// # Errors
/// Why they can't be had.
pub async fn open_market(config: &Config) -> Result<(Market, File), OpenError> {
    let lock = lock_data_dir(&config.daemon.data_dir)?;
    let market = match config.store.backend {
        StoreBackend::Sqlite => Market::of(&Arc::new(open_sqlite(config)?)),
        StoreBackend::Postgres => Market::of(&Arc::new(PostgresStore::open(&config.postgres).await?)),
    };
    Ok((market, lock))
}

fn open_sqlite(config: &Config) -> Result<SqliteStore, OpenError> {
    let path = config.daemon.data_dir.join(&config.store.sqlite_path);
    Ok(SqliteStore::open(&path, &config.store)?)
}

/// An empty store beside a consumed log means that its file was lost: going on would hide the loss.
pub(super) async fn store_is_not_lost(
    config: &Config,
    log: &dyn Log,
    documents: &dyn DocumentStore,
) -> Result<(), OpenError> {
    if documents.counts().await? != StoreCounts::default() || config.log.backend != LogBackend::Embedded {
        return Ok(());
    }
    let topics = [config.kafka.topics.documents.clone()];
    let consumed = log.lag(&config.kafka.group, &topics).await?.iter().map(|partition| partition.committed).sum();
    if consumed > 0 {
        return Err(OpenError::StoreLost { store: documents.describe(), consumed });
    }
    Ok(())
}

/// Opens the store and asks it, for checks.
///
/// # Errors
/// Why it does not answer.
pub async fn try_store(config: &Config) -> Result<(), OpenError> {
    let _lock = lock_data_dir(&config.daemon.data_dir)?;
    match config.store.backend {
        StoreBackend::Sqlite => Ok(open_sqlite(config)?.check().await?),
        StoreBackend::Postgres => Ok(PostgresStore::open(&config.postgres).await?.check().await?),
    }
}
