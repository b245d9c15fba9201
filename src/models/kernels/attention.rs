//! Attention of each text over its own tokens, forward and backward.
//!
//! Queries, keys and values come as one matrix of `3 × width` columns, heads side by side within each third.

use super::accelerated;
use super::math::{dot, exp, madd};

/// Columns of one head.
pub const HEAD: usize = 32;
/// Keys looked at together: two vector registers of eight.
const BLOCK: usize = 16;

/// Scratch memory of one thread, kept between texts.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Keys of one head, transposed: `HEAD` rows of a whole number of blocks.
    keys: Vec<f32>,
    /// Attention weights of some queries.
    weights: Vec<f32>,
}

/// Softmax of `row` in place.
#[inline(always)]
fn softmax<const FMA: bool>(row: &mut [f32]) {
    let mut lanes = [f32::NEG_INFINITY; 8];
    let (blocks, rest) = row.as_chunks::<8>();
    for block in blocks {
        for (lane, x) in lanes.iter_mut().zip(block) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    let top = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    let mut total = 0.0;
    for x in row.iter_mut() {
        *x = exp::<FMA>(*x - top);
    }
    total += super::math::sum::<FMA>(row, |x| x);
    let scale = 1.0 / total;
    for x in row.iter_mut() {
        *x *= scale;
    }
}

/// Copies the keys of one head, transposed and scaled by 1/√HEAD, padded with zeros to whole blocks.
#[inline(always)]
fn transpose_keys(qkv: &[f32], width: usize, head: usize, keys: &mut Vec<f32>) -> usize {
    let tokens = qkv.len() / (3 * width);
    let padded = tokens.next_multiple_of(BLOCK);
    keys.clear();
    keys.resize(HEAD * padded, 0.0);
    let scale = 1.0 / (HEAD as f32).sqrt();
    for (token, row) in qkv.chunks_exact(3 * width).enumerate() {
        let start = width + head * HEAD;
        for (column, key) in row[start..start + HEAD].iter().enumerate() {
            keys[column * padded + token] = key * scale;
        }
    }
    padded
}

/// Scores of `N` queries against all keys.
#[inline(always)]
fn scores<const FMA: bool, const N: usize>(
    queries: [&[f32; HEAD]; N],
    keys: &[f32],
    padded: usize,
    weights: &mut [f32],
) {
    for block in 0..padded / BLOCK {
        let mut sums = [[0.0f32; BLOCK]; N];
        for column in 0..HEAD {
            let start = column * padded + block * BLOCK;
            let Some(key) = keys[start..].first_chunk::<BLOCK>() else { return };
            for (lane, query) in sums.iter_mut().zip(&queries) {
                let q = query[column];
                for at in 0..BLOCK {
                    lane[at] = madd::<FMA>(q, key[at], lane[at]);
                }
            }
        }
        for (query, lane) in sums.iter().enumerate() {
            weights[query * padded + block * BLOCK..][..BLOCK].copy_from_slice(lane);
        }
    }
}

/// One head of a text's queries, keys and values.
#[derive(Debug, Clone, Copy)]
struct Head<'a> {
    qkv: &'a [f32],
    width: usize,
    index: usize,
}

#[inline(always)]
fn attend<const FMA: bool, const N: usize>(of: Head<'_>, first: usize, scratch: &mut Scratch, context: &mut [f32]) {
    let Head { qkv, width, index: head } = of;
    let tokens = qkv.len() / (3 * width);
    let padded = scratch.keys.len() / HEAD;
    let row = |token: usize, third: usize| {
        let start = token * 3 * width + third * width + head * HEAD;
        // The caller's slices hold whole rows, so the chunk is always there.
        qkv[start..].first_chunk::<HEAD>().unwrap_or(&[0.0; HEAD])
    };
    let queries: [&[f32; HEAD]; N] = std::array::from_fn(|i| row(first + i, 0));
    scores::<FMA, N>(queries, &scratch.keys, padded, &mut scratch.weights);
    for query in 0..N {
        softmax::<FMA>(&mut scratch.weights[query * padded..][..tokens]);
    }
    let mut out = [[0.0f32; HEAD]; N];
    for token in 0..tokens {
        let value = row(token, 2);
        for (query, lane) in out.iter_mut().enumerate() {
            let weight = scratch.weights[query * padded + token];
            for at in 0..HEAD {
                lane[at] = madd::<FMA>(weight, value[at], lane[at]);
            }
        }
    }
    for (query, lane) in out.iter().enumerate() {
        context[(first + query) * width + head * HEAD..][..HEAD].copy_from_slice(lane);
    }
}

#[inline(always)]
fn attention_body<const FMA: bool>(qkv: &[f32], context: &mut [f32], width: usize, scratch: &mut Scratch) {
    let tokens = qkv.len() / (3 * width);
    for head in 0..width / HEAD {
        let padded = transpose_keys(qkv, width, head, &mut scratch.keys);
        scratch.weights.resize(2 * padded, 0.0);
        let of = Head { qkv, width, index: head };
        for pair in 0..tokens / 2 {
            attend::<FMA, 2>(of, 2 * pair, scratch, context);
        }
        if tokens % 2 == 1 {
            attend::<FMA, 1>(of, tokens - 1, scratch, context);
        }
    }
}

/// One head's rows, together.
type Rows = Vec<[f32; HEAD]>;

