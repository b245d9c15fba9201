//! Makes bars durable: one transaction per batch, in order.

use std::sync::Arc;

use crate::messages::pipeline::BarIntake;
use crate::stores::bars::{BarRow, BarStore};
use crate::supervisors::{Actor, Context, Fault};
use crate::telemetry::metrics;

use super::deduplicator::store_fault;

/// Writes bars and completes their deliveries.
pub struct BarWriter {
    /// The store.
    pub bars: Arc<dyn BarStore>,
}

impl Actor for BarWriter {
    type Message = BarIntake;

    async fn handle(&mut self, batch: Vec<BarIntake>, ctx: &Context<BarIntake>) -> Result<(), Fault> {
        let rows = batch.iter().map(row).collect();
        ctx.protect(self.bars.write_bars(rows)).await.map_err(store_fault)?;
        metrics::bars_stored(batch.len() as u64);
        for intake in batch {
            intake.delivery.complete();
            ctx.done(1);
        }
        Ok(())
    }
}

fn row(intake: &BarIntake) -> BarRow {
    BarRow {
        bar: intake.bar.clone(),
        correlation_id: intake.delivery.correlation_id().clone(),
        origin: intake.delivery.position().clone(),
        record_ms: intake.delivery.record().timestamp_ms,
    }
}
