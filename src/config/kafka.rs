//! `[kafka]`: how to reach Apache Kafka, and the names of the topics, which the embedded log uses too.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::endpoint::is_private;
use super::problem::Problems;

pub mod security;

use self::security::{KafkaSaslConfig, KafkaTlsConfig, SaslMechanism};

/// How partitions move between the members of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Assignment {
    /// Only the partitions that move stop.
    CooperativeSticky,
    /// All stop for a moment whenever a member comes or goes. Neighbouring partitions stay together.
    Range,
    /// All stop for a moment whenever a member comes or goes.
    Roundrobin,
}

impl Assignment {
    /// As librdkafka calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CooperativeSticky => "cooperative-sticky",
            Self::Range => "range",
            Self::Roundrobin => "roundrobin",
        }
    }
}

/// How produced batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// As librdkafka calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Apache Kafka, or anything that speaks its protocol. Used with `log.backend = "kafka"`; the topics' names always.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// Brokers to start from, each `host:port`. Default `127.0.0.1:9092`.
    pub brokers: Vec<String>,
    /// Whether brokers on other machines may be spoken to unencrypted: documents and passwords then cross the network
    /// readable. Default false: only loopback and private names (`localhost`, `kafka-1`, `kafka.internal`).
    pub allow_plaintext: bool,
    /// How long a start waits for brokers that don't answer, 0 to 86,400 seconds; meanwhile the daemon is alive and not
    /// ready. Default 600: longer than a cluster takes to come up beside it. 0 gives up at once.
    pub start_timeout_seconds: u64,
    /// Consumer group: daemons of one group share the partitions. Default `tidemill`; also the group of the embedded
    /// log. Bars are read by a second group of this name with `-bars` behind it.
    pub group: String,
    /// Name told to the brokers, for their logs and quotas. Default `tidemill`.
    pub client_id: String,
    /// `cooperative-sticky` (default), `range` or `roundrobin`. All members of a group need the same kind.
    pub assignment: Assignment,
    /// Name of this daemon within its group, for a static membership: a restart within `session_timeout_ms` then moves no
    /// partitions. At most 249 letters, digits, `.`, `_` and `-`; each daemon of a group needs another one, and a second
    /// with the same name pushes the first one out. Empty (default): partitions move at every restart.
    pub group_instance_id: String,
    /// A member silent for this long loses its partitions, 1,000 to 600,000 milliseconds. Default 45,000, as Kafka's.
    pub session_timeout_ms: u32,
    /// A member that doesn't poll for this long loses its partitions, 1,000 to 86,400,000 milliseconds. Default 300,000,
    /// as Kafka's; the source polls many times a second whatever the pipeline does.
    pub max_poll_interval_ms: u32,
    /// Records fetched ahead per partition, 1 to 1,000,000. Default 2,000.
    pub prefetch_records: u32,
    /// Kibibytes fetched ahead in all, 64 to 2,097,151. Default 32,768: librdkafka's own default is 64 MiB a consumer.
    pub prefetch_kbytes: u32,
    /// How long an append may take, all retries included, 100 to 3,600,000 milliseconds. Default 30,000.
    pub delivery_timeout_ms: u32,
    /// How long a record waits for others to share a batch, 0 to 10,000 milliseconds. Default 2.
    pub linger_ms: u32,
    /// `none`, `gzip`, `snappy`, `lz4` (default: least processor time for its gain) or `zstd`.
    pub compression: Compression,
    /// Longest wait for metadata, offsets and commits, 100 to 600,000 milliseconds. Default 10,000.
    pub request_timeout_ms: u32,
    /// Whether analyses and the offsets of the records they come from are committed in one transaction, so that a consumer
    /// with `isolation.level=read_committed` sees each analysis once. Default false: analyses of records that were in
    /// flight at a crash come twice. Costs a transaction every `log.source.commit_interval_ms`, by which analyses appear
    /// later.
    pub exactly_once: bool,
    /// Name under which the brokers know this daemon's transactions: a daemon that starts under it ends those of the
    /// earlier one and shuts it out. Empty (default): made of the group and an id kept in the data directory, so that it
    /// stays the same over restarts and differs between daemons.
    pub transactional_id: String,
    /// After how long the brokers abort a transaction whose daemon is gone, 1,000 to 900,000 milliseconds. Default 30,000:
    /// until then consumers of `analyses` wait, and whoever takes over its partitions too; the same daemon started again
    /// ends it at once.
    pub transaction_timeout_ms: u32,
    /// Whether missing topics are created at the start. Default true. With fewer partitions than
    /// `kafka.topics.partitions`, an existing topic is used as it is and a warning says so.
    pub create_topics: bool,
    /// Replicas of the topics that are created; -1 (default) takes the brokers' own default, 1 to 100 sets it.
    pub replication: i32,
    /// The topics.
    pub topics: TopicsConfig,
    /// Encryption of the connections.
    pub tls: KafkaTlsConfig,
    /// Who we are to the brokers.
    pub sasl: KafkaSaslConfig,
    /// Any other setting of librdkafka, such as `"metadata.max.age.ms" = "60000"`. Values are never logged.
    pub properties: Properties,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: vec!["127.0.0.1:9092".to_owned()],
            allow_plaintext: false,
            start_timeout_seconds: 600,
            group: "tidemill".to_owned(),
            client_id: "tidemill".to_owned(),
            assignment: Assignment::CooperativeSticky,
            group_instance_id: String::new(),
            session_timeout_ms: 45_000,
            max_poll_interval_ms: 300_000,
            prefetch_records: 2_000,
            prefetch_kbytes: 32_768,
            delivery_timeout_ms: 30_000,
            linger_ms: 2,
            compression: Compression::Lz4,
            request_timeout_ms: 10_000,
            exactly_once: false,
            transactional_id: String::new(),
            transaction_timeout_ms: 30_000,
            create_topics: true,
            replication: -1,
            topics: TopicsConfig::default(),
            tls: KafkaTlsConfig::default(),
            sasl: KafkaSaslConfig::default(),
            properties: Properties::default(),
        }
    }
}