/// Copies the columns of one head out of rows of `stride` values.
#[inline(always)]
fn gather(rows: &[f32], stride: usize, first: usize) -> Rows {
    rows.chunks_exact(stride).map(|row| row[first..].first_chunk().copied().unwrap_or([0.0; HEAD])).collect()
}

#[inline(always)]
fn add_scaled<const FMA: bool>(to: &mut [f32; HEAD], factor: f32, from: &[f32; HEAD]) {
    for at in 0..HEAD {
        to[at] = madd::<FMA>(factor, from[at], to[at]);
    }
}

#[inline(always)]
fn attention_backward_body<const FMA: bool>(qkv: &[f32], grad: &[f32], grad_qkv: &mut [f32], width: usize) {
    let stride = 3 * width;
    let tokens = qkv.len() / stride;
    let scale = 1.0 / (HEAD as f32).sqrt();
    let mut weights = vec![0.0f32; tokens];
    let mut slopes = vec![0.0f32; tokens];
    for head in 0..width / HEAD {
        let starts = [head * HEAD, width + head * HEAD, 2 * width + head * HEAD];
        let [queries, keys, values] = starts.map(|start| gather(qkv, stride, start));
        let outputs = gather(grad, width, head * HEAD);
        let mut grads: [Rows; 3] = std::array::from_fn(|_| vec![[0.0; HEAD]; tokens]);
        let [query_grads, key_grads, value_grads] = &mut grads;
        for ((query, output), query_grad) in queries.iter().zip(&outputs).zip(query_grads) {
            for token in 0..tokens {
                weights[token] = dot::<FMA>(query, &keys[token]) * scale;
                slopes[token] = dot::<FMA>(output, &values[token]);
            }
            softmax::<FMA>(&mut weights);
            let mean = dot::<FMA>(&weights, &slopes);
            for token in 0..tokens {
                let slope = weights[token] * (slopes[token] - mean) * scale;
                add_scaled::<FMA>(query_grad, slope, &keys[token]);
                add_scaled::<FMA>(&mut key_grads[token], slope, query);
                add_scaled::<FMA>(&mut value_grads[token], weights[token], output);
            }
        }
        for (rows, start) in grads.iter().zip(starts) {
            for (row, to) in rows.iter().zip(grad_qkv.chunks_exact_mut(stride)) {
                to[start..start + HEAD].iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
            }
        }
    }
}

accelerated!(
    /// Attention within one text: `qkv` is `tokens × 3·width`, `context` is `tokens × width`.
    pub fn attention(qkv: &[f32], context: &mut [f32], width: usize, scratch: &mut Scratch) = attention_body
);
accelerated!(
    /// Adds to `grad_qkv` the gradient that `grad`, the gradient of [`attention`]'s result, gives its input.
    pub fn attention_backward(qkv: &[f32], grad: &[f32], grad_qkv: &mut [f32], width: usize) = attention_backward_body
);

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = fastrand::Rng::with_seed(seed);
        (0..n).map(|_| rng.f32() * 2.0 - 1.0).collect()
    }

    /// Attention as the formula has it, in f64.
    fn plain(qkv: &[f32], width: usize) -> Vec<f64> {
        let tokens = qkv.len() / (3 * width);
        let at = |t: usize, c: usize| f64::from(qkv[t * 3 * width + c]);
        let mut out = vec![0.0; tokens * width];
        for head in 0..width / HEAD {
            for i in 0..tokens {
                let score = |j: usize| {
                    let sum: f64 = (0..HEAD).map(|c| at(i, head * HEAD + c) * at(j, width + head * HEAD + c)).sum();
                    (sum / (HEAD as f64).sqrt()).exp()
                };
                let total: f64 = (0..tokens).map(score).sum();
                for c in 0..HEAD {
                    let value: f64 = (0..tokens).map(|j| score(j) * at(j, 2 * width + head * HEAD + c)).sum();
                    out[i * width + head * HEAD + c] = value / total;
                }
            }
        }
        out
    }

    #[test]
    fn agrees_with_the_formula_at_every_length() {
        let width = 2 * HEAD;
        let mut scratch = Scratch::default();
        for tokens in [1, 2, 3, 15, 16, 17, 40] {
            let qkv = sample(tokens * 3 * width, tokens as u64);
            let mut context = vec![0.0; tokens * width];
            attention(&qkv, &mut context, width, &mut scratch);
            for (got, want) in context.iter().zip(plain(&qkv, width)) {
                assert!((f64::from(*got) - want).abs() < 1e-5, "{tokens} tokens: {got} {want}");
            }
        }
    }

    #[test]
    fn gradient_agrees_with_differences() {
        let (width, tokens) = (HEAD, 5);
        let qkv = sample(tokens * 3 * width, 7);
        let weight = sample(tokens * width, 8);
        let loss = |qkv: &[f32]| plain(qkv, width).iter().zip(&weight).map(|(a, b)| a * f64::from(*b)).sum::<f64>();
        let mut grad = vec![0.0; qkv.len()];
        attention_backward(&qkv, &weight, &mut grad, width);
        for at in 0..qkv.len() {
            let (mut up, mut down) = (qkv.clone(), qkv.clone());
            up[at] += 1e-3;
            down[at] -= 1e-3;
            let want = (loss(&up) - loss(&down)) / f64::from(up[at] - down[at]);
            assert!((f64::from(grad[at]) - want).abs() < 1e-4, "{at}: {} {want}", grad[at]);
        }
    }
}
