//! Pools of connections: made on demand, made anew when they break, with a pause between failed attempts.

use std::ops::Deref;
use std::time::{Duration, Instant};

use deadpool_postgres::{ClientWrapper, Manager, ManagerConfig, Object, RecyclingMethod, Runtime, Timeouts};
use parking_lot::Mutex;
use tokio_postgres::NoTls;

use super::error::{Failure, OpenError, pool_error, words};
use super::sql::Session;
use super::target::{Durability, Target, own_url};
use super::tls;
use crate::config::postgres::{PoolConfig, PostgresConfig};
use crate::stores::documents::StoreError;
use crate::stores::pools::PoolStatus;

/// First bound of the pause between two attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Last bound.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The pools of a store.
pub(super) struct Pools {
    pub(super) raw: Pool,
    pub(super) analytics: Pool,
    pub(super) logging: Pool,
    /// Whether all schemas lie in one database, so that one transaction spans them.
    pub(super) shared: bool,
}

impl Pools {
    /// Reads the settings; connects nothing yet.
    pub(super) fn new(config: &PostgresConfig) -> Result<Self, OpenError> {
        let pool = |name, pool: &PoolConfig, durability| Pool::new(name, config, pool, durability);
        let raw = pool("postgres_raw", &config.raw, Durability::Full)?;
        let analytics = pool("postgres_analytics", &config.analytics, Durability::Full)?;
        let logging = pool("postgres_logging", &config.logging, Durability::Relaxed)?;
        let own = [&config.raw, &config.analytics, &config.logging].iter().any(|pool| own_url(pool).is_some());
        let same = raw.target.is(&analytics.target) && analytics.target.is(&logging.target);
        Ok(Self { raw, analytics, logging, shared: !own || same })
    }

    /// Where the schema `analytics` is read: readers don't take the connections of who writes verdicts, where they need
    /// not.
    pub(super) fn readers(&self) -> &Pool {
        if self.shared { &self.raw } else { &self.analytics }
    }

    /// All of them.
    pub(super) fn all(&self) -> [&Pool; 3] {
        [&self.raw, &self.analytics, &self.logging]
    }
}

/// Attempts to connect that failed.
struct Trouble {
    /// In a row.
    failures: u32,
    /// No attempt before this time.
    retry_at: Instant,
    /// Why the last one failed.
    reason: String,
}

/// One pool.
pub(super) struct Pool {
    store: &'static str,
    pub(super) target: Target,
    inner: deadpool_postgres::Pool,
    /// Whether statements are prepared by name.
    named: bool,
    trouble: Mutex<Option<Trouble>>,
}

impl Pool {
    fn new(
        store: &'static str,
        config: &PostgresConfig,
        pool: &PoolConfig,
        durability: Durability,
    ) -> Result<Self, OpenError> {
        let target = Target::new(config, pool, durability)?;
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match tls::connector(&target.encryption)? {
            Some(tls) => Manager::from_config(target.config.clone(), tls, manager),
            None => Manager::from_config(target.config.clone(), NoTls, manager),
        };
        let connect = Duration::from_millis(config.connect_timeout_ms);
        let timeouts = Timeouts {
            wait: Some(Duration::from_millis(config.acquire_timeout_ms)),
            create: Some(connect),
            recycle: Some(connect),
        };
        let inner = deadpool_postgres::Pool::builder(manager)
            .max_size(pool.connections)
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| OpenError::Setting(error.to_string()))?;
        Ok(Self { store, target, inner, named: !config.transaction_pooler, trouble: Mutex::new(None) })
    }

    /// A connection, waited for up to the configured time.
    pub(super) async fn lease(&self) -> Result<Lease, Failure> {
        self.patience()?;
        match self.inner.get().await {
            Ok(object) => {
                *self.trouble.lock() = None;
                Ok(Lease { object: Some(object), named: self.named })
            }
            Err(error) => {
                let failure = pool_error(error, &self.target.address);
                self.note(&failure);
                Err(failure)
            }
        }
    }

    /// Refuses while the pause after a failed attempt lasts, unless a connection is free.
    fn patience(&self) -> Result<(), Failure> {
        let trouble = self.trouble.lock();
        match &*trouble {
            Some(trouble) if Instant::now() < trouble.retry_at && self.inner.status().available == 0 => {
                Err(Failure::Store(StoreError::Unavailable(trouble.reason.clone())))
            }
            _ => Ok(()),
        }
    }

    fn note(&self, failure: &Failure) {
        let said = match failure {
            Failure::Postgres(error) => words(error),
            Failure::Store(error) => error.to_string(),
        };
        let mut trouble = self.trouble.lock();
        let failures = trouble.as_ref().map_or(0, |trouble| trouble.failures).saturating_add(1);
        let bound = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
        let retry_at = Instant::now() + bound.mul_f64(fastrand::f64());
        *trouble = Some(Trouble { failures, retry_at, reason: format!("postgres at {}: {said}", self.target.address) });
    }

    /// A connection outside the pool, for migrations.
    pub(super) async fn connect(&self) -> Result<(tokio_postgres::Client, tokio::task::AbortHandle), OpenError> {
        let failed = |error| super::error::open_error(&error, &self.target.address);
        if let Some(tls) = tls::connector(&self.target.encryption)? {
            let (client, connection) = self.target.config.connect(tls).await.map_err(failed)?;
            return Ok((client, drive(connection)));
        }
        let (client, connection) = self.target.config.connect(NoTls).await.map_err(failed)?;
        Ok((client, drive(connection)))
    }

    /// Whether a connection is a session of its own on the server, and not a pooler's.
    pub(super) const fn has_sessions(&self) -> bool {
        self.named
    }

    /// How busy it is.
    pub(super) fn status(&self) -> PoolStatus {
        let status = self.inner.status();
        PoolStatus {
            store: self.store,
            address: self.target.address.clone(),
            max: status.max_size,
            size: status.size,
            available: status.available.min(status.size),
            used: status.size.saturating_sub(status.available),
            waiting: status.waiting,
        }
    }

    /// Where it leads.
    pub(super) fn address(&self) -> &str {
        &self.target.address
    }

    /// Lets no call through any more and closes what is idle.
    pub(super) fn close(&self) {
        self.inner.close();
    }
}

fn drive(
    connection: impl Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static,
) -> tokio::task::AbortHandle {
    // its errors are told to the calls that wait
    tokio::spawn(async move { drop(connection.await) }).abort_handle()
}

/// A connection for one call. Goes back to its pool only when the call says that it left nothing open; a call that was
/// cut off in between closes it, and the server rolls its transaction back.
pub(super) struct Lease {
    object: Option<Object>,
    named: bool,
}

impl Lease {
    /// For statements.
    pub(super) fn session(&self) -> Session<'_> {
        Session::new(self, self.named)
    }

    /// Nothing is open: gives the connection back.
    pub(super) fn finish(mut self) {
        drop(self.object.take());
    }

    /// Gives the connection back after an error where it still works, its transaction rolled back.
    pub(super) async fn settle(self, failure: &Failure) {
        if failure.leaves_connection() && self.batch_execute("ROLLBACK").await.is_ok() {
            self.finish();
        }
    }
}

impl Deref for Lease {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        #[expect(clippy::expect_used, reason = "taken only by finish and drop, which take the lease")]
        self.object.as_ref().expect("a lease has its connection")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}
