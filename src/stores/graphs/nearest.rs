//! The nearest files, exactly: every vector of the graph is looked at once.

use std::sync::Arc;

use super::{FileVector, NearFile};

/// Length of a vector.
#[must_use]
pub fn norm(vector: &[f32]) -> f32 {
    vector.iter().map(|value| value * value).sum::<f32>().sqrt()
}

/// Cosine of two vectors of one dimension; 0 where one of them is zero.
#[must_use]
pub fn cosine(left: &[f32], right: &[f32]) -> f32 {
    let product: f32 = left.iter().zip(right).map(|(a, b)| a * b).sum();
    let lengths = norm(left) * norm(right);
    if lengths > 0.0 { (product / lengths).clamp(-1.0, 1.0) } else { 0.0 }
}

/// Collects the files nearest to one, best first; of equals the smaller path.
#[derive(Debug)]
pub struct Nearest {
    path: Arc<str>,
    vector: Arc<[f32]>,
    k: usize,
    best: Vec<NearFile>,
}

impl Nearest {
    /// To this file.
    #[must_use]
    pub fn to(file: &FileVector, k: usize) -> Self {
        Self { path: Arc::clone(&file.path), vector: Arc::clone(&file.vector), k, best: Vec::with_capacity(k + 1) }
    }

    /// Looks at a file. Itself and files without an edge don't count.
    pub fn look(&mut self, file: &FileVector) {
        if file.path == self.path || !file.is_connected() {
            return;
        }
        let similarity = cosine(&self.vector, &file.vector);
        let before = |known: &NearFile| {
            known.similarity.total_cmp(&similarity).is_gt()
                || (known.similarity.total_cmp(&similarity).is_eq() && known.file_path < file.path)
        };
        let place = self.best.partition_point(before);
        if place >= self.k {
            return;
        }
        let near = NearFile {
            file_path: Arc::clone(&file.path),
            language: Arc::clone(&file.language),
            imports: file.imports,
            imported_by: file.imported_by,
            similarity,
        };
        self.best.insert(place, near);
        self.best.truncate(self.k);
    }

    /// What was found.
    #[must_use]
    pub fn into_found(self) -> Vec<NearFile> {
        self.best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, vector: &[f32], edges: u32) -> FileVector {
        FileVector {
            path: path.into(),
            language: "python".into(),
            imports: edges,
            imported_by: 0,
            vector: vector.into(),
        }
    }

    #[test]
    fn nearest_are_the_best_of_all_in_order() {
        let all: Vec<FileVector> = (0_u16..50)
            .map(|index| {
                let angle = f32::from(index) * 0.1;
                file(&format!("f{index:02}"), &[angle.cos(), angle.sin()], u32::from(index % 7 != 3))
            })
            .collect();
        let mut nearest = Nearest::to(&all[10], 4);
        all.iter().rev().for_each(|file| nearest.look(file));
        let mut expected: Vec<(f32, Arc<str>)> = all
            .iter()
            .filter(|file| file.path != all[10].path && file.is_connected())
            .map(|file| (cosine(&file.vector, &all[10].vector), Arc::clone(&file.path)))
            .collect();
        expected.sort_by(|left, right| right.0.total_cmp(&left.0).then_with(|| left.1.cmp(&right.1)));
        let found: Vec<(f32, Arc<str>)> =
            nearest.into_found().into_iter().map(|near| (near.similarity, near.file_path)).collect();
        assert_eq!(found, expected[..4]);
    }

    #[test]
    fn zero_vectors_are_near_to_nothing() {
        assert!(cosine(&[0.0, 0.0], &[1.0, 0.0]).abs() < f32::EPSILON);
    }
}
