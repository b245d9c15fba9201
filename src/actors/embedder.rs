//! Embeds fresh documents in micro-batches by token budget and age.

use std::sync::Arc;
use std::time::Instant;

use crate::messages::pipeline::{Embedded, Fingerprinted, Sighting, Stage};
use crate::models::Encoder;
use crate::supervisors::{Actor, Context, Fault, Mailbox};
use crate::telemetry::metrics;
use crate::text::clean::model_text;

use super::compute::{compute, model_fault};
use super::timing::stamp;

/// Characters per token in English finance text, for the batch's token budget; the exact count comes from the encoder.
const CHARACTERS_PER_TOKEN: u64 = 4;

/// Runs the encoder on the compute pool; copies pass by untouched.
pub struct Embedder {
    /// The model.
    pub encoder: Arc<dyn Encoder>,
    /// Downstream.
    pub deduplicator: Mailbox<Embedded>,
}

impl Actor for Embedder {
    type Message = Fingerprinted;

    fn weight(message: &Fingerprinted) -> u64 {
        match message.sighting {
            Sighting::Fresh => 2 + message.document.text.len() as u64 / CHARACTERS_PER_TOKEN,
            Sighting::Same | Sighting::Copy(_) => 0,
        }
    }

    async fn handle(&mut self, batch: Vec<Fingerprinted>, ctx: &Context<Fingerprinted>) -> Result<(), Fault> {
        let encodes = self.encoder.makes_vectors();
        let texts: Vec<String> = batch
            .iter()
            .filter(|message| encodes && message.sighting == Sighting::Fresh)
            .map(|message| model_text(&message.document))
            .collect();
        let mut encoded = if texts.is_empty() {
            Vec::new()
        } else {
            let encoder = Arc::clone(&self.encoder);
            compute(move || {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                encoder.encode(&texts)
            })
            .await?
            .map_err(model_fault)?
        }
        .into_iter();
        if encoded.len() > 0 {
            metrics::batch_embedded(
                encoded.len(),
                encoded.as_slice().iter().map(|encoded| u64::from(encoded.tokens)).sum(),
            );
        }
        let now = Instant::now();
        let messages = batch.into_iter().map(|message| {
            let Fingerprinted { delivery, document, content_hash, sighting, mut timings } = message;
            let encoded = if sighting == Sighting::Fresh { encoded.next() } else { None };
            stamp(&mut timings, Stage::Embed, &delivery, now);
            Embedded { delivery, document, content_hash, sighting, encoded, timings }
        });
        ctx.forward(&self.deduplicator, messages).await
    }
}
