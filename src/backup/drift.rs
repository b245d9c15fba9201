//! Whether the stores of an installation fit each other: documents, vectors, deliveries and the log's offsets.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::kafka::log::{GroupOffset, PartitionRange};
use crate::stores::figures::{GraphFigures, OffsetRange, StoreFigures, Verdicts};

/// One partition of the documents topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionFigures {
    /// Partition number.
    pub partition: i32,
    /// Oldest offset the log keeps.
    pub first: i64,
    /// Where the group goes on.
    pub committed: i64,
    /// Offset the next record will get.
    pub end: i64,
    /// Records between `first` and `committed` that have a verdict in the store.
    pub with_verdict: u64,
    /// Highest offset that has one.
    pub highest: Option<i64>,
}

/// Vectors of learned graphs, in the store and in the collection beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphVectors {
    /// What the store has.
    pub store: GraphFigures,
    /// Vectors in the collection.
    pub index: u64,
}

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Rows of the store.
    pub store: StoreFigures,
    /// Partitions of the documents topic.
    pub partitions: Vec<PartitionFigures>,
    /// Vectors in an index that daemons share, where it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// Vectors of learned graphs, where they are kept beside the store too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graphs: Option<GraphVectors>,
    /// Whether every offset of the log is a record: not with Kafka, where transactions and compaction leave gaps.
    pub dense: bool,
}

/// Offsets whose records must have a verdict: from the oldest kept to where the group stands.
#[must_use]
pub fn ranges(topic: &str, group: &str, log: &[PartitionRange], offsets: &[GroupOffset]) -> Vec<OffsetRange> {
    let partitions = log.iter().filter(|range| &*range.topic == topic);
    partitions
        .map(|range| {
            let stands = offsets
                .iter()
                .find(|at| at.group == group && *at.next.topic == *topic && at.next.partition == range.partition);
            let to = stands.map_or(range.first, |at| at.next.offset.max(range.first));
            OffsetRange { topic: Arc::clone(&range.topic), partition: range.partition, from: range.first, to }
        })
        .collect()
}

impl Figures {
    /// Of a store's counts and the log's partitions; `verdicts` in the order of `ranges`.
    #[must_use]
    pub fn new(store: StoreFigures, log: &[PartitionRange], ranges: &[OffsetRange], verdicts: &[Verdicts]) -> Self {
        let end_of = |range: &OffsetRange| {
            let found = log.iter().find(|it| it.topic == range.topic && it.partition == range.partition);
            found.map_or(range.to, |it| it.end)
        };
        let partitions = ranges.iter().zip(verdicts).map(|(range, verdicts)| PartitionFigures {
            partition: range.partition,
            first: range.from,
            committed: range.to,
            end: end_of(range),
            with_verdict: verdicts.in_range,
            highest: verdicts.highest,
        });
        Self { store, partitions: partitions.collect(), index: None, graphs: None, dense: true }
    }

    /// Records that a restore delivers again.
    #[must_use]
    pub fn to_replay(&self) -> u64 {
        self.partitions.iter().map(|it| (it.end - it.committed).max(0).cast_unsigned()).sum()
    }

