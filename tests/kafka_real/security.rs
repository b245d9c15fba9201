//! TLS, certificates and passwords.

use std::sync::OnceLock;

use tidemill::config::kafka::KafkaConfig;
use tidemill::config::kafka::security::{KafkaSaslConfig, KafkaTlsConfig, SaslMechanism};
use tidemill::config::log::LogConfig;
use tidemill::config::secret::Secret;
use tidemill::kafka::client::KafkaLog;
use tidemill::kafka::log::{Log, LogError};

use crate::client::{config, numbered, open, read, unique};
use crate::kafka::{Kafka, Kind, PASSWORD, USER};
use crate::process::Daemon;

/// One secured broker for all tests here.
fn secured() -> Result<&'static Kafka, String> {
    static SECURED: OnceLock<Result<Kafka, String>> = OnceLock::new();
    SECURED.get_or_init(|| Kafka::own(Kind::Secured)).as_ref().map_err(Clone::clone)
}

fn tls(broker: &Kafka) -> KafkaTlsConfig {
    KafkaTlsConfig { enabled: true, ca_file: Some(broker.certificates().ca.clone()), ..KafkaTlsConfig::default() }
}

fn sasl(mechanism: SaslMechanism, password: &str) -> KafkaSaslConfig {
    let password = Some(Secret::new(password));
    KafkaSaslConfig { mechanism, username: USER.to_owned(), password, password_file: None }
}

/// Writes and reads one record over this connection.
async fn works(settings: &KafkaConfig) {
    let topic = unique("documents");
    let log = open(settings, &[(topic.clone(), 1)]).await;
    log.append(numbered(&topic, 0..1)).await.unwrap();
    let mut consumer = log.consumer(&unique("group"), &[topic]).unwrap();
    tokio::task::block_in_place(|| read(&mut *consumer, 1));
}

async fn refusal(settings: &KafkaConfig) -> LogError {
    let settings = KafkaConfig { request_timeout_ms: 2_000, ..settings.clone() };
    let log = KafkaLog::new(&settings, &LogConfig::default()).unwrap();
    log.ensure_topics(&[(unique("documents"), 1)]).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_are_known_by_their_certificate_and_clients_by_theirs() {
    let broker = given!(secured());
    works(&KafkaConfig { tls: tls(broker), ..config(&broker.tls()) }).await;
    let certificates = broker.certificates();
    let own = KafkaTlsConfig {
        certificate_file: Some(certificates.client.clone()),
        key_file: Some(certificates.client_key.clone()),
        ..tls(broker)
    };
    works(&KafkaConfig { tls: own, ..config(&broker.mutual_tls()) }).await;
    // without a certificate of ours, with an authority that signed nothing here, under a name the certificate has not
    let error = refusal(&KafkaConfig { tls: tls(broker), ..config(&broker.mutual_tls()) }).await;
    assert!(error.is_retriable(), "{error}");
    let stranger = KafkaTlsConfig { ca_file: Some(certificates.stranger_ca.clone()), ..tls(broker) };
    let error = refusal(&KafkaConfig { tls: stranger, ..config(&broker.tls()) }).await.to_string();
    assert!(error.contains("certificate verify failed"), "{error}");
    let other_name = broker.tls().replace("localhost", "127.0.0.1");
    let error = refusal(&KafkaConfig { tls: tls(broker), ..config(&other_name) }).await.to_string();
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_prove_themselves_by_plain_and_scram_and_a_wrong_password_is_final_and_said() {
    let broker = given!(secured());
    for mechanism in [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512] {
        let settings =
            |password| KafkaConfig { tls: tls(broker), sasl: sasl(mechanism, password), ..config(&broker.sasl_tls()) };
        works(&settings(PASSWORD)).await;
        let error = refusal(&settings("wrong")).await;
        let text = error.to_string();
        assert!(
            matches!(error, LogError::Failed(_)) && text.contains("refuse the credentials"),
            "{mechanism:?}: {text}"
        );
        assert!(!text.contains("wrong"), "{text}");
    }
    let without_tls = KafkaConfig { sasl: sasl(SaslMechanism::ScramSha512, PASSWORD), ..config(&broker.sasl_plain()) };
    works(&without_tls).await;
}

#[test]
fn a_daemon_with_a_wrong_password_says_so_and_ends_as_misconfigured() {
    let broker = given!(secured());
    let directory = tempfile::tempdir().unwrap();
    let password = directory.path().join("password");
    std::fs::write(&password, "not it\n").unwrap();
    let settings = [
        "log.backend=kafka".to_owned(),
        format!("kafka.brokers={}", broker.sasl_tls()),
        "kafka.tls.enabled=true".to_owned(),
        format!("kafka.tls.ca_file={}", broker.certificates().ca.display()),
        "kafka.sasl.mechanism=scram-sha-512".to_owned(),
        format!("kafka.sasl.username={USER}"),
        format!("kafka.sasl.password_file={}", password.display()),
        "kafka.request_timeout_ms=2000".to_owned(),
        "encoder.kind=hashing".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let (status, log) = Daemon::fails_to_start(directory.path(), &settings);
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(log.contains("refuse the credentials of kafka.sasl") && !log.contains("not it"), "{log}");
}
