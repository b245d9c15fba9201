//! Partitions of the logging tables: one a day, made before they are needed, dropped as a whole when they are old.

use std::collections::BTreeSet;

use chrono::{Days, NaiveDate, Utc};

use super::error::Failure;
use super::pool::{Lease, Pools};

/// Tables with a partition for each day.
pub(super) const TABLES: [&str; 2] = ["log_entries", "events"];
/// Held while partitions are made or dropped.
const LOCK: i64 = 0x7469_6465_7061_7274;
/// Days made ahead.
const AHEAD: u64 = 3;

/// The days whose partitions are known to be there.
#[derive(Debug, Default)]
pub(super) struct Partitions(BTreeSet<NaiveDate>);

impl Partitions {
    /// Makes the partitions of these days where they are missing.
    pub(super) async fn ensure(
        &mut self,
        lease: &Lease,
        days: impl IntoIterator<Item = NaiveDate>,
    ) -> Result<(), Failure> {
        let missing: BTreeSet<NaiveDate> = days.into_iter().filter(|day| !self.0.contains(day)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let session = lease.session();
        session.batch(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK})")).await?;
        for day in &missing {
            for table in TABLES {
                session.batch(&create(table, *day)).await?;
            }
        }
        session.batch("COMMIT").await?;
        self.0.extend(missing);
        Ok(())
    }
}

/// The statement that makes the partition of a day where it is missing.
pub(super) fn create(table: &str, day: NaiveDate) -> String {
    let next = day.checked_add_days(Days::new(1)).unwrap_or(day);
    format!(
        "CREATE TABLE IF NOT EXISTS logging.{} PARTITION OF logging.{table}
            FOR VALUES FROM ('{day} 00:00:00+00') TO ('{next} 00:00:00+00')",
        name(table, day)
    )
}

fn name(table: &str, day: NaiveDate) -> String {
    format!("{table}_{}", day.format("%Y%m%d"))
}

/// Makes the next days' partitions and drops those older than `retention_days`; how many went.
pub(super) async fn tend(pools: &Pools, retention_days: u16) -> Result<u64, Failure> {
    let today = Utc::now().date_naive();
    let lease = pools.logging.lease().await?;
    let days = (0..=AHEAD).filter_map(|ahead| today.checked_add_days(Days::new(ahead)));
    let oldest = today.checked_sub_days(Days::new(retention_days.into())).unwrap_or(NaiveDate::MIN);
    let work = async {
        Partitions::default().ensure(&lease, days).await?;
        drop_before(&lease, oldest).await
    };
    match work.await {
        Ok(dropped) => {
            lease.finish();
            Ok(dropped)
        }
        Err(failure) => {
            lease.settle(&failure).await;
            Err(failure)
        }
    }
}

async fn drop_before(lease: &Lease, oldest: NaiveDate) -> Result<u64, Failure> {
    let sql = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace n ON n.oid = p.relnamespace
        WHERE n.nspname = 'logging' AND p.relname IN ('log_entries', 'events')";
    let session = lease.session();
    let mut dropped = 0;
    for row in session.query(sql, &[], &[]).await? {
        let partition: String = row.try_get(0)?;
        let day = partition.rsplit_once('_').and_then(|(_, day)| NaiveDate::parse_from_str(day, "%Y%m%d").ok());
        let table = TABLES.iter().find(|table| day.is_some_and(|day| name(table, day) == partition));
        if let (Some(day), Some(_)) = (day, table)
            && day < oldest
        {
            // the lock keeps daemons from dropping the same one at once; IF EXISTS serves who comes second
            let sql = format!(
                "BEGIN; SELECT pg_advisory_xact_lock({LOCK}); DROP TABLE IF EXISTS logging.{partition}; COMMIT"
            );
            session.batch(&sql).await?;
            dropped += 1;
        }
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_one_day_in_utc() {
        let day = NaiveDate::from_ymd_opt(2026, 12, 31).unwrap_or_default();
        let sql = create("events", day);
        assert!(sql.contains("logging.events_20261231 PARTITION OF logging.events"), "{sql}");
        assert!(sql.contains("('2026-12-31 00:00:00+00') TO ('2027-01-01 00:00:00+00')"), "{sql}");
    }
}
