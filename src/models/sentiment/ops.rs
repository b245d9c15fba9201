//! The kernels as operations on candle's tape, each with its gradient, for training.

use std::sync::Arc;

use parking_lot::Mutex;

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Storage, Tensor, Var, bail};

use crate::models::kernels::attention::{Scratch, attention, attention_backward};
use crate::models::kernels::gelu::{gelu_backward, gelu_forward};
use crate::models::kernels::linear::{View, fill_rows, multiply};
use crate::models::kernels::norm::{Affine, NormGradients, norm, norm_backward};
use crate::models::kernels::pool::{mean_max, mean_max_backward};

/// The values of a contiguous tensor on the CPU.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("the operation needs a contiguous tensor"),
    }
}

/// Gives `work` the values of a tensor without copying them.
///
/// # Errors
/// If the tensor isn't on the CPU or not of `f32`.
pub fn with_values<T>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(work(slice(storage, layout)?)),
        _ => bail!("training runs on the CPU"),
    }
}

fn tensor(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), like.device())
}

/// Where the gradient of a parameter is gathered over the parts of a batch. Candle's own store would allocate, clear and
/// add a matrix of the parameter's size for each part; here the product adds to it directly.
pub type Gradient = Arc<Mutex<Vec<f32>>>;

/// A parameter on the tape with its gradient.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The value.
    pub var: Var,
    /// Its gradient so far.
    pub gradient: Gradient,
}

impl Parameter {
    /// A parameter without a gradient yet.
    pub fn new(var: Var) -> Self {
        let gradient = Arc::new(Mutex::new(vec![0.0; var.elem_count()]));
        Self { var, gradient }
    }
}

fn rows_and_columns(layout: &Layout) -> Result<(usize, usize)> {
    layout.shape().dims2()
}

/// `x · weightᵀ + bias`.
struct Dense {
    weight: Gradient,
    bias: Gradient,
}

impl CustomOp3 for Dense {
    fn name(&self) -> &'static str {
        "dense"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, inputs) = rows_and_columns(x_layout)?;
        let (outputs, _) = rows_and_columns(weight_layout)?;
        let mut out = vec![0.0f32; rows * outputs];
        fill_rows(&mut out, slice(bias, bias_layout)?);
        let x = View::new(slice(x, x_layout)?, inputs);
        multiply(&mut out, x, View::new(slice(weight, weight_layout)?, inputs).t(), true, 1);
        Ok((CpuStorage::F32(out), Shape::from((rows, outputs))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (outputs, inputs) = weight.dims2()?;
        let rows = x.dim(0)?;
        let mut x_grad = None;
        with_values(grad, |grad| {
            if x.track_op() {
                let mut out = vec![0.0f32; rows * inputs];
                with_values(weight, |w| {
                    multiply(&mut out, View::new(grad, outputs), View::new(w, inputs), false, 1);
                })?;
                x_grad = Some(tensor(out, x)?);
            }
            with_values(x, |x| {
                let grad = View::new(grad, outputs).t();
                multiply(&mut self.weight.lock(), grad, View::new(x, inputs), true, 1);
            })?;
            let mut bias_grad = self.bias.lock();
            for row in grad.chunks_exact(outputs) {
                bias_grad.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
            }
            Ok::<(), candle_core::Error>(())
        })??;
        Ok((x_grad, None, None))
    }
}

/// Layer normalisation of every row.
struct Norm {
    gamma: Gradient,
    beta: Gradient,
}

impl CustomOp3 for Norm {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gamma: &CpuStorage,
        gamma_layout: &Layout,
        beta: &CpuStorage,
        beta_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut out = slice(x, x_layout)?.to_vec();
        norm(&mut out, Affine { gamma: slice(gamma, gamma_layout)?, beta: slice(beta, beta_layout)? });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        _beta: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut rows = with_values(grad, <[f32]>::to_vec)?;
        let (mut gamma_grad, mut beta_grad) = (self.gamma.lock(), self.beta.lock());
        with_values(x, |x| {
            with_values(gamma, |gamma| {
                let mut grads = NormGradients { rows: &mut rows, gamma: &mut gamma_grad, beta: &mut beta_grad };
                norm_backward(x, gamma, &mut grads);
            })
        })??;
        Ok((Some(tensor(rows, x)?), None, None))
    }
}

/// GELU of every value.
struct Gelu;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu-erf"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let mut out = vec![0.0f32; x.len()];
        gelu_forward(x, &mut out);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let mut out = with_values(grad, <[f32]>::to_vec)?;
        with_values(x, |x| gelu_backward(x, &mut out))?;
        Ok(Some(tensor(out, x)?))
    }
}

/// Where the texts of a packed batch end.
pub type Lengths = Arc<Vec<usize>>;

/// Each text's rows of matrices with `width` and `other` columns.
fn ranges(lengths: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    lengths.iter().scan(0, |first, length| {
        let from = *first;
        *first += length;
        Some((from, *first))
    })
}

