//! Drops exact and near copies for almost no cost, before anything is embedded.

use crate::messages::pipeline::{Fingerprinted, Intake};
use crate::supervisors::{Actor, Context, Fault, Mailbox};
use crate::text::fingerprint::fingerprint;

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
        for Intake { delivery, document } in batch {
            let fingerprint = fingerprint(document.title.as_deref(), &document.text);
            let record = delivery.record();
            let sighting =
                self.recall.memory.lock().sight(&document.id, &fingerprint, &record.position, record.timestamp_ms);
            let mut message = Fingerprinted { delivery, document, sighting, timings: Vec::with_capacity(6) };
            stamp(&mut message.timings, "fingerprint", &message.delivery);
            ctx.send(&self.embedder, message).await?;
            ctx.done(1);
        }
        Ok(())
    }
}