    /// Everything that does not fit, in words; empty if all does.
    #[must_use]
    pub fn drift(&self) -> Vec<String> {
        let store = &self.store;
        let mut found = Vec::new();
        let mut differ = |differs: bool, said: String| found.extend(differs.then_some(said));
        let analyses = store.stored + store.duplicates;
        // with databases apart a crash may leave a document whose verdict comes with its record again
        differ(store.orphans > 0, format!("{} analyses have no document", store.orphans));
        differ(
            store.documents < analyses - store.orphans.min(analyses),
            format!("{} documents for {analyses} analyses", store.documents),
        );
        differ(store.without_vector > 0, format!("{} stored documents lost their vector", store.without_vector));
        differ(
            store.vectors > store.stored,
            format!("{} vectors for {} stored documents", store.vectors, store.stored),
        );
        if let Some(index) = self.index {
            // a record on its way changes one vector at most, and is not committed before that
            let differs = index.abs_diff(store.vectors) > self.to_replay();
            differ(differs, format!("the index has {index} vectors, the store {}", store.vectors));
        }
        if let Some(GraphVectors { store: GraphFigures { files, unfinished }, index }) = self.graphs {
            // a training on its way has any part of its own there
            let differs = !(files..=files + unfinished).contains(&index);
            differ(differs, format!("the collection of graphs has {index} vectors, the store {files}"));
        }
        differ(store.deliveries < analyses, format!("{} deliveries for {analyses} analyses", store.deliveries));
        let mut missing = 0;
        for it in &self.partitions {
            let consumed = (it.committed - it.first).max(0).cast_unsigned();
            missing += consumed.saturating_sub(it.with_verdict);
            if let Some(highest) = it.highest {
                differ(
                    highest >= it.end,
                    format!(
                        "partition {}: the store has a verdict of offset {highest}, the log ends before {}",
                        it.partition, it.end
                    ),
                );
            }
        }
        let purged = store.dead_ever.saturating_sub(store.dead_letters);
        differ(
            self.dense && missing > purged,
            format!("{missing} consumed records have no verdict, of which at most {purged} are purged dead letters"),
        );
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graphs(index: u64) -> GraphVectors {
        GraphVectors { store: GraphFigures { files: 30, unfinished: 5 }, index }
    }

    fn sound() -> Figures {
        Figures {
            store: StoreFigures {
                documents: 9,
                stored: 6,
                duplicates: 3,
                vectors: 6,
                deliveries: 10,
                dead_letters: 1,
                dead_ever: 2,
                ..StoreFigures::default()
            },
            // twelve consumed: ten deliveries, a dead letter, and one that was purged
            partitions: vec![PartitionFigures {
                partition: 0,
                first: 5,
                committed: 17,
                end: 20,
                with_verdict: 11,
                highest: Some(18),
            }],
            index: Some(6),
            graphs: Some(graphs(34)),
            dense: true,
        }
    }

    #[test]
    fn stores_that_fit_have_no_drift() {
        assert_eq!(sound().drift(), Vec::<String>::new());
        let on_the_way = Figures { index: Some(9), ..sound() };
        assert_eq!(on_the_way.drift(), Vec::<String>::new(), "three records are on their way");
        assert_eq!(sound().to_replay(), 3);
    }

    #[test]
    fn each_difference_is_named() {
        let changed = |change: fn(&mut Figures)| {
            let mut figures = sound();
            change(&mut figures);
            figures.drift().join("; ")
        };
        for (said, expected) in [
            (changed(|it| it.store.orphans = 2), "2 analyses have no document"),
            (changed(|it| it.store.documents = 8), "8 documents for 9 analyses"),
            (changed(|it| it.store.without_vector = 1), "1 stored documents lost their vector"),
            (changed(|it| it.index = Some(2)), "the index has 2 vectors, the store 6"),
            (changed(|it| it.graphs = Some(graphs(29))), "graphs has 29 vectors, the store 30"),
            (changed(|it| it.graphs = Some(graphs(36))), "graphs has 36 vectors, the store 30"),
            (changed(|it| it.store.deliveries = 8), "8 deliveries for 9 analyses"),
            (changed(|it| it.partitions[0].with_verdict = 10), "2 consumed records have no verdict"),
            (changed(|it| it.partitions[0].highest = Some(20)), "verdict of offset 20, the log ends before 20"),
        ] {
            assert!(said.contains(expected), "{said:?} does not say {expected:?}");
        }
        let sparse = changed(|it| {
            it.partitions[0].with_verdict = 10;
            it.dense = false;
        });
        assert_eq!(sparse, "", "gaps of a kafka partition are no drift");
    }

    #[test]
    fn ranges_are_those_of_the_group_and_topic() {
        let range = |topic: &str, partition, first, end| PartitionRange { topic: topic.into(), partition, first, end };
        let at = |group: &str, topic: &str, partition, offset| GroupOffset {
            group: group.to_owned(),
            next: crate::messages::record::Position { topic: topic.into(), partition, offset },
        };
        let log = [range("documents", 0, 3, 9), range("documents", 1, 2, 4), range("analyses", 0, 0, 8)];
        let offsets = [at("other", "documents", 0, 1), at("tidemill", "documents", 0, 7)];
        let found = ranges("documents", "tidemill", &log, &offsets);
        let bounds: Vec<_> = found.iter().map(|range| (range.partition, range.from, range.to)).collect();
        assert_eq!(bounds, [(0, 3, 7), (1, 2, 2)], "a partition without an offset begins at its first record");
    }
}