/// Attention within each text.
struct Attention {
    lengths: Lengths,
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, columns) = rows_and_columns(layout)?;
        let width = columns / 3;
        let qkv = slice(qkv, layout)?;
        let mut out = vec![0.0f32; rows * width];
        let mut scratch = Scratch::default();
        for (from, to) in ranges(&self.lengths) {
            attention(&qkv[from * columns..to * columns], &mut out[from * width..to * width], width, &mut scratch);
        }
        Ok((CpuStorage::F32(out), Shape::from((rows, width))))
    }

    fn bwd(&self, qkv: &Tensor, _result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (rows, columns) = qkv.dims2()?;
        let width = columns / 3;
        let mut out = vec![0.0f32; rows * columns];
        with_values(qkv, |qkv| {
            with_values(grad, |grad| {
                for (from, to) in ranges(&self.lengths) {
                    let (inputs, outputs) = (from * columns..to * columns, from * width..to * width);
                    attention_backward(&qkv[inputs.clone()], &grad[outputs], &mut out[inputs], width);
                }
            })
        })??;
        Ok(Some(tensor(out, qkv)?))
    }
}

/// Mean and maximum over each text's tokens.
struct Pool {
    lengths: Lengths,
}

impl CustomOp1 for Pool {
    fn name(&self) -> &'static str {
        "mean-max-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = rows_and_columns(layout)?;
        let x = slice(x, layout)?;
        let out: Vec<f32> =
            ranges(&self.lengths).flat_map(|(from, to)| mean_max(&x[from * width..to * width], width)).collect();
        Ok((CpuStorage::F32(out), Shape::from((self.lengths.len(), 2 * width))))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let width = x.dim(1)?;
        let out = with_values(x, |x| {
            with_values(grad, |grad| {
                ranges(&self.lengths)
                    .zip(grad.chunks_exact(2 * width))
                    .flat_map(|((from, to), grad)| mean_max_backward(&x[from * width..to * width], grad, width))
                    .collect::<Vec<f32>>()
            })
        })??;
        Ok(Some(tensor(out, x)?))
    }
}

/// Sets about a tenth of the values to zero and scales the others up, the same ones forward and backward.
struct Dropout {
    seed: u64,
}

impl Dropout {
    /// Of 256 values, how many are dropped: a rate of 0.1.
    const DROPPED: u8 = 26;

    fn apply(&self, values: &[f32]) -> Vec<f32> {
        let scale = 256.0 / (256.0 - f32::from(Self::DROPPED));
        let mut rng = fastrand::Rng::with_seed(self.seed);
        let mut out = Vec::with_capacity(values.len());
        for block in values.chunks(8) {
            let dice = rng.u64(..).to_le_bytes();
            out.extend(block.iter().zip(dice).map(|(x, die)| if die < Self::DROPPED { 0.0 } else { x * scale }));
        }
        out
    }
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(self.apply(slice(x, layout)?)), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(tensor(with_values(grad, |grad| self.apply(grad))?, x)?))
    }
}

/// `x · weightᵀ + bias` on the tape.
///
/// # Errors
/// If the shapes don't fit.
pub fn dense(x: &Tensor, weight: &Parameter, bias: &Parameter) -> Result<Tensor> {
    let gradients = Dense { weight: Arc::clone(&weight.gradient), bias: Arc::clone(&bias.gradient) };
    x.apply_op3(&weight.var, &bias.var, gradients)
}

/// Layer normalisation on the tape.
///
/// # Errors
/// If the shapes don't fit.
pub fn normalise(x: &Tensor, gamma: &Parameter, beta: &Parameter) -> Result<Tensor> {
    let gradients = Norm { gamma: Arc::clone(&gamma.gradient), beta: Arc::clone(&beta.gradient) };
    x.apply_op3(&gamma.var, &beta.var, gradients)
}

/// GELU on the tape.
///
/// # Errors
/// If the tensor isn't contiguous.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    x.apply_op1(Gelu)
}

/// Attention within each text on the tape.
///
/// # Errors
/// If the shapes don't fit.
pub fn attend(qkv: &Tensor, lengths: &Lengths) -> Result<Tensor> {
    qkv.apply_op1(Attention { lengths: Arc::clone(lengths) })
}

/// Mean and maximum of each text on the tape.
///
/// # Errors
/// If the shapes don't fit.
pub fn pool(x: &Tensor, lengths: &Lengths) -> Result<Tensor> {
    x.apply_op1(Pool { lengths: Arc::clone(lengths) })
}

/// Dropout on the tape, decided by `seed`.
///
/// # Errors
/// If the tensor isn't contiguous.
pub fn dropout(x: &Tensor, seed: u64) -> Result<Tensor> {
    x.apply_op1(Dropout { seed })
}
