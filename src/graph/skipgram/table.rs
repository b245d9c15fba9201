//! A table of vectors that threads change at the same time.

use std::sync::atomic::{AtomicU32, Ordering};

/// Numbers of a line.
pub(super) const LANES: usize = 16;

/// Sixteen numbers as bits, one line of the cache. They are atomic because threads read and write rows without locks;
/// a torn row costs a little accuracy and nothing else.
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [AtomicU32; LANES]);

impl Line {
    fn zero() -> Self {
        Self(std::array::from_fn(|_| AtomicU32::new(0)))
    }

    /// Asks for the line before it is read and written, and for the right to write it: other processors lose theirs now
    /// and not when it is written.
    fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch changes nothing that a program can see; a processor without this one ignores it.
        unsafe {
            std::arch::asm!("prefetchw [{line}]", line = in(reg) self, options(nostack, preserves_flags, readonly));
        }
    }

    /// Its numbers.
    pub(super) fn get(&self) -> [f32; LANES] {
        std::array::from_fn(|lane| f32::from_bits(self.0[lane].load(Ordering::Relaxed)))
    }

    /// Replaces its numbers.
    pub(super) fn set(&self, values: [f32; LANES]) {
        for (lane, value) in self.0.iter().zip(values) {
            lane.store(value.to_bits(), Ordering::Relaxed);
        }
    }
}

/// Rows of whole lines; what a dimension leaves of the last line is 0 and stays 0.
pub(super) struct Table {
    lines: Vec<Line>,
    /// Lines of a row.
    pub(super) width: usize,
    dimension: usize,
}

impl Table {
    /// Rows of zeros.
    pub(super) fn zero(rows: usize, dimension: usize) -> Self {
        let width = dimension.div_ceil(LANES);
        let mut lines = Vec::with_capacity(rows * width);
        on_large_pages(lines.spare_capacity_mut());
        lines.resize_with(rows * width, Line::zero);
        Self { lines, width, dimension }
    }

    /// Rows with the given numbers.
    pub(super) fn filled(rows: usize, dimension: usize, values: impl Iterator<Item = Vec<f32>>) -> Self {
        let table = Self::zero(rows, dimension);
        for (row, values) in table.lines.chunks_exact(table.width).zip(values) {
            for (line, part) in row.iter().zip(values.chunks(LANES)) {
                let mut numbers = [0.0; LANES];
                numbers[..part.len()].copy_from_slice(part);
                line.set(numbers);
            }
        }
        table
    }

    /// The lines of a row.
    pub(super) fn row(&self, row: u32) -> &[Line] {
        let start = row as usize * self.width;
        &self.lines[start..start + self.width]
    }

    /// Asks for a row's memory.
    pub(super) fn prefetch(&self, row: u32) {
        for line in self.row(row) {
            line.prefetch();
        }
    }

    /// All numbers, row after row.
    pub(super) fn values(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.lines.len() / self.width * self.dimension);
        for row in self.lines.chunks_exact(self.width) {
            let mut left = self.dimension;
            for line in row {
                let take = left.min(LANES);
                values.extend_from_slice(&line.get()[..take]);
                left -= take;
            }
        }
        values
    }
}

/// Asks the system to hold memory that was not touched yet on large pages: rows are read in no order, and for each of them
/// the processor would look up where in memory its page is. A wish; nothing depends on it.
fn on_large_pages<T>(memory: &mut [std::mem::MaybeUninit<T>]) {
    #[cfg(target_os = "linux")]
    {
        use std::ffi::{c_int, c_void};
        unsafe extern "C" {
            fn madvise(start: *mut c_void, length: usize, advice: c_int) -> c_int;
        }
        /// `MADV_HUGEPAGE` of madvise(2).
        const HUGE: c_int = 14;
        /// Bytes of a large page; what is smaller is left alone.
        const LARGE: usize = 2 << 20;
        let bytes = std::mem::size_of_val(memory);
        let start = memory.as_mut_ptr().cast::<u8>();
        let skip = start.align_offset(LARGE);
        if let Some(length) = bytes.checked_sub(skip).map(|rest| rest / LARGE * LARGE).filter(|&length| length > 0) {
            // SAFETY: the range lies in memory that is ours, and the advice changes none of it.
            unsafe { madvise(start.add(skip).cast(), length, HUGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}
