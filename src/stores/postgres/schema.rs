//! Schemas and tables: versioned migrations, one set for each schema, run by one daemon at a time.

use std::collections::BTreeMap;

use refinery::{Migration, Runner};
use tokio_postgres::Client;

use super::error::{OpenError, open_error};
use super::pool::{Pool, Pools};

/// Held by the daemon that migrates a database.
const MIGRATION_LOCK: i64 = 0x7469_6465_6d69_6c6c;

/// The table of migrations, in every schema.
pub(super) const HISTORY: &str = "schema_history";

/// A schema with its changes in order. Never edit one that was released.
struct Schema {
    name: &'static str,
    migrations: &'static [(&'static str, &'static str)],
}

/// `migrations!("raw": "V1__documents")` reads `migrations/raw/V1__documents.sql`.
macro_rules! schema {
    ($name:literal: $($migration:literal),*) => {
        Schema {
            name: $name,
            migrations: &[$((
                $migration,
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/", $name, "/", $migration, ".sql")),
            )),*],
        }
    };
}

const RAW: Schema = schema!("raw": "V1__documents", "V2__bars");
const ANALYTICS: Schema =
    schema!("analytics": "V1__analyses", "V2__dashboard_views", "V3__deliveries", "V4__graphs", "V5__backtests");
const LOGGING: Schema = schema!("logging": "V1__log_entries");

/// Brings every schema up to date.
///
/// # Errors
/// [`OpenError::Setting`] if a schema is of a newer program or the role may not change it.
pub(super) async fn migrate(pools: &Pools) -> Result<(), OpenError> {
    for (pool, schema) in [(&pools.raw, RAW), (&pools.analytics, ANALYTICS), (&pools.logging, LOGGING)] {
        schema.migrate(pool).await?;
    }
    Ok(())
}

/// Brings every schema to the version that is named for it, which may be older than the newest; none goes back.
///
/// # Errors
/// [`OpenError::Setting`] if a schema is newer already, or the version is one of a newer program.
pub(super) async fn migrate_to(pools: &Pools, versions: &BTreeMap<String, usize>) -> Result<(), OpenError> {
    for (pool, schema) in [(&pools.raw, RAW), (&pools.analytics, ANALYTICS), (&pools.logging, LOGGING)] {
        let wanted = versions.get(schema.name).copied().unwrap_or(0);
        let Some(migrations) = schema.migrations.get(..wanted) else {
            let newest = schema.migrations.len();
            let said = format!("schema {} has version {wanted}, this program knows up to {newest}", schema.name);
            return Err(OpenError::Setting(said));
        };
        Schema { migrations, ..schema }.migrate(pool).await?;
    }
    Ok(())
}

/// The version a schema has, as its table of migrations says.
pub(super) fn version_query(schema: &str) -> String {
    format!("SELECT coalesce(max(version), 0) FROM {schema}.{HISTORY}")
}

impl Schema {
    async fn migrate(&self, pool: &Pool) -> Result<(), OpenError> {
        let (mut client, driver) = pool.connect().await?;
        let done = self.bring_up_to_date(&mut client, pool).await;
        drop(client);
        driver.abort();
        done
    }

    fn newest(&self) -> Result<i64, OpenError> {
        i64::try_from(self.migrations.len()).map_err(|error| OpenError::Setting(error.to_string()))
    }

    fn history(&self) -> String {
        format!("{}.{HISTORY}", self.name)
    }

    async fn bring_up_to_date(&self, client: &mut Client, pool: &Pool) -> Result<(), OpenError> {
        // a look without a lock is enough for most starts, and works on a server that takes no writes
        if self.is_current(client, pool).await? {
            return Ok(());
        }
        let (guard, driver) = pool.connect().await?;
        let done = self.migrate_alone(&guard, client, pool).await;
        drop(guard);
        driver.abort();
        done
    }

    /// The lock belongs to a transaction on a second connection, so that it also holds behind a pooler and ends with us.
    async fn migrate_alone(&self, guard: &Client, client: &mut Client, pool: &Pool) -> Result<(), OpenError> {
        let failed = |error| open_error(&error, pool.address());
        let lock = format!(
            "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"
        );
        guard.batch_execute(&lock).await.map_err(failed)?;
        if !self.is_current(client, pool).await? {
            let exists = client
                .query_typed(
                    "SELECT 1 FROM pg_namespace WHERE nspname = $1",
                    &[(&self.name, tokio_postgres::types::Type::TEXT)],
                )
                .await
                .map_err(failed)?;
            if exists.is_empty() {
                client.batch_execute(&format!("CREATE SCHEMA {}", self.name)).await.map_err(failed)?;
            }
            if pool.has_sessions() {
                // an index over a large table takes its time
                client.batch_execute("SET statement_timeout = 0; SET lock_timeout = 0").await.map_err(failed)?;
            }
            self.run(client, pool).await?;
            tracing::info!(schema = self.name, server = pool.address(), "schema is up to date");
        }
        guard.batch_execute("COMMIT").await.map_err(failed)
    }

    async fn run(&self, client: &mut Client, pool: &Pool) -> Result<(), OpenError> {
        let wrong = |error: refinery::Error| {
            let said = format!("{}: schema {}: {error}", pool.address(), self.name);
            match std::error::Error::source(&error).and_then(|source| source.downcast_ref::<tokio_postgres::Error>()) {
                Some(cause) => match open_error(cause, pool.address()) {
                    OpenError::Unavailable(reason) => OpenError::Unavailable(format!("{said}: {reason}")),
                    OpenError::Setting(reason) => OpenError::Setting(format!("{said}: {reason}")),
                },
                None => OpenError::Setting(said),
            }
        };
        let migrations = self
            .migrations
            .iter()
            .map(|(name, sql)| Migration::unapplied(name, sql))
            .collect::<Result<Vec<_>, _>>()
            .map_err(wrong)?;
        let mut runner = Runner::new(&migrations).set_abort_divergent(true);
        runner.set_migration_table_name(self.history());
        runner.run_async(client).await.map_err(wrong)?;
        Ok(())
    }

    /// Whether nothing is to be done.
    async fn is_current(&self, client: &Client, pool: &Pool) -> Result<bool, OpenError> {
        let failed = |error| open_error(&error, pool.address());
        let table = self.history();
        let known = client
            .query_typed("SELECT to_regclass($1) IS NOT NULL", &[(&table, tokio_postgres::types::Type::TEXT)])
            .await
            .map_err(failed)?;
        if !known.first().is_some_and(|row| row.get::<_, bool>(0)) {
            return Ok(false);
        }
        let rows = client.query_typed(&format!("SELECT max(version) FROM {table}"), &[]).await.map_err(failed)?;
        let version = rows.first().and_then(|row| row.get::<_, Option<i32>>(0)).unwrap_or(0);
        let newest = self.newest()?;
        if i64::from(version) > newest {
            return Err(OpenError::Setting(format!(
                "{}: schema {} has version {version}, this program knows up to {newest}: it was written by a newer one",
                pool.address(),
                self.name
            )));
        }
        Ok(i64::from(version) == newest)
    }
}
