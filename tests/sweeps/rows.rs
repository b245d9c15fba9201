//! Who takes a sweep's rows in tests.

use tidemill::backtest::sweep::{Checkpoint, SweepRow, SweepWatch};

/// Keeps everything it is told; stops after so many looks.
#[derive(Default)]
pub struct Collected {
    pub rows: Vec<SweepRow>,
    pub progress: Vec<(u64, u64)>,
    pub checkpoint: Option<Checkpoint>,
    pub stop_after: Option<usize>,
    pub looks: usize,
}

impl SweepWatch for Collected {
    fn cancelled(&mut self) -> bool {
        self.looks += 1;
        self.stop_after.is_some_and(|most| self.looks >= most)
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.progress.push((done, total));
    }

    fn row(&mut self, row: SweepRow) -> Result<(), String> {
        self.rows.push(row);
        Ok(())
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        self.checkpoint = Some(checkpoint.clone());
    }
}
