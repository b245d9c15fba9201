//! Cuts a stream of lines into batches, never holding more than one.

use std::io::{BufRead, Read as _};

use anyhow::{Context as _, bail};

/// Bytes of a batch after which no further line is added.
const BATCH_BYTES: usize = 1 << 20;
/// Longest line read. The daemon's own limit is lower and tells better what is wrong.
const LINE_BYTES: u64 = 64 << 20;

/// Lines that go in one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// Number in the file, from 1, and the line without its end.
    pub(super) lines: Vec<(u64, Vec<u8>)>,
    /// Bytes of the file it took, blank lines included.
    pub(super) bytes_read: u64,
}

/// Reads batches.
pub(super) struct Batches {
    input: Box<dyn BufRead>,
    /// Most lines in a batch.
    most: usize,
    /// Number of the last line read.
    line: u64,
}

impl Batches {
    pub(super) fn new(input: Box<dyn BufRead>, most: usize) -> Self {
        Self { input, most, line: 0 }
    }

    /// The next batch; with a rate, at most a tenth of a second's worth, so that the flow is even.
    ///
    /// # Errors
    /// If the input can't be read or a line never ends.
    pub(super) fn next(&mut self, rate: Option<f64>) -> anyhow::Result<Option<Batch>> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and clamped to the batch"
        )]
        let most = rate.map_or(self.most, |rate| ((rate / 10.0) as usize).clamp(1, self.most));
        let mut batch = Batch { lines: Vec::new(), bytes_read: 0 };
        let mut bytes = 0;
        while batch.lines.len() < most && bytes < BATCH_BYTES {
            let mut line = Vec::new();
            let read =
                self.input.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line).context("reading the lines")?;
            if read == 0 {
                break;
            }
            self.line += 1;
            batch.bytes_read += read as u64;
            if read as u64 == LINE_BYTES && line.last() != Some(&b'\n') {
                bail!("line {} has more than {LINE_BYTES} bytes", self.line);
            }
            let content = line.trim_ascii_end();
            if !content.is_empty() {
                bytes += content.len();
                batch.lines.push((self.line, content.to_vec()));
            }
        }
        Ok((!batch.lines.is_empty()).then_some(batch))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn all(text: &'static [u8], most: usize, rate: Option<f64>) -> Vec<Vec<u64>> {
        let mut batches = Batches::new(Box::new(text), most);
        let next = || batches.next(rate).unwrap().map(|batch| batch.lines.iter().map(|(number, _)| *number).collect());
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn lines_keep_their_numbers_across_blank_lines_and_batches() {
        assert_eq!(all(b"a\n\nb\r\nc\n\n", 2, None), [vec![1, 3], vec![4]]);
        assert_eq!(all(b"a\nb", 10, None), [vec![1, 2]]);
        assert_eq!(all(b"", 10, None), Vec::<Vec<u64>>::new());
    }

    #[test]
    fn rate_makes_batches_small() {
        assert_eq!(all(b"a\nb\nc\n", 10, Some(20.0)), [vec![1, 2], vec![3]]);
        assert_eq!(all(b"a\nb\n", 10, Some(0.5)), [vec![1], vec![2]]);
    }
}
