//! What is kept of a sweep: the best sets, and a metric over two parameters. Both are bounded whatever the sweep.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};

use super::super::request::Trials;
use super::metrics::{SHARPE, SetMetrics, place};
use super::request::{Ranking, SurfaceRequest, Top};
use super::space::Space;

/// One set with its metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepRow {
    /// Number of the set in the space.
    pub set: u64,
    /// Its values, in the order of the parameters' names.
    pub values: Vec<f64>,
    /// Its metrics.
    pub metrics: SetMetrics,
    /// Probability that its Sharpe ratio is more than the luck of the best of all sets tried; of the best sets alone,
    /// where at least two sets had a ratio.
    pub deflated_sharpe_ratio: Option<f64>,
}

/// A row in the order of ranks: by score, then by number, so that ties do not depend on the order of work.
#[derive(Debug, Clone)]
struct Ranked {
    score: f64,
    row: SweepRow,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.row.set.cmp(&self.row.set))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

/// The best sets so far; one whose metric has no value is never among them.
#[derive(Debug)]
pub(super) struct Best {
    most: usize,
    metric: usize,
    order: Ranking,
    /// The worst of them on top.
    heap: BinaryHeap<Reverse<Ranked>>,
}

impl Best {
    /// None yet.
    pub fn new(top: &Top) -> Self {
        Self { most: top.top, metric: place(&top.by), order: top.order, heap: BinaryHeap::new() }
    }

    /// Takes a row if it is among the best.
    pub fn offer(&mut self, set: u64, values: &[f64], metrics: &SetMetrics) {
        let Some(score) = self.order.score(metrics.0[self.metric]) else { return };
        if self.heap.len() == self.most && self.heap.peek().is_some_and(|worst| score < worst.0.score) {
            return;
        }
        self.heap.push(Reverse(Ranked {
            score,
            row: SweepRow { set, values: values.to_vec(), metrics: *metrics, deflated_sharpe_ratio: None },
        }));
        if self.heap.len() > self.most {
            self.heap.pop();
        }
    }

    /// Their numbers, in no order.
    pub fn sets(&self) -> Vec<u64> {
        self.heap.iter().map(|ranked| ranked.0.row.set).collect()
    }

    /// All rows, best first.
    pub fn into_rows(self) -> Vec<SweepRow> {
        self.heap.into_sorted_vec().into_iter().map(|ranked| ranked.0.row).collect()
    }
}

/// How the Sharpe ratios of the sets tried are spread (Welford's recurrence).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Spread {
    count: f64,
    mean: f64,
    square: f64,
}

impl Spread {
    /// Takes the ratio of a set; one without a value was no trial.
    pub fn offer(&mut self, metrics: &SetMetrics) {
        let ratio = metrics.0[SHARPE];
        if ratio.is_finite() {
            self.count += 1.0;
            let before = ratio - self.mean;
            self.mean += before / self.count;
            self.square += before * (ratio - self.mean);
        }
    }

    /// Trials, and the variance of their ratios per bar; `None` for fewer than two.
    pub fn trials(self, bars_per_year: f64) -> Option<Trials> {
        if self.count < 2.0 {
            return None;
        }
        Some(Trials { count: self.count, sharpe_variance: self.square / (self.count - 1.0) / bars_per_year })
    }

    /// The spread as bits, so that a checkpoint keeps it exactly.
    pub fn bits(self) -> [u64; 3] {
        [self.count, self.mean, self.square].map(f64::to_bits)
    }

    /// The spread of a checkpoint.
    pub fn restored(bits: [u64; 3]) -> Self {
        let [count, mean, square] = bits.map(f64::from_bits);
        Self { count, mean, square }
    }
}

/// A metric over two parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Surface {
    /// Parameter of the columns.
    pub x: String,
    /// Parameter of the rows.
    pub y: String,
    /// Metric of the cells.
    pub metric: String,
    /// Values of the columns' parameter.
    pub x_values: Vec<f64>,
    /// Values of the rows' parameter.
    pub y_values: Vec<f64>,
    /// Row by row; `null` where no set has that pair of values or the metric has no value.
    pub cells: Vec<Option<f64>>,
}

/// Collects a [`Surface`].
#[derive(Debug)]
pub(super) struct SurfaceKeeper {
    surface: Surface,
    parameters: [usize; 2],
    metric: usize,
    order: Ranking,
}

impl SurfaceKeeper {
    /// Nothing known yet.
    pub fn new(request: &SurfaceRequest, space: &Space) -> Self {
        let parameter = |name: &str| space.names().iter().position(|known| known == name).unwrap_or_default();
        let parameters = [parameter(&request.x), parameter(&request.y)];
        let [x_values, y_values] = parameters.map(|parameter| {
            let values = space.values(parameter);
            (0..values.len()).filter_map(|index| values.get(index)).collect::<Vec<_>>()
        });
        let cells = vec![None; x_values.len() * y_values.len()];
        Self {
            surface: Surface {
                x: request.x.clone(),
                y: request.y.clone(),
                metric: request.metric.clone(),
                x_values,
                y_values,
                cells,
            },
            parameters,
            metric: place(&request.metric),
            order: request.order,
        }
    }

    /// Takes the metric of the set whose values have these positions.
    pub fn offer(&mut self, positions: &[u64], metrics: &SetMetrics) {
        let value = metrics.0[self.metric];
        let Some(score) = self.order.score(value) else { return };
        let [x, y] = self.parameters.map(|parameter| usize::try_from(positions[parameter]).unwrap_or(usize::MAX));
        let columns = self.surface.x_values.len();
        if let Some(cell) = self.surface.cells.get_mut(y.saturating_mul(columns).saturating_add(x))
            && cell.and_then(|known| self.order.score(known)).is_none_or(|known| known < score)
        {
            *cell = Some(value);
        }
    }

    /// The cells as bits, so that a checkpoint keeps them exactly.
    pub fn bits(&self) -> Vec<Option<u64>> {
        self.surface.cells.iter().map(|cell| cell.map(f64::to_bits)).collect()
    }

    /// Takes the cells of a checkpoint.
    pub fn restore(&mut self, bits: &[Option<u64>]) {
        for (cell, bits) in self.surface.cells.iter_mut().zip(bits) {
            *cell = bits.map(f64::from_bits);
        }
    }

    /// The surface.
    pub fn into_surface(self) -> Surface {
        self.surface
    }
}
