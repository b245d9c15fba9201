//! The model's weights, laid out for the kernels.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::models::ModelError;

/// Values per token.
pub const WIDTH: usize = 384;
/// Values per token between the two halves of a feed-forward block.
pub const INNER: usize = 1536;
/// Transformer layers.
pub const LAYERS: usize = 6;

/// A dense layer: `weight` has one row per output.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    /// `outputs × inputs`, row-major.
    pub weight: Vec<f32>,
    /// One per output.
    pub bias: Vec<f32>,
}

/// Scale and shift of a layer normalisation.
#[derive(Debug, Clone, PartialEq)]
pub struct Norm {
    /// Factors.
    pub gamma: Vec<f32>,
    /// Summands.
    pub beta: Vec<f32>,
}

/// One transformer layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Query, key and value in one: `3·WIDTH` outputs.
    pub qkv: Dense,
    /// After attention.
    pub out: Dense,
    /// After attention's residual.
    pub attention_norm: Norm,
    /// Feed-forward, `INNER` outputs.
    pub up: Dense,
    /// Feed-forward, back to `WIDTH`.
    pub down: Dense,
    /// After the feed-forward residual.
    pub output_norm: Norm,
}

impl Layer {
    /// All parameters in a fixed order: the order of the sentiment model's file.
    pub fn parts(&self) -> [&Vec<f32>; 12] {
        [
            &self.qkv.weight,
            &self.qkv.bias,
            &self.out.weight,
            &self.out.bias,
            &self.attention_norm.gamma,
            &self.attention_norm.beta,
            &self.up.weight,
            &self.up.bias,
            &self.down.weight,
            &self.down.bias,
            &self.output_norm.gamma,
            &self.output_norm.beta,
        ]
    }

    /// As [`Layer::parts`], to change them.
    pub fn parts_mut(&mut self) -> [&mut Vec<f32>; 12] {
        [
            &mut self.qkv.weight,
            &mut self.qkv.bias,
            &mut self.out.weight,
            &mut self.out.bias,
            &mut self.attention_norm.gamma,
            &mut self.attention_norm.beta,
            &mut self.up.weight,
            &mut self.up.bias,
            &mut self.down.weight,
            &mut self.down.bias,
            &mut self.output_norm.gamma,
            &mut self.output_norm.beta,
        ]
    }
}

/// Everything between token ids and the last hidden states.
#[derive(Debug)]
pub struct Weights {
    /// One row per id.
    pub words: Vec<f32>,
    /// Position and (constant) segment embedding, one row per position.
    pub positions: Vec<f32>,
    /// After the embeddings.
    pub embedding_norm: Norm,
    /// The layers, first to last.
    pub layers: Vec<Layer>,
}

/// Takes named tensors out of a file, checking their shapes.
struct Reader<'a> {
    path: &'a Path,
    tensors: HashMap<String, Tensor>,
}

impl Reader<'_> {
    fn damaged(&self, reason: String) -> ModelError {
        ModelError::Damaged { path: self.path.display().to_string(), reason }
    }

    fn take(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let tensor = self.tensors.get(name).ok_or_else(|| self.damaged(format!("tensor {name} is missing")))?;
        if tensor.dims() != shape {
            return Err(self.damaged(format!("tensor {name} is {:?} instead of {shape:?}", tensor.dims())));
        }
        let values = tensor.to_dtype(DType::F32).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1());
        values.map_err(|error| self.damaged(format!("tensor {name}: {error}")))
    }

    fn dense(&self, name: &str, outputs: usize, inputs: usize) -> Result<Dense, ModelError> {
        Ok(Dense {
            weight: self.take(&format!("{name}.weight"), &[outputs, inputs])?,
            bias: self.take(&format!("{name}.bias"), &[outputs])?,
        })
    }

    fn norm(&self, name: &str) -> Result<Norm, ModelError> {
        Ok(Norm {
            gamma: self.take(&format!("{name}.weight"), &[WIDTH])?,
            beta: self.take(&format!("{name}.bias"), &[WIDTH])?,
        })
    }

    fn layer(&self, index: usize) -> Result<Layer, ModelError> {
        let at = |part: &str| format!("encoder.layer.{index}.{part}");
        let mut qkv = self.dense(&at("attention.self.query"), WIDTH, WIDTH)?;
        for part in ["key", "value"] {
            let next = self.dense(&at(&format!("attention.self.{part}")), WIDTH, WIDTH)?;
            qkv.weight.extend(next.weight);
            qkv.bias.extend(next.bias);
        }
        Ok(Layer {
            qkv,
            out: self.dense(&at("attention.output.dense"), WIDTH, WIDTH)?,
            attention_norm: self.norm(&at("attention.output.LayerNorm"))?,
            up: self.dense(&at("intermediate.dense"), INNER, WIDTH)?,
            down: self.dense(&at("output.dense"), WIDTH, INNER)?,
            output_norm: self.norm(&at("output.LayerNorm"))?,
        })
    }
}

impl Weights {
    /// Reads the weights of all-MiniLM-L6-v2.
    ///
    /// # Errors
    /// [`ModelError::Damaged`] naming the tensor that isn't as it should be.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let tensors = candle_core::safetensors::load(path, &Device::Cpu)
            .map_err(|error| ModelError::Damaged { path: path.display().to_string(), reason: error.to_string() })?;
        let reader = Reader { path, tensors };
        let mut positions = reader.take("embeddings.position_embeddings.weight", &[512, WIDTH])?;
        let segments = reader.take("embeddings.token_type_embeddings.weight", &[2, WIDTH])?;
        for row in positions.chunks_exact_mut(WIDTH) {
            row.iter_mut().zip(&segments).for_each(|(x, s)| *x += s);
        }
        Ok(Self {
            words: reader.take("embeddings.word_embeddings.weight", &[30_522, WIDTH])?,
            positions,
            embedding_norm: reader.norm("embeddings.LayerNorm")?,
            layers: (0..LAYERS).map(|index| reader.layer(index)).collect::<Result<_, _>>()?,
        })
    }
}
