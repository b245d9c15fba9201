//! The model engines: encoder and sentiment. Pure and synchronous; they know nothing of actors, Kafka or HTTP.

use std::sync::Arc;

use crate::config::encoder::{EncoderConfig, EncoderKind};
use crate::config::sentiment::SentimentConfig;
use crate::messages::analysis::{EmbeddingInfo, Sentiment};

pub mod absent;
pub mod compute;
pub mod hashing;
pub mod kernels;
pub mod minilm;
pub mod sentiment;

use self::absent::{AbsentEncoder, AbsentSentiment};
use self::compute::Compute;
use self::hashing::HashingEncoder;
use self::minilm::MiniLm;
use self::sentiment::LocalSentiment;

/// The models of a daemon: they share threads, and the sentiment model goes on where the encoder's lower layers end.
#[derive(Clone)]
pub struct Models {
    /// Turns texts into vectors.
    pub encoder: Arc<dyn Encoder>,
    /// Judges them.
    pub sentiment: Arc<dyn SentimentModel>,
}

impl Models {
    /// What stands in the place of models where nothing is computed.
    #[must_use]
    pub fn absent(kind: EncoderKind) -> Self {
        Self { encoder: Arc::new(AbsentEncoder::new(kind)), sentiment: Arc::new(AbsentSentiment::default()) }
    }

    /// Loads what the configuration names. With the hashing encoder sentiment is judged by words alone.
    ///
    /// # Errors
    /// [`ModelError::Missing`] or [`ModelError::Damaged`], naming the file and what to do.
    pub fn open(encoder: &EncoderConfig, sentiment: &SentimentConfig) -> Result<Self, ModelError> {
        if encoder.kind == EncoderKind::None {
            return Ok(Self::absent(encoder.kind));
        }
        let compute = Compute::new(encoder.threads)?;
        let (bytes, origin) = sentiment::weights(sentiment.weights.as_deref())?;
        match encoder.kind {
            EncoderKind::Minilm => {
                let shared = sentiment::shared_layers(&bytes, &origin)?;
                let encoder = MiniLm::open(&encoder.model_dir, compute.clone())?.with_trunk(shared);
                let judge = LocalSentiment::new(&bytes, &origin, Some(encoder.weights()), compute)?;
                Ok(Self { encoder: Arc::new(encoder), sentiment: Arc::new(judge) })
            }
            EncoderKind::None | EncoderKind::Hashing => {
                let judge = LocalSentiment::new(&bytes, &origin, None, compute)?;
                Ok(Self { encoder: Arc::new(HashingEncoder::default()), sentiment: Arc::new(judge) })
            }
        }
    }
}

/// What an encoder makes of one text.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// L2-normalised embedding, `dimension` values.
    pub vector: Arc<[f32]>,
    /// Tokens the text took, special tokens included.
    pub tokens: u32,
    /// Hidden states shared with the sentiment model, if the encoder has such a trunk.
    pub trunk: Option<Arc<Trunk>>,
}

/// Hidden states of one text after the layers that embedding and sentiment share.
#[derive(Debug, Clone, PartialEq)]
pub struct Trunk {
    /// Row-major `tokens × width`.
    pub states: Vec<f32>,
    /// Values per token.
    pub width: usize,
}

/// Why a model can't answer.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file of the model is not there.
    #[error("model file {path} is missing; run: make model")]
    Missing {
        /// The file.
        path: String,
    },
    /// A file of the model is not what it should be.
    #[error("model file {path} is damaged: {reason}; delete it and run: make model")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The sentiment weights can't be used.
    #[error("sentiment weights {path} can't be used: {reason}; make them with: tidemill train sentiment FILE.csv")]
    Weights {
        /// The file, or that they are those in the program.
        path: String,
        /// What is wrong with them.
        reason: String,
    },
    /// This node is no worker.
    #[error("this node has no models: node.roles does not include \"worker\"")]
    Elsewhere,
    /// There is no encoder anywhere.
    #[error("there are no vectors and no scores: encoder.kind is \"none\"")]
    NoEncoder,
    /// The text could not be encoded.
    #[error("encoding failed: {0}")]
    Encoding(String),
}

/// Turns texts into vectors. The same text gives the same vector within 1e-6 whatever else is in the batch.
pub trait Encoder: Send + Sync {
    /// Name, version and dimension.
    fn info(&self) -> &EmbeddingInfo;
    /// Whether documents get vectors at all; if not, nothing is encoded or scored.
    fn makes_vectors(&self) -> bool {
        self.info().dimension > 0
    }
    /// Tokens the text would take, special tokens included, after truncation.
    fn count_tokens(&self, text: &str) -> usize;
    /// One result per text, in order.
    ///
    /// # Errors
    /// [`ModelError::Encoding`] if any text can't be encoded.
    fn encode(&self, texts: &[&str]) -> Result<Vec<Encoded>, ModelError>;
}

/// One text to judge.
#[derive(Debug, Clone, Copy)]
pub struct SentimentInput<'a> {
    /// The text that was encoded.
    pub text: &'a str,
    /// What the encoder made of it.
    pub encoded: &'a Encoded,
}

/// Judges texts that were encoded before.
pub trait SentimentModel: Send + Sync {
    /// Name and version.
    fn name(&self) -> &Arc<str>;
    /// One sentiment per input, in order; labels under `min_confidence` abstain to neutral.
    ///
    /// # Errors
    /// [`ModelError::Encoding`] if an input can't be judged.
    fn judge(&self, inputs: &[SentimentInput<'_>], min_confidence: f32) -> Result<Vec<Sentiment>, ModelError>;
}