/// Settings of librdkafka that the daemon sets itself, because what it promises depends on them.
pub const OWN_PROPERTIES: &[&str] = &[
    "bootstrap.servers",
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "acks",
    "request.required.acks",
    "partition.assignment.strategy",
    "auto.offset.reset",
    "transactional.id",
    "transaction.timeout.ms",
    "isolation.level",
    "group.instance.id",
    "group.protocol",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "enable.ssl.certificate.verification",
    "ssl.endpoint.identification.algorithm",
];

/// Settings of librdkafka that have a section of their own. They may be given for what that section does not know, such
/// as Kerberos, but not beside it.
const SECURITY_PROPERTIES: &[&str] =
    &["security.protocol", "sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password"];

impl KafkaConfig {
    /// The group that reads bars: another than that of documents, so that neither's partitions move for the other.
    #[must_use]
    pub fn bars_group(&self) -> String {
        format!("{}-bars", self.group)
    }

    /// Notes what is out of range.
    pub fn validate(&self, problems: &mut Problems) {
        let address = |broker: &String| {
            broker.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        let valid = !self.brokers.is_empty() && self.brokers.iter().all(address);
        problems.require(valid, "brokers", self.brokers.join(", "), "a list of host:port, at least one");
        problems.require(!self.group.trim().is_empty(), "group", &self.group, "a name");
        self.validate_plaintext(problems);
        problems.range("start_timeout_seconds", self.start_timeout_seconds, 0, 86_400);
        for (key, name) in
            [("group_instance_id", &self.group_instance_id), ("transactional_id", &self.transactional_id)]
        {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            let valid = name.len() <= 249 && name.bytes().all(legal);
            problems.require(valid, key, name, "letters, digits, `.`, `_` and `-`, at most 249, or nothing");
        }
        problems.range("transaction_timeout_ms", self.transaction_timeout_ms, 1_000, 900_000);
        problems.range("session_timeout_ms", self.session_timeout_ms, 1_000, 600_000);
        problems.range("max_poll_interval_ms", self.max_poll_interval_ms, 1_000, 86_400_000);
        problems.require(
            self.max_poll_interval_ms >= self.session_timeout_ms,
            "max_poll_interval_ms",
            self.max_poll_interval_ms,
            "at least session_timeout_ms",
        );
        problems.range("prefetch_records", self.prefetch_records, 1, 1_000_000);
        problems.range("prefetch_kbytes", self.prefetch_kbytes, 64, 2_097_151);
        problems.range("delivery_timeout_ms", self.delivery_timeout_ms, 100, 3_600_000);
        problems.range("linger_ms", self.linger_ms, 0, 10_000);
        problems.require(
            self.linger_ms < self.delivery_timeout_ms,
            "linger_ms",
            self.linger_ms,
            "less than delivery_timeout_ms",
        );
        problems.range("request_timeout_ms", self.request_timeout_ms, 100, 600_000);
        let replicas = self.replication == -1 || (1..=100).contains(&self.replication);
        problems.require(replicas, "replication", self.replication, "-1, or 1 to 100");
        problems.section("topics", |problems| self.topics.validate(problems));
        problems.section("tls", |problems| self.tls.validate(problems));
        problems.section("sasl", |problems| self.sasl.validate(problems));
        let sections = self.tls.enabled || self.sasl.mechanism != SaslMechanism::None;
        problems.section("properties", |problems| {
            for name in self.properties.0.keys() {
                let own = OWN_PROPERTIES.contains(&name.as_str());
                problems.require(!own, name, "(hidden)", "nothing: the daemon sets this one itself");
                let twice = sections && SECURITY_PROPERTIES.contains(&name.as_str());
                problems.require(!twice, name, "(hidden)", "nothing beside kafka.tls and kafka.sasl");
            }
        });
    }

    fn validate_plaintext(&self, problems: &mut Problems) {
        if self.allow_plaintext || !self.security_protocol().ends_with("PLAINTEXT") {
            return;
        }
        let host =
            |broker: &'_ String| broker.rsplit_once(':').map_or_else(|| broker.clone(), |(host, _)| host.to_owned());
        if let Some(stranger) = self.brokers.iter().find(|broker| !is_private(&host(broker))) {
            problems.require(
                false,
                "brokers",
                stranger,
                "kafka.tls.enabled = true for another machine, or kafka.allow_plaintext = true: documents and passwords \
                 would cross the network readable",
            );
        }
    }

    /// The protocol, as Kafka calls it: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
    #[must_use]
    pub fn security_protocol(&self) -> String {
        match (self.tls.enabled, self.sasl.mechanism.as_str()) {
            (true, None) => "SSL".to_owned(),
            (true, Some(_)) => "SASL_SSL".to_owned(),
            (false, Some(_)) => "SASL_PLAINTEXT".to_owned(),
            (false, None) => {
                let given = self.properties.0.get("security.protocol");
                given.map_or_else(|| "PLAINTEXT".to_owned(), |protocol| protocol.to_uppercase())
            }
        }
    }
}

/// Names of the topics, and their partitions where they are created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TopicsConfig {
    /// Documents come in here.
    pub documents: String,
    /// Market data comes in here.
    pub bars: String,
    /// Analyses of documents go out here.
    pub analyses: String,
    /// Sentiment per symbol goes out here.
    pub signals: String,
    /// Backtest results go out here.
    pub backtests: String,
    /// Alerts go out here.
    pub alerts: String,
    /// What could not be processed goes here, byte for byte.
    pub dead_letters: String,
    /// Partitions of each topic that is created, 1 to 1,000. An existing topic keeps its own. Default 1: one daemon reads
    /// them all anyway, and within one partition the order, and so which of two copies is the first, is the same at every
    /// replay. Several daemons need several partitions.
    pub partitions: i32,
}

