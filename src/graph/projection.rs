//! Vectors laid out in the plane, so that those that point the same way lie together.
//!
//! The two main directions (PCA) are where the layout begins; then near neighbours by cosine attract and random others
//! repel each other, as in `LargeVis` (Tang et al. 2016) and UMAP (`McInnes` et al. 2018), here with the kernel `1 / (1 + d²)`.

use fastrand::Rng;

/// Neighbours that attract a point.
const NEIGHBOURS: usize = 10;
/// Random points that repel it for each of them.
const REPELLING: usize = 5;
/// Rounds over all points.
const ROUNDS: u16 = 200;
/// More points keep the main directions: their neighbours would take minutes to find.
const MOST: usize = 20_000;
/// Steps of the power iteration.
const STEPS: usize = 100;
/// The most one force moves a point.
const REACH: f32 = 4.0;

/// A point for each vector, within -1 to 1 in both directions. The same seed gives the same points.
pub fn project(values: &[f32], dimension: usize, seed: u64) -> Vec<[f32; 2]> {
    let mut random = Rng::with_seed(seed);
    let units = units(values, dimension);
    let mut points = main_directions(&units, dimension, &mut random);
    if points.len() > 2 && points.len() <= MOST {
        let near = neighbours(&units, dimension);
        // A layout of this size is where forces neither explode nor vanish.
        fit(&mut points, 10.0);
        spread(&mut points, &near, &mut random);
    }
    fit(&mut points, 1.0);
    points
}

/// The vectors with length 1; one of zeros stays.
fn units(values: &[f32], dimension: usize) -> Vec<f32> {
    let mut units = values.to_vec();
    for row in units.chunks_exact_mut(dimension.max(1)) {
        let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        if norm > 0.0 {
            row.iter_mut().for_each(|value| *value /= norm);
        }
    }
    units
}

/// Coordinates along the two directions in which the vectors differ most.
fn main_directions(units: &[f32], dimension: usize, random: &mut Rng) -> Vec<[f32; 2]> {
    let rows = units.chunks_exact(dimension.max(1));
    let count = rows.len();
    if count == 0 {
        return Vec::new();
    }
    #[expect(clippy::cast_precision_loss, reason = "a mean")]
    let share = 1.0 / count as f64;
    let mut mean = vec![0.0; dimension];
    for row in rows.clone() {
        mean.iter_mut().zip(row).for_each(|(mean, &value)| *mean += share * f64::from(value));
    }
    let mut covariance = vec![0.0; dimension * dimension];
    for row in rows.clone() {
        let off: Vec<f64> = row.iter().zip(&mean).map(|(&value, mean)| f64::from(value) - mean).collect();
        for (cells, &one) in covariance.chunks_exact_mut(dimension).zip(&off) {
            cells.iter_mut().zip(&off).for_each(|(cell, two)| *cell += share * one * two);
        }
    }
    let first = leading(&mut covariance, dimension, random);
    let second = leading(&mut covariance, dimension, random);
    let along = |row: &[f32], axis: &[f64]| -> f32 {
        let sum: f64 =
            row.iter().zip(&mean).zip(axis).map(|((&value, mean), axis)| (f64::from(value) - mean) * axis).sum();
        #[expect(clippy::cast_possible_truncation, reason = "a coordinate on a picture")]
        let sum = sum as f32;
        sum
    };
    rows.map(|row| [along(row, &first), along(row, &second)]).collect()
}

