//! librdkafka's settings, from ours. Those that our promises depend on come last, so that nothing overrides them.

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::config::kafka::KafkaConfig;

/// What a message has besides key, value and headers, generously.
pub(super) const OVERHEAD_BYTES: usize = 64 << 10;
/// How often librdkafka tells its figures, from which lag is taken.
const STATISTICS_INTERVAL_MS: &str = "1000";

/// For every client.
pub(super) fn base(config: &KafkaConfig) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set_log_level(RDKafkaLogLevel::Info);
    settings.set("socket.keepalive.enable", "true");
    settings.set("socket.timeout.ms", config.request_timeout_ms.max(1_000).to_string());
    settings.set("reconnect.backoff.max.ms", "5000");
    settings.set("client.id", &config.client_id);
    for (name, value) in &config.properties.0 {
        settings.set(name, value);
    }
    settings.set("bootstrap.servers", config.brokers.join(","));
    secure(config, &mut settings);
    settings
}

/// Encryption and credentials.
fn secure(config: &KafkaConfig, settings: &mut ClientConfig) {
    settings.set("security.protocol", config.security_protocol().to_lowercase());
    let tls = &config.tls;
    if tls.enabled {
        settings.set("enable.ssl.certificate.verification", "true");
        settings.set("ssl.endpoint.identification.algorithm", "https");
        let files = [
            ("ssl.ca.location", &tls.ca_file),
            ("ssl.certificate.location", &tls.certificate_file),
            ("ssl.key.location", &tls.key_file),
        ];
        for (name, file) in files {
            if let Some(file) = file {
                settings.set(name, file.to_string_lossy());
            }
        }
        if let Some(password) = &tls.key_password {
            settings.set("ssl.key.password", password.expose());
        }
    }
    if let Some(mechanism) = config.sasl.mechanism.as_str() {
        settings.set("sasl.mechanism", mechanism);
        settings.set("sasl.username", &config.sasl.username);
        settings.set("sasl.password", config.sasl.password.as_ref().map_or("", |password| password.expose()));
    }
}

/// For the producer.
pub(super) fn producer(config: &KafkaConfig, max_record_bytes: usize) -> ClientConfig {
    let mut settings = base(config);
    settings.set("enable.idempotence", "true");
    settings.set("acks", "all");
    settings.set("message.timeout.ms", config.delivery_timeout_ms.to_string());
    settings.set("linger.ms", config.linger_ms.to_string());
    settings.set("compression.codec", config.compression.as_str());
    settings.set("message.max.bytes", (max_record_bytes + OVERHEAD_BYTES).to_string());
    settings.set("queue.buffering.max.kbytes", "131072");
    // The same partition for a key as Java's producers and the embedded log choose.
    settings.set("partitioner", "murmur2_random");
    settings
}

/// For a producer of transactions. A transaction must not outlive the brokers' patience.
pub(super) fn transactional(config: &KafkaConfig, max_record_bytes: usize) -> ClientConfig {
    let patience = config.transaction_timeout_ms;
    let mut settings = producer(config, max_record_bytes);
    settings.set("transactional.id", &config.transactional_id);
    settings.set("transaction.timeout.ms", patience.to_string());
    settings.set("message.timeout.ms", config.delivery_timeout_ms.min(patience).to_string());
    settings.set("socket.timeout.ms", config.request_timeout_ms.max(1_000).min(patience).to_string());
    // waits for nobody: all records are there when it begins
    settings.set("linger.ms", "0");
    settings
}

/// For a member of a group.
pub(super) fn consumer(config: &KafkaConfig, group: &str) -> ClientConfig {
    let mut settings = base(config);
    settings.set("statistics.interval.ms", STATISTICS_INTERVAL_MS);
    settings.set("group.id", group);
    settings.set("enable.auto.commit", "false");
    settings.set("enable.auto.offset.store", "false");
    settings.set("enable.partition.eof", "false");
    settings.set("isolation.level", "read_committed");
    if !config.group_instance_id.is_empty() {
        settings.set("group.instance.id", &config.group_instance_id);
    }
    settings.set("auto.offset.reset", "earliest");
    settings.set("partition.assignment.strategy", config.assignment.as_str());
    settings.set("session.timeout.ms", config.session_timeout_ms.to_string());
    settings.set("heartbeat.interval.ms", (config.session_timeout_ms / 10).clamp(100, 3_000).to_string());
    settings.set("max.poll.interval.ms", config.max_poll_interval_ms.to_string());
    settings.set("queued.min.messages", config.prefetch_records.to_string());
    settings.set("queued.max.messages.kbytes", config.prefetch_kbytes.to_string());
    settings
}

/// For asking about a group without joining it.
pub(super) fn inquirer(config: &KafkaConfig, group: &str) -> ClientConfig {
    let mut settings = base(config);
    settings.set("group.id", group);
    settings.set("enable.auto.commit", "false");
    settings
}
