//! The Kafka client and the daemon against Apache Kafka itself.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]

/// The broker that tests share, or the end of the test with a line that says why there is none.
macro_rules! given {
    ($broker:expr) => {
        match $broker {
            Ok(broker) => broker,
            Err(why) => {
                crate::services::skip("kafka", why);
                return;
            }
        }
    };
}

#[path = "kafka_real/backups.rs"]
mod backups;
#[path = "kafka_real/client.rs"]
mod client;
#[path = "daemon/corpus.rs"]
mod corpus;
#[path = "kafka_real/faults.rs"]
mod faults;
#[path = "kafka_real/full_disk.rs"]
mod full_disk;
#[path = "kafka_real/groups.rs"]
mod groups;
#[path = "support/services/kafka.rs"]
mod kafka;
#[path = "daemon/process.rs"]
#[expect(dead_code, reason = "shared with the tests of the daemon")]
mod process;
#[path = "kafka_real/security.rs"]
mod security;
#[path = "support/services.rs"]
mod services;
#[path = "support/small_disk.rs"]
mod small_disk;
#[path = "kafka_real/topics.rs"]
mod topics;
#[path = "kafka_real/transactions.rs"]
mod transactions;
