//! The log as backups see it: how far it reaches, where groups stand, and groups set back.

use std::path::PathBuf;

use super::{BackupError, Places, blocking};
use crate::config::Config;
use crate::config::log::LogBackend;
use crate::kafka::client::KafkaLog;
use crate::kafka::embedded::offsets;
use crate::kafka::log::{GroupOffset, Log as _, PartitionRange};
use crate::messages::record::Position;

/// Either log.
pub(super) enum LogSide {
    /// A file, whoever has it open.
    Embedded(PathBuf),
    /// Brokers.
    Kafka {
        log: Box<KafkaLog>,
        group: String,
        /// What the group reads.
        topics: Vec<String>,
    },
}

impl LogSide {
    /// The log of this configuration. Asks nobody yet.
    pub(super) fn open(config: &Config) -> Result<Self, BackupError> {
        match config.log.backend {
            LogBackend::Embedded => Ok(Self::Embedded(Places::of(config).log)),
            LogBackend::Kafka => {
                // transactions are the daemon's alone
                let kafka = crate::config::kafka::KafkaConfig { exactly_once: false, ..config.kafka.clone() };
                let topics = kafka.topics.inputs().into_iter().map(|(topic, _)| topic).collect();
                let log = Box::new(KafkaLog::new(&kafka, &config.log)?);
                Ok(Self::Kafka { log, group: kafka.group, topics })
            }
        }
    }

    /// Where groups stand.
    pub(super) async fn offsets(&self) -> Result<Vec<GroupOffset>, BackupError> {
        match self {
            Self::Embedded(path) => {
                let path = path.clone();
                blocking(move || offsets::group_offsets(&path)).await
            }
            Self::Kafka { log, group, topics } => {
                let lag = log.lag(group, topics).await?.into_iter();
                let offset = |lag: crate::kafka::log::PartitionLag| GroupOffset {
                    group: group.clone(),
                    next: Position { topic: lag.topic.into(), partition: lag.partition, offset: lag.committed },
                };
                Ok(lag.map(offset).collect())
            }
        }
    }

    /// What partitions hold.
    pub(super) async fn ranges(&self) -> Result<Vec<PartitionRange>, BackupError> {
        match self {
            Self::Embedded(path) => {
                let path = path.clone();
                blocking(move || offsets::ranges(&path)).await
            }
            Self::Kafka { log, topics, .. } => Ok(log.ranges(topics).await?),
        }
    }

    /// Has groups go on from these offsets. Of an embedded log nobody may have the file open.
    pub(super) async fn set(&self, offsets: &[GroupOffset]) -> Result<(), BackupError> {
        match self {
            Self::Embedded(path) => {
                let (path, offsets) = (path.clone(), offsets.to_vec());
                blocking(move || offsets::set_groups(&path, &offsets)).await
            }
            Self::Kafka { log, .. } => Ok(log.set_groups(offsets).await?),
        }
    }

    /// Whether every offset is a record.
    pub(super) const fn is_dense(&self) -> bool {
        matches!(self, Self::Embedded(_))
    }
}

/// Offsets no lower than what their partitions keep: where a group begins that was away for too long.
pub(super) fn from_first(mut offsets: Vec<GroupOffset>, log: &[PartitionRange]) -> Vec<GroupOffset> {
    for at in &mut offsets {
        let range = log.iter().find(|it| it.topic == at.next.topic && it.partition == at.next.partition);
        at.next.offset = range.map_or(at.next.offset, |it| at.next.offset.max(it.first));
    }
    offsets
}

/// Records that a group still has to read and the log does not have any more.
pub(super) fn lost(offsets: &[GroupOffset], log: &[PartitionRange]) -> u64 {
    let gone = offsets.iter().filter_map(|at| {
        let range = log.iter().find(|it| it.topic == at.next.topic && it.partition == at.next.partition)?;
        Some((range.first - at.next.offset).max(0).cast_unsigned())
    });
    gone.sum()
}

/// The first offset that lies behind the end of its partition: then the log is not the one the offsets are of.
pub(super) fn beyond<'a>(offsets: &'a [GroupOffset], log: &[PartitionRange]) -> Option<&'a GroupOffset> {
    offsets.iter().find(|at| {
        let range = log.iter().find(|it| it.topic == at.next.topic && it.partition == at.next.partition);
        at.next.offset > range.map_or(0, |it| it.end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32, offset: i64) -> GroupOffset {
        GroupOffset { group: "g".to_owned(), next: Position { topic: "documents".into(), partition, offset } }
    }

    fn range(partition: i32, first: i64, end: i64) -> PartitionRange {
        PartitionRange { topic: "documents".into(), partition, first, end }
    }

    #[test]
    fn a_group_that_was_away_begins_where_its_partition_does() {
        let log = [range(0, 5, 9), range(1, 0, 3)];
        let offsets = from_first(vec![at(0, 2), at(1, 2), at(2, 7)], &log);
        assert_eq!(offsets, [at(0, 5), at(1, 2), at(2, 7)]);
        assert_eq!(lost(&offsets, &log), 0);
    }

    #[test]
    fn records_that_went_and_offsets_of_another_log_are_seen() {
        let log = [range(0, 5, 9), range(1, 4, 4)];
        assert_eq!(lost(&[at(0, 2), at(1, 4)], &log), 3);
        assert_eq!(beyond(&[at(0, 9), at(1, 4)], &log), None, "an offset may stand at the end");
        assert_eq!(beyond(&[at(0, 10)], &log), Some(&at(0, 10)));
        assert_eq!(beyond(&[at(7, 1)], &log), Some(&at(7, 1)), "a partition that is not there");
    }
}
