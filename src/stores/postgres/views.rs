//! Views for dashboards: refreshed by one daemon at a time, while readers go on.

use std::time::{Duration, Instant};

use tokio_postgres::types::Type;

use super::error::Failure;
use super::pool::{Lease, Pools};

const VIEWS: [&str; 3] = ["sentiment_by_hour", "verdicts_by_hour", "entities_by_day"];
/// A refresh may take this long, and keeps away for ten times as long as it took.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = '10min'; SET LOCAL lock_timeout = '10s'";
/// The row's lock is whose turn it is.
const TURN: &str = "SELECT 1 FROM analytics.view_refreshes
    WHERE $1 IS NULL OR refreshed_at < clock_timestamp() - make_interval(secs => greatest($1, seconds * 10))
    FOR UPDATE SKIP LOCKED";

/// Refreshes the views if that is due, which without `every` it always is, and no other daemon does it; whether it did.
pub(super) async fn refresh(pools: &Pools, every: Option<Duration>) -> Result<bool, Failure> {
    let lease = pools.analytics.lease().await?;
    match refresh_in_turn(&lease, every.map(|every| every.as_secs_f64())).await {
        Ok(done) => {
            lease.finish();
            Ok(done)
        }
        Err(failure) => {
            lease.settle(&failure).await;
            Err(failure)
        }
    }
}

async fn refresh_in_turn(lease: &Lease, every_seconds: Option<f64>) -> Result<bool, Failure> {
    let session = lease.session();
    session.batch(BEGIN).await?;
    let due = !session.query(TURN, &[Type::FLOAT8], &[&every_seconds]).await?.is_empty();
    if due {
        let started = Instant::now();
        for view in VIEWS {
            session.batch(&format!("REFRESH MATERIALIZED VIEW CONCURRENTLY analytics.{view}")).await?;
        }
        let note = "UPDATE analytics.view_refreshes SET refreshed_at = clock_timestamp(), seconds = $1";
        session.query(note, &[Type::FLOAT8], &[&started.elapsed().as_secs_f64()]).await?;
    }
    session.batch("COMMIT").await?;
    Ok(due)
}
