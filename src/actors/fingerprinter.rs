//! Drops exact and near copies for almost no cost, before anything is embedded.

use std::sync::Arc;
use std::time::Instant;

use crate::messages::pipeline::{Fingerprinted, Intake, Stage, Timings};
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
        let claims: Vec<Claim> = batch.iter().map(claim).collect();
        let hashes: Vec<[u8; 32]> = claims.iter().map(|claim| claim.fingerprint.content_hash).collect();
        let sightings = ctx.protect(self.recall.claims.claim(claims)).await.map_err(store_fault)?;
        let now = Instant::now();
        let judged = batch.into_iter().zip(hashes).zip(sightings);
        let messages = judged.map(|((Intake { delivery, document }, content_hash), sighting)| {
            let mut timings = Timings::default();
            stamp(&mut timings, Stage::Fingerprint, &delivery, now);
            Fingerprinted { delivery, document, content_hash, sighting, timings }
        });
        ctx.forward(&self.embedder, messages).await
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
