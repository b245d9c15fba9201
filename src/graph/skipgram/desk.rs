//! Copies of the rows that a passage needs, close at hand.
//!
//! A passage touches each of its nodes many times. It works on copies, which stay in the first cache and which no other
//! thread sees, and puts what it changed back in the end: added to what others have made of the row meanwhile.

use super::simd::Wide;
use super::table::{LANES, Table};

/// Sixteen numbers of a copied row.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Cell(pub(super) [f32; LANES]);

/// Marks a free place of the index.
const FREE: u32 = u32::MAX;

/// Which rows of a table a passage needs, each once.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The rows, in the order in which they were first asked for.
    pub(super) rows: Vec<u32>,
    /// Where in `rows` a row is, by open addressing; a power of two long.
    index: Vec<(u32, u32)>,
}

impl Rows {
    /// Forgets all rows and makes room for so many.
    pub(super) fn clear(&mut self, most: usize) {
        self.rows.clear();
        let room = (most * 2).next_power_of_two().max(16);
        self.index.clear();
        self.index.resize(room, (FREE, 0));
    }

    /// The place of a row.
    pub(super) fn place(&mut self, row: u32) -> u32 {
        let mask = self.index.len() - 1;
        let mut at = (row.wrapping_mul(0x9e37_79b1) >> 7) as usize & mask;
        loop {
            let (known, place) = self.index[at];
            if known == row {
                return place;
            }
            if known == FREE {
                #[expect(clippy::cast_possible_truncation, reason = "a passage has fewer than 2^32 nodes")]
                let place = self.rows.len() as u32;
                self.index[at] = (row, place);
                self.rows.push(row);
                return place;
            }
            at = (at + 1) & mask;
        }
    }
}

/// One passage with its negatives, as places of copied rows.
#[derive(Debug, Default)]
pub(super) struct Task {
    /// Rows of first nodes; of all nodes where there is one table.
    pub(super) own: Rows,
    /// Rows of the others where they are in a table of their own; their places follow those of `own`.
    pub(super) context: Rows,
    /// The place of each node as a window's first.
    pub(super) firsts: Vec<u32>,
    /// The place of each node as one of the others.
    pub(super) others: Vec<u32>,
    /// The places of the negatives.
    pub(super) far: Vec<u32>,
    /// How many nodes a window's first is near to.
    pub(super) near: usize,
}

impl Task {
    /// Takes the nodes of a passage and its negatives; `apart` where others have a table of their own.
    pub(super) fn set(
        &mut self,
        nodes: &[u32],
        near: usize,
        negatives: impl ExactSizeIterator<Item = u32>,
        apart: bool,
    ) {
        self.near = near;
        let windows = nodes.len() - near;
        let most = nodes.len() + negatives.len();
        self.own.clear(most);
        self.firsts.clear();
        self.firsts.extend(nodes[..windows].iter().map(|&node| self.own.place(node)));
        self.others.clear();
        self.far.clear();
        if apart {
            self.context.clear(most);
            #[expect(clippy::cast_possible_truncation, reason = "a passage has fewer than 2^32 nodes")]
            let before = self.own.rows.len() as u32;
            self.others.extend(nodes.iter().map(|&node| before + self.context.place(node)));
            self.far.extend(negatives.map(|node| before + self.context.place(node)));
        } else {
            self.others.extend(nodes.iter().map(|&node| self.own.place(node)));
            self.far.extend(negatives.map(|node| self.own.place(node)));
        }
    }

    /// Asks for the memory of one of so many parts of its rows.
    pub(super) fn prefetch(&self, own: &Table, context: &Table, part: usize, parts: usize) {
        for (table, rows) in [(own, &self.own.rows), (context, &self.context.rows)] {
            let place = |part: usize| rows.len() * part / parts;
            for &row in &rows[place(part)..place(part + 1)] {
                table.prefetch(row);
            }
        }
    }
}

/// Room for the copies.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// Copies that change, row after row.
    pub(super) cells: Vec<Cell>,
    /// The same rows as they were.
    pub(super) before: Vec<Cell>,
    /// Products of a window's pairs.
    pub(super) scores: Vec<Cell>,
}

impl Desk {
    /// Makes room.
    pub(super) fn clear(&mut self, cells: usize, scores: usize) {
        self.cells.resize(cells, Cell([0.0; LANES]));
        self.before.resize(cells, Cell([0.0; LANES]));
        self.scores.resize(scores, Cell([0.0; LANES]));
    }
}

/// Copies rows of a table; `cells` and `before` have exactly their lines.
#[expect(clippy::inline_always, reason = "compiled for the features of the kernel that it is part of")]
#[inline(always)]
pub(super) unsafe fn fetch<W: Wide>(table: &Table, rows: &[u32], cells: &mut [Cell], before: &mut [Cell]) {
    let width = table.width;
    let places = cells.chunks_exact_mut(width).zip(before.chunks_exact_mut(width));
    for (&row, (cells, before)) in rows.iter().zip(places) {
        for (line, (cell, before)) in table.row(row).iter().zip(cells.iter_mut().zip(before)) {
            // SAFETY: the caller's processor has the features of `W`.
            unsafe {
                let value = W::load(line);
                value.put(cell);
                value.put(before);
            }
        }
    }
}

/// Adds to rows of a table what their copies have changed.
#[expect(clippy::inline_always, reason = "compiled for the features of the kernel that it is part of")]
#[inline(always)]
pub(super) unsafe fn return_to<W: Wide>(table: &Table, rows: &[u32], cells: &[Cell], before: &[Cell]) {
    let width = table.width;
    for (&row, (cells, before)) in rows.iter().zip(cells.chunks_exact(width).zip(before.chunks_exact(width))) {
        for (line, (cell, before)) in table.row(row).iter().zip(cells.iter().zip(before)) {
            // SAFETY: the caller's processor has the features of `W`.
            unsafe { W::load(line).plus(W::get(cell).minus(W::get(before))).store(line) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_one_place() {
        let mut rows = Rows::default();
        for most in [3_u32, 200] {
            rows.clear(most as usize);
            let asked: Vec<u32> = (0..most).map(|row| row * 77 % 61 * 1_000_003).collect();
            let places: Vec<u32> = asked.iter().map(|&row| rows.place(row)).collect();
            for (row, place) in asked.iter().zip(places) {
                assert_eq!(rows.rows[place as usize], *row);
            }
            let distinct: std::collections::HashSet<u32> = asked.into_iter().collect();
            assert_eq!(rows.rows.len(), distinct.len());
        }
    }
}