impl Default for TopicsConfig {
    fn default() -> Self {
        Self {
            documents: "documents".to_owned(),
            bars: "bars".to_owned(),
            analyses: "analyses".to_owned(),
            signals: "signals".to_owned(),
            backtests: "backtests".to_owned(),
            alerts: "alerts".to_owned(),
            dead_letters: "dead-letters".to_owned(),
            partitions: 1,
        }
    }
}

impl TopicsConfig {
    fn names(&self) -> [(&'static str, &String); 7] {
        [
            ("documents", &self.documents),
            ("bars", &self.bars),
            ("analyses", &self.analyses),
            ("signals", &self.signals),
            ("backtests", &self.backtests),
            ("alerts", &self.alerts),
            ("dead_letters", &self.dead_letters),
        ]
    }

    /// All topics with their partitions, as `Log::ensure_topics` takes them.
    #[must_use]
    pub fn all(&self) -> Vec<(String, i32)> {
        self.names().map(|(_, name)| (name.clone(), self.partitions)).to_vec()
    }

    /// The topics that clients may write to.
    #[must_use]
    pub fn inputs(&self) -> Vec<(String, i32)> {
        [&self.documents, &self.bars].map(|name| (name.clone(), self.partitions)).to_vec()
    }

    /// Notes what is out of range.
    pub fn validate(&self, problems: &mut Problems) {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let names = self.names();
        for (index, (key, name)) in names.iter().enumerate() {
            let valid = !name.is_empty()
                && name.len() <= 249
                && name.bytes().all(legal)
                && ![".", ".."].contains(&name.as_str());
            problems.require(valid, key, name, "letters, digits, `.`, `_` and `-`, at most 249");
            let taken = names[..index].iter().any(|(_, earlier)| earlier == name);
            problems.require(!taken, key, name, "a name that no other topic has");
        }
        problems.range("partitions", self.partitions, 1, 1_000);
    }
}

/// Free settings. Printed without values, since passwords are among them.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Properties(pub BTreeMap<String, String>);

/// Stands for every value in what is printed.
const HIDDEN: &str = "(hidden)";

impl fmt::Debug for Properties {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.0.keys().map(|name| (name, HIDDEN))).finish()
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.keys().map(|name| (name, HIDDEN)))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::config::problem::keys_of;

    fn problems(toml: &str) -> Vec<String> {
        let config: KafkaConfig = toml::from_str(toml).unwrap();
        keys_of(|problems| config.validate(problems))
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(problems(""), Vec::<String>::new());
    }

    #[test]
    fn wrong_settings_are_named_by_their_key() {
        assert_eq!(problems("brokers = [\"nowhere\"]"), ["brokers"]);
        assert_eq!(problems("[topics]\nbars = \"documents\""), ["topics.bars"]);
        assert_eq!(problems("[topics]\nalerts = \"a b\""), ["topics.alerts"]);
        assert_eq!(problems("[properties]\n\"enable.auto.commit\" = \"true\""), ["properties.enable.auto.commit"]);
    }

    #[test]
    fn plaintext_to_another_machine_needs_permission() {
        let keys = |brokers: &str, rest: &str| problems(&format!("brokers = [\"{brokers}\"]\n{rest}"));
        assert_eq!(keys("kafka.example.com:9092", ""), ["brokers"]);
        assert_eq!(keys("10.0.0.7:9092", ""), ["brokers"]);
        assert_eq!(
            keys("kafka.example.com:9092", "[properties]\n\"security.protocol\" = \"sasl_plaintext\""),
            ["brokers"]
        );
        for (brokers, rest) in [
            ("kafka.example.com:9092", "allow_plaintext = true"),
            ("kafka.example.com:9092", "[tls]\nenabled = true"),
            ("kafka.example.com:9092", "[properties]\n\"security.protocol\" = \"ssl\""),
            ("[::1]:9092", ""),
            ("localhost:9092", ""),
            ("kafka-1:9092", ""),
        ] {
            assert_eq!(keys(brokers, rest), Vec::<String>::new(), "{brokers} {rest}");
        }
    }

    #[test]
    fn security_is_set_in_one_place() {
        let keys = problems("[tls]\nenabled = true\n[properties]\n\"security.protocol\" = \"SSL\"");
        assert_eq!(keys, ["properties.security.protocol"]);
        assert_eq!(problems("[properties]\n\"ssl.ca.location\" = \"x\""), ["properties.ssl.ca.location"]);
        assert_eq!(problems("group_instance_id = \"a b\""), ["group_instance_id"]);
    }

    #[test]
    fn values_of_properties_are_never_printed() {
        let config: KafkaConfig = toml::from_str("[properties]\n\"sasl.password\" = \"geheim\"").unwrap();
        assert!(!format!("{config:?}").contains("geheim"));
        assert!(!toml::to_string(&config).unwrap().contains("geheim"));
        assert_eq!(config.properties.0["sasl.password"], "geheim");
    }
}
