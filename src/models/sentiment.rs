//! The local sentiment model: the encoder's lower layers, own upper layers, and a linear model on words beside them.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use crate::messages::analysis::{Probabilities, Sentiment, SentimentLabel};
use crate::models::compute::Compute;
use crate::models::minilm::weights::{LAYERS, Weights as BaseWeights};
use crate::models::{ModelError, SentimentInput, SentimentModel, Trunk};

pub mod calibrate;
pub mod checkpoint;
pub mod dataset;
pub mod evaluate;
pub mod features;
pub mod format;
pub mod lexical;
pub mod lexicon;
pub mod network;
pub mod ops;
pub mod optimizer;
pub mod train;

use self::calibrate::{Calibration, Scores};
use self::evaluate::best;
use self::features::Extractor;
use self::format::Packed;
use self::lexical::Lexical;
use self::network::Network;

/// Negative, positive, neutral.
pub const CLASSES: usize = 3;
/// Name and version of the model in results.
pub const MODEL_NAME: &str = "tidemill-sentiment-1";
/// The weights in the program.
pub const BUILT_IN: &[u8] = include_bytes!("../../assets/sentiment/weights.bin");

/// Judges texts by both parts, or by words alone where an input has no trunk.
#[derive(Debug)]
pub struct LocalSentiment {
    /// Name of the whole model, or of its lexical part when there is no network.
    name: Arc<str>,
    /// Name in results that words alone decided.
    lexical_name: Arc<str>,
    network: Option<Network>,
    lexical: Lexical,
    extractor: Extractor,
    calibration: Calibration,
    lexical_calibration: Calibration,
    compute: Compute,
}

/// After how many of the encoder's layers the model in `bytes` wants the hidden states.
///
/// # Errors
/// [`ModelError::Weights`] if they aren't a model.
pub fn shared_layers(bytes: &[u8], origin: &str) -> Result<usize, ModelError> {
    let damaged = |reason: String| ModelError::Weights { path: origin.to_owned(), reason };
    let layers = Packed::read(bytes).map_err(damaged)?.header.layers;
    LAYERS.checked_sub(layers).ok_or_else(|| damaged(format!("it has {layers} layers of its own, more than {LAYERS}")))
}

/// The bytes of the weights at `path`, or those in the program.
///
/// # Errors
/// [`ModelError::Weights`] if the file can't be read.
pub fn weights(path: Option<&Path>) -> Result<(Cow<'static, [u8]>, String), ModelError> {
    let Some(path) = path else { return Ok((BUILT_IN.into(), "built-in sentiment weights".to_owned())) };
    let name = path.display().to_string();
    match std::fs::read(path) {
        Ok(bytes) => Ok((bytes.into(), name)),
        Err(error) => Err(ModelError::Weights { path: name, reason: format!("it can't be read: {error}") }),
    }
}

impl LocalSentiment {
    /// The model in `bytes`; `base` are the encoder's weights, without which it judges by words alone.
    ///
    /// # Errors
    /// [`ModelError::Weights`] if the bytes aren't a model, with `origin` as their path.
    pub fn new(bytes: &[u8], origin: &str, base: Option<&BaseWeights>, compute: Compute) -> Result<Self, ModelError> {
        let shared = shared_layers(bytes, origin)?;
        let damaged = |reason: String| ModelError::Weights { path: origin.to_owned(), reason };
        let packed = Packed::read(bytes).map_err(damaged)?;
        let base = base.map(|weights| Network::from_base(&weights.layers[shared..]));
        let (network, lexical) = packed.unpack(base.as_ref()).map_err(damaged)?;
        let lexical_name: Arc<str> = format!("{}/lexical", packed.header.name).into();
        let name = if network.is_some() { packed.header.name.as_str().into() } else { Arc::clone(&lexical_name) };
        Ok(Self {
            name,
            lexical_name,
            network,
            lexical,
            extractor: Extractor::default(),
            calibration: packed.header.calibration,
            lexical_calibration: packed.header.lexical_calibration,
            compute,
        })
    }

    fn neural(&self, inputs: &[SentimentInput<'_>]) -> Vec<Option<[f32; CLASSES]>> {
        let mut out = vec![None; inputs.len()];
        let Some(network) = &self.network else { return out };
        let with_trunk: Vec<(usize, &Trunk)> =
            inputs.iter().enumerate().filter_map(|(i, input)| Some((i, input.encoded.trunk.as_deref()?))).collect();
        let trunks: Vec<&Trunk> = with_trunk.iter().map(|(_, trunk)| *trunk).collect();
        for ((index, _), logits) in with_trunk.iter().zip(network.logits(&trunks, &self.compute)) {
            out[*index] = Some(logits);
        }
        out
    }
}

impl SentimentModel for LocalSentiment {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn judge(&self, inputs: &[SentimentInput<'_>], min_confidence: f32) -> Result<Vec<Sentiment>, ModelError> {
        let neural = self.neural(inputs);
        let judge_one = |(input, neural): (&SentimentInput<'_>, Option<[f32; CLASSES]>)| {
            let lexical = self.lexical.logits(&self.extractor.features(input.text));
            let (calibration, model) = match neural {
                Some(_) => (&self.calibration, &self.name),
                None => (&self.lexical_calibration, &self.lexical_name),
            };
            let probabilities = calibration.probabilities(&Scores { neural, lexical });
            sentiment(probabilities, min_confidence, Arc::clone(model))
        };
        Ok(inputs.iter().zip(neural).map(judge_one).collect())
    }
}

/// The answer for calibrated probabilities of negative, positive and neutral.
fn sentiment(probabilities: [f32; CLASSES], min_confidence: f32, model: Arc<str>) -> Sentiment {
    let [negative, positive, neutral] = probabilities;
    let class = best(&probabilities);
    let abstained = probabilities[class] < min_confidence;
    let label = match class {
        0 if !abstained => SentimentLabel::Negative,
        1 if !abstained => SentimentLabel::Positive,
        _ => SentimentLabel::Neutral,
    };
    Sentiment {
        label,
        score: positive - negative,
        probabilities: Probabilities { positive, neutral, negative },
        model,
        abstained,
    }
}
