//! Pooling of the tokens of each text.

/// Mean of the rows of `states`.
pub fn mean(states: &[f32], width: usize) -> Vec<f32> {
    let mut total = vec![0.0f32; width];
    for row in states.chunks_exact(width) {
        for (sum, x) in total.iter_mut().zip(row) {
            *sum += x;
        }
    }
    let scale = width as f32 / states.len() as f32;
    for x in &mut total {
        *x *= scale;
    }
    total
}

/// Mean and maximum of the rows of `states`, one after the other: `2 · width` values.
pub fn mean_max(states: &[f32], width: usize) -> Vec<f32> {
    let mut pooled = mean(states, width);
    pooled.resize(2 * width, f32::NEG_INFINITY);
    for row in states.chunks_exact(width) {
        for (top, x) in pooled[width..].iter_mut().zip(row) {
            *top = top.max(*x);
        }
    }
    pooled
}

/// The gradient of [`mean_max`] for the rows: the first row that holds a maximum takes its share.
pub fn mean_max_backward(states: &[f32], grad: &[f32], width: usize) -> Vec<f32> {
    let mut out = vec![0.0f32; states.len()];
    let scale = width as f32 / states.len() as f32;
    for row in out.chunks_exact_mut(width) {
        for (x, g) in row.iter_mut().zip(grad) {
            *x = g * scale;
        }
    }
    for column in 0..width {
        let mut best = 0;
        for row in 1..states.len() / width {
            if states[row * width + column] > states[best * width + column] {
                best = row;
            }
        }
        out[best * width + column] += grad[width + column];
    }
    out
}

/// Scales `vector` to length 1; leaves a zero vector alone.
pub fn l2_normalise(vector: &mut [f32]) {
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if norm > 0.0 {
        for x in vector {
            *x /= norm;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_and_spreads_the_gradient_back() {
        let states = [1.0, 8.0, 3.0, 2.0];
        assert_eq!(mean_max(&states, 2), [2.0, 5.0, 3.0, 8.0]);
        assert_eq!(mean_max_backward(&states, &[1.0, 2.0, 10.0, 20.0], 2), [0.5, 21.0, 10.5, 1.0]);
    }
}
