//! Drops exact and near copies for almost no cost, before anything is embedded.

use std::sync::Arc;

use crate::messages::pipeline::{Fingerprinted, Intake};
use crate::stores::claims::Claim;
use crate::supervisors::{Actor, Context, Fault, Mailbox};
use crate::text::fingerprint::fingerprint;

use super::deduplicator::store_fault;
use super::shared::Recall;
use super::timing::stamp;

/// Looks each document up in the duplicate memory and records it there in one step.
pub struct Fingerprinter {
    /// Outlives restarts.
    pub recall: Recall,
    /// Downstream.
    pub embedder: Mailbox<Fingerprinted>,
}

impl Actor for Fingerprinter {
    type Message = Intake;

    async fn handle(&mut self, batch: Vec<Intake>, ctx: &Context<Intake>) -> Result<(), Fault> {
        let claims = batch.iter().map(claim).collect();
        let sightings = ctx.protect(self.recall.claims.claim(claims)).await.map_err(store_fault)?;
        for (Intake { delivery, document }, sighting) in batch.into_iter().zip(sightings) {
            let mut message = Fingerprinted { delivery, document, sighting, timings: Vec::with_capacity(6) };
            stamp(&mut message.timings, "fingerprint", &message.delivery);
            ctx.send(&self.embedder, message).await?;
            ctx.done(1);
        }
        Ok(())
    }
}

fn claim(intake: &Intake) -> Claim {
    let (document, record) = (&intake.document, intake.delivery.record());
    Claim {
        id: Arc::clone(&document.id),
        fingerprint: fingerprint(document.title.as_deref(), &document.text),
        origin: record.position.clone(),
        timestamp_ms: record.timestamp_ms,
    }
}