/// The direction of a symmetric matrix's largest eigenvalue, which is then taken out of the matrix.
fn leading(matrix: &mut [f64], size: usize, random: &mut Rng) -> Vec<f64> {
    let mut axis: Vec<f64> = (0..size).map(|_| random.f64() - 0.5).collect();
    let mut value = 0.0;
    for _ in 0..STEPS {
        let image: Vec<f64> =
            matrix.chunks_exact(size).map(|row| row.iter().zip(&axis).map(|(one, two)| one * two).sum()).collect();
        value = image.iter().map(|value| value * value).sum::<f64>().sqrt();
        if value <= f64::MIN_POSITIVE {
            return vec![0.0; size];
        }
        axis = image.iter().map(|part| part / value).collect();
    }
    for (row, one) in matrix.chunks_exact_mut(size).zip(&axis) {
        row.iter_mut().zip(&axis).for_each(|(cell, two)| *cell -= value * one * two);
    }
    axis
}

/// The nearest by cosine of each vector.
fn neighbours(units: &[f32], dimension: usize) -> Vec<Vec<usize>> {
    let rows: Vec<&[f32]> = units.chunks_exact(dimension).collect();
    let mut near: Vec<(f32, usize)> = Vec::with_capacity(rows.len());
    (0..rows.len())
        .map(|own| {
            near.clear();
            near.extend(rows.iter().enumerate().filter(|&(other, _)| other != own).map(|(other, row)| {
                let (one, one_rest) = rows[own].as_chunks::<8>();
                let (two, two_rest) = row.as_chunks::<8>();
                let mut sums = [0.0_f32; 8];
                for (one, two) in one.iter().zip(two) {
                    for lane in 0..8 {
                        sums[lane] += one[lane] * two[lane];
                    }
                }
                let rest: f32 = one_rest.iter().zip(two_rest).map(|(one, two)| one * two).sum();
                (sums.iter().sum::<f32>() + rest, other)
            }));
            let count = NEIGHBOURS.min(near.len());
            let order = |one: &(f32, usize), two: &(f32, usize)| two.0.total_cmp(&one.0).then(one.1.cmp(&two.1));
            if count < near.len() {
                near.select_nth_unstable_by(count, order);
            }
            near[..count].sort_unstable_by(order);
            near[..count].iter().map(|&(_, other)| other).collect()
        })
        .collect()
}

/// Lets neighbours attract and others repel each other, ever less.
fn spread(points: &mut [[f32; 2]], near: &[Vec<usize>], random: &mut Rng) {
    for round in 0..ROUNDS {
        let step = 1.0 - f32::from(round) / f32::from(ROUNDS);
        for (own, near) in near.iter().enumerate() {
            for &other in near {
                let pull = step * 0.5;
                push(points, own, other, |square| -2.0 * pull / (1.0 + square));
                push(points, other, own, |square| -2.0 * pull / (1.0 + square));
                for _ in 0..REPELLING {
                    let stranger = random.usize(0..points.len());
                    if stranger != own {
                        push(points, own, stranger, |square| 2.0 * pull / ((0.001 + square) * (1.0 + square)));
                    }
                }
            }
        }
    }
}

/// Moves one point along the line from another by a force that depends on their squared distance.
fn push(points: &mut [[f32; 2]], own: usize, other: usize, force: impl Fn(f32) -> f32) {
    let way = [points[own][0] - points[other][0], points[own][1] - points[other][1]];
    let force = force(way[0] * way[0] + way[1] * way[1]);
    for (coordinate, way) in points[own].iter_mut().zip(way) {
        *coordinate += (force * way).clamp(-REACH, REACH);
    }
}

/// Moves the points' middle to the origin and their farthest coordinate to `size`.
fn fit(points: &mut [[f32; 2]], size: f32) {
    let (mut low, mut high) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
    for point in points.iter() {
        for axis in 0..2 {
            low[axis] = low[axis].min(point[axis]);
            high[axis] = high[axis].max(point[axis]);
        }
    }
    let half = (0..2).map(|axis| (high[axis] - low[axis]) / 2.0).fold(0.0, f32::max);
    let scale = if half > 0.0 { size / half } else { 0.0 };
    for point in points {
        for axis in 0..2 {
            point[axis] = (point[axis] - f32::midpoint(low[axis], high[axis])) * scale;
        }
    }
}
