//! Tables of a backup back into the databases, each database in one transaction.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::dump::{SCHEMAS, Table, quoted};
use super::error::{OpenError, open_error, store_error};
use super::partitions;
use super::pool::Pools;
use super::schema;
use crate::config::postgres::PostgresConfig;
use crate::stores::documents::StoreError;

/// The one table that has a row from the beginning.
const SEEDED: &str = "view_refreshes";

const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;
    SET LOCAL lock_timeout = '10s'";

/// Why tables can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The databases can't be opened, or have newer schemas.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A statement failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There are rows already.
    #[error("{address}: table {table} is not empty")]
    NotEmpty {
        /// Server and database.
        address: String,
        /// The first table found with rows.
        table: String,
    },
}

/// One database with an open transaction.
struct Target {
    client: Client,
    driver: tokio::task::AbortHandle,
    address: String,
    schemas: Vec<&'static str>,
}

impl Drop for Target {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Target {
    async fn run(&self, sql: &str) -> Result<(), StoreError> {
        self.client.batch_execute(sql).await.map_err(|error| store_error(&error, &self.address))
    }

    async fn is_empty(&self, table: &Table) -> Result<bool, StoreError> {
        let sql = format!("SELECT 1 FROM {} LIMIT 1", table.quoted());
        let rows = self.client.query_typed(&sql, &[]).await.map_err(|error| store_error(&error, &self.address))?;
        Ok(rows.is_empty())
    }
}

/// A load under way; dropped before its commit it leaves everything as it was.
pub struct Load {
    targets: Vec<Target>,
}

impl Load {
    /// Brings the schemas to the backup's versions, empties the tables and makes the partitions they need. With `replace`
    /// tables that have rows are emptied too.
    ///
    /// # Errors
    /// [`LoadError::NotEmpty`] without `replace`; nothing is changed then but empty schemas brought up to date.
    pub async fn begin(
        config: &PostgresConfig,
        versions: &BTreeMap<String, usize>,
        tables: &[Table],
        replace: bool,
    ) -> Result<Self, LoadError> {
        let pools = Pools::new(config)?;
        schema::migrate_to(&pools, versions).await?;
        let mut load = Self { targets: Vec::new() };
        for (name, pool) in SCHEMAS.iter().zip([&pools.analytics, &pools.raw, &pools.logging]) {
            match load.targets.first_mut() {
                Some(target) if pools.shared => target.schemas.push(name),
                _ => {
                    let (client, driver) = pool.connect().await?;
                    let address = pool.address().to_owned();
                    let target = Target { client, driver, address, schemas: vec![name] };
                    let failed = |error| open_error(&error, &target.address);
                    target.client.batch_execute(BEGIN).await.map_err(failed)?;
                    load.targets.push(target);
                }
            }
        }
        for table in tables {
            let target = load.target(&table.schema)?;
            // log lines are written by whoever looked at the databases before, and are no reason to stop
            let counts = !replace && table.schema != "logging" && table.name != SEEDED;
            if counts && !target.is_empty(table).await? {
                let (address, table) = (target.address.clone(), format!("{}.{}", table.schema, table.name));
                return Err(LoadError::NotEmpty { address, table });
            }
        }
        load.make_room(tables).await?;
        Ok(load)
    }

    fn target(&self, schema: &str) -> Result<&Target, StoreError> {
        let found = self.targets.iter().find(|target| target.schemas.contains(&schema));
        found.ok_or_else(|| StoreError::Refused(format!("schema {schema} is not ours")))
    }

    async fn make_room(&self, tables: &[Table]) -> Result<(), StoreError> {
        for target in &self.targets {
            let own: Vec<&Table> = tables.iter().filter(|table| target.schemas.contains(&&*table.schema)).collect();
            if own.is_empty() {
                continue;
            }
            let names: Vec<String> = own.iter().map(|table| table.quoted()).collect();
            target.run(&format!("TRUNCATE {}", names.join(", "))).await?;
            let days: BTreeSet<_> = own.iter().flat_map(|table| &table.days).collect();
            for day in days {
                for table in partitions::TABLES {
                    target.run(&partitions::create(table, *day)).await?;
                }
            }
        }
        Ok(())
    }

    /// Fills a table with what binary `COPY` wrote; how many rows. `content` gives the next piece, nothing at the end.
    ///
    /// # Errors
    /// What the database or `content` says; then only dropping the load makes sense.
    pub async fn table<E: From<StoreError>>(
        &self,
        table: &Table,
        mut content: impl AsyncFnMut() -> Result<Option<Bytes>, E>,
    ) -> Result<u64, E> {
        let target = self.target(&table.schema)?;
        let failed = |error| E::from(store_error(&error, &target.address));
        let sql = format!("COPY {} ({}) FROM STDIN (FORMAT binary)", table.quoted(), table.quoted_columns());
        let sink = target.client.copy_in::<_, Bytes>(&sql).await.map_err(failed)?;
        let mut sink = std::pin::pin!(sink);
        while let Some(piece) = content().await? {
            sink.send(piece).await.map_err(failed)?;
        }
        sink.finish().await.map_err(failed)
    }

    /// Sets sequences, commits everything and has the tables analysed. With databases apart the verdicts come after their
    /// documents.
    ///
    /// # Errors
    /// If a database fails.
    pub async fn commit(self, sequences: &[(String, String, i64)], tables: &[Table]) -> Result<(), StoreError> {
        for (schema, name, last) in sequences {
            let target = self.target(schema)?;
            let sequence = format!("{}.{}", quoted(schema), quoted(name));
            let values: [(&(dyn ToSql + Sync), Type); 2] = [(&sequence, Type::TEXT), (last, Type::INT8)];
            let set = target.client.query_typed("SELECT setval($1::regclass, $2)", &values);
            set.await.map_err(|error| store_error(&error, &target.address))?;
        }
        let verdicts_last = |target: &&Target| target.schemas.contains(&"analytics");
        let mut targets: Vec<&Target> = self.targets.iter().collect();
        targets.sort_by_key(verdicts_last);
        for target in &targets {
            target.run("COMMIT").await?;
        }
        for table in tables {
            self.target(&table.schema)?.run(&format!("ANALYZE {}", table.quoted())).await?;
        }
        Ok(())
    }
}
