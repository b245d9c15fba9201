//! The forward pass over a packed batch: all tokens of all texts in one matrix, no padding.

use super::weights::{Dense, INNER, Layer, Norm, WIDTH, Weights};
use crate::models::kernels::attention::{Scratch, attention};
use crate::models::kernels::gelu::bias_gelu;
use crate::models::kernels::linear::{View, fill_rows, multiply};
use crate::models::kernels::norm::{Affine, norm, residual_norm};

/// Hidden states of a batch with the memory the layers need.
#[derive(Debug)]
pub struct Batch {
    /// Tokens of each text, in order.
    lengths: Vec<usize>,
    /// `tokens × WIDTH`.
    states: Vec<f32>,
    /// `tokens × 3·WIDTH`.
    qkv: Vec<f32>,
    /// `tokens × WIDTH`: attention's result, and then each block's update.
    context: Vec<f32>,
    /// `tokens × WIDTH`.
    update: Vec<f32>,
    /// `tokens × INNER`.
    inner: Vec<f32>,
    scratch: Scratch,
    /// Threads one product may use.
    threads: usize,
}

impl Norm {
    /// As the kernels take it.
    pub fn affine(&self) -> Affine<'_> {
        Affine { gamma: &self.gamma, beta: &self.beta }
    }
}

impl Dense {
    /// `out = input · weightᵀ`, without the bias.
    fn product(&self, out: &mut [f32], input: &[f32], add: bool, threads: usize) {
        let inputs = self.weight.len() / self.bias.len();
        multiply(out, View::new(input, inputs), View::new(&self.weight, inputs).t(), add, threads);
    }
}

impl Batch {
    /// A batch that starts from given hidden states, `lengths[i]` rows for text `i`.
    pub fn from_states(lengths: Vec<usize>, states: Vec<f32>, threads: usize) -> Self {
        let tokens = states.len() / WIDTH;
        Self {
            lengths,
            states,
            qkv: vec![0.0; tokens * 3 * WIDTH],
            context: vec![0.0; tokens * WIDTH],
            update: vec![0.0; tokens * WIDTH],
            inner: vec![0.0; tokens * INNER],
            scratch: Scratch::default(),
            threads,
        }
    }

    /// A batch that starts from token ids.
    pub fn from_ids(ids: &[Vec<u32>], weights: &Weights, threads: usize) -> Self {
        let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
        let mut states = Vec::with_capacity(lengths.iter().sum::<usize>() * WIDTH);
        for text in ids {
            for (id, position) in text.iter().zip(weights.positions.chunks_exact(WIDTH)) {
                let word = &weights.words[*id as usize * WIDTH..][..WIDTH];
                states.extend(word.iter().zip(position).map(|(w, p)| w + p));
            }
        }
        norm(&mut states, weights.embedding_norm.affine());
        Self::from_states(lengths, states, threads)
    }

    /// Runs one transformer layer.
    pub fn layer(&mut self, layer: &Layer) {
        fill_rows(&mut self.qkv, &layer.qkv.bias);
        layer.qkv.product(&mut self.qkv, &self.states, true, self.threads);
        self.attend();
        layer.out.product(&mut self.update, &self.context, false, self.threads);
        residual_norm(&mut self.states, &self.update, &layer.out.bias, layer.attention_norm.affine());
        layer.up.product(&mut self.inner, &self.states, false, self.threads);
        bias_gelu(&mut self.inner, &layer.up.bias);
        layer.down.product(&mut self.update, &self.inner, false, self.threads);
        residual_norm(&mut self.states, &self.update, &layer.down.bias, layer.output_norm.affine());
    }

    fn attend(&mut self) {
        let mut first = 0;
        for length in &self.lengths {
            let next = first + length;
            attention(
                &self.qkv[first * 3 * WIDTH..next * 3 * WIDTH],
                &mut self.context[first * WIDTH..next * WIDTH],
                WIDTH,
                &mut self.scratch,
            );
            first = next;
        }
    }

    /// The hidden states of each text, in order.
    pub fn texts(&self) -> impl Iterator<Item = &[f32]> {
        let mut rest = self.states.as_slice();
        self.lengths.iter().map(move |length| {
            let (text, others) = rest.split_at(length * WIDTH);
            rest = others;
            text
        })
    }
}
