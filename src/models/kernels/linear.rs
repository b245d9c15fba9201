//! Dense layers: products of row-major matrices by the `gemm` crate, the one candle computes with.

use gemm::Parallelism;

/// How many threads one product may use: those of the calling rayon pool, or only the calling one.
pub fn parallelism(threads: usize) -> Parallelism {
    if threads > 1 { Parallelism::Rayon(threads) } else { Parallelism::None }
}

/// A matrix seen through strides, in values.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a> View<'a> {
    /// `data` as rows of `columns` values.
    ///
    /// # Panics
    /// If `data` isn't whole rows.
    pub fn new(data: &'a [f32], columns: usize) -> Self {
        assert!(columns > 0 && data.len().is_multiple_of(columns), "a matrix must have whole rows");
        Self { data, rows: data.len() / columns, columns, transposed: false }
    }

    /// The same values with rows and columns exchanged.
    #[must_use]
    pub fn t(self) -> Self {
        Self { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }

    /// Row and column stride.
    fn strides(&self) -> (isize, isize) {
        if self.transposed { (1, self.rows.cast_signed()) } else { (self.columns.cast_signed(), 1) }
    }
}

/// `out = left · right`, or `out += left · right` when `add`; `out` is row-major.
///
/// # Panics
/// If the shapes don't fit.
pub fn multiply(out: &mut [f32], left: View<'_>, right: View<'_>, add: bool, threads: usize) {
    assert_eq!(left.columns, right.rows, "inner sizes of a product must agree");
    assert_eq!(out.len(), left.rows * right.columns, "a product must fit its result");
    let (left_row, left_column) = left.strides();
    let (right_row, right_column) = right.strides();
    // SAFETY: every view covers rows × columns values of its slice under its strides, as asserted above and in
    // `View::new`; `out` is borrowed mutably and so overlaps neither.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            out.as_mut_ptr(),
            1,
            right.columns.cast_signed(),
            add,
            left.data.as_ptr(),
            left_column,
            left_row,
            right.data.as_ptr(),
            right_column,
            right_row,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism(threads),
        );
    }
}

/// Copies `bias` into every row of `out`.
pub fn fill_rows(out: &mut [f32], bias: &[f32]) {
    for row in out.chunks_exact_mut(bias.len()) {
        row.copy_from_slice(bias);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "small integers are exact")]

    use super::*;

    #[test]
    fn products_of_plain_and_transposed_matrices() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // 2 × 3
        let b = [1.0, 0.0, 2.0, 0.0, 1.0, 3.0]; // 2 × 3
        let mut out = [0.0; 4];
        multiply(&mut out, View::new(&a, 3), View::new(&b, 3).t(), false, 1);
        assert_eq!(out, [7.0, 11.0, 16.0, 23.0]);
        multiply(&mut out, View::new(&a, 3), View::new(&b, 3).t(), true, 1);
        assert_eq!(out, [14.0, 22.0, 32.0, 46.0]);
        let mut out = [0.0; 9];
        multiply(&mut out, View::new(&a, 3).t(), View::new(&b, 3), false, 1);
        assert_eq!(out, [1.0, 4.0, 14.0, 2.0, 5.0, 19.0, 3.0, 6.0, 24.0]);
    }
}
