//! Judges stored-to-be documents: sentiment, category, entities. Copies pass by untouched.

use std::sync::Arc;
use std::time::Instant;

use crate::config::sentiment::SentimentConfig;
use crate::messages::pipeline::{Judged, Opinion, Sighting, Stage};
use crate::models::{Encoded, ModelError, SentimentInput, SentimentModel};
use crate::supervisors::{Actor, Context, Fault, Mailbox};
use crate::text::category::categorise_text;
use crate::text::clean::model_text;
use crate::text::entities::entities;

use super::compute::{compute, model_fault};
use super::timing::stamp;

/// Runs the sentiment model on the compute pool.
pub struct SentimentAnalyzer {
    /// Confidence under which it abstains, as it is now.
    pub config: Arc<arc_swap::ArcSwap<SentimentConfig>>,
    /// The model.
    pub model: Arc<dyn SentimentModel>,
    /// Downstream.
    pub sql_writer: Mailbox<Judged>,
}

impl Actor for SentimentAnalyzer {
    type Message = Judged;

    async fn handle(&mut self, batch: Vec<Judged>, ctx: &Context<Judged>) -> Result<(), Fault> {
        let fresh: Vec<(String, String, Encoded)> = batch
            .iter()
            .filter(|message| message.sighting == Sighting::Fresh)
            .filter_map(|message| {
                let encoded = message.encoded.clone()?;
                Some((model_text(&message.document), message.document.text.clone(), encoded))
            })
            .collect();
        let mut opinions = if fresh.is_empty() {
            Vec::new()
        } else {
            let model = Arc::clone(&self.model);
            let min_confidence = self.config.load().min_confidence;
            compute(move || opinions(&*model, &fresh, min_confidence)).await?.map_err(model_fault)?
        }
        .into_iter();
        let now = Instant::now();
        let messages = batch.into_iter().map(|mut message| {
            if message.sighting == Sighting::Fresh && message.encoded.is_some() {
                message.opinion = opinions.next().map(Box::new);
            }
            if let Some(encoded) = &mut message.encoded {
                encoded.trunk = None; // the writers need only the vector
            }
            stamp(&mut message.timings, Stage::Sentiment, &message.delivery, now);
            message
        });
        ctx.forward(&self.sql_writer, messages).await
    }
}

/// Sentiment of the model's text, category of it, and entities of the document's own text, so that offsets fit.
fn opinions(
    model: &dyn SentimentModel,
    fresh: &[(String, String, Encoded)],
    min_confidence: f32,
) -> Result<Vec<Opinion>, ModelError> {
    let inputs: Vec<SentimentInput<'_>> =
        fresh.iter().map(|(text, _, encoded)| SentimentInput { text, encoded }).collect();
    let sentiments = model.judge(&inputs, min_confidence)?;
    Ok(sentiments
        .into_iter()
        .zip(fresh)
        .map(|(sentiment, (model_text, text, _))| Opinion {
            sentiment,
            category: categorise_text(model_text),
            entities: entities(text),
        })
        .collect())
}

/// Everything `/v1/analyze` and `tidemill analyze` say of texts, without storing them.
///
/// # Errors
/// If the encoder or the model refuses a text.
pub fn analyze(
    encoder: &dyn crate::models::Encoder,
    model: &dyn SentimentModel,
    texts: &[String],
    min_confidence: f32,
) -> Result<Vec<Opinion>, ModelError> {
    let cleaned: Vec<String> = texts.iter().map(|text| crate::text::clean::clean(text)).collect();
    let stripped: Vec<String> =
        cleaned.iter().map(|text| crate::text::clean::without_urls(text).into_owned()).collect();
    let vectors = encoder.encode(&stripped.iter().map(String::as_str).collect::<Vec<_>>())?;
    let fresh: Vec<(String, String, Encoded)> =
        stripped.into_iter().zip(cleaned).zip(vectors).map(|((bare, text), encoded)| (bare, text, encoded)).collect();
    opinions(model, &fresh, min_confidence)
}
