//! Apache Kafka for tests: one `KRaft` node, controller and broker in one process, started from a copy of the directory that
//! `deploy/testenv/kafka.sh` formatted.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::services::{self, Instance};

/// User of every SASL listener.
pub const USER: &str = "tidemill";
/// Its password: a space in it, because real ones have worse.
pub const PASSWORD: &str = "correct horse";

/// What the broker is to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One listener, plain.
    Plain,
    /// Beside the plain listener one with TLS, one with TLS that asks for a client's certificate, and one each with SASL
    /// over TLS and without.
    Secured,
}

/// A certificate authority and what it signed, as PEM files.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// A client's certificate and key.
    pub client: PathBuf,
    pub client_key: PathBuf,
    /// An authority that signed nothing of these.
    pub stranger_ca: PathBuf,
}

/// Ports of the listeners.
#[derive(Debug, Clone, Copy)]
struct Ports {
    plain: u16,
    controller: u16,
    tls: u16,
    mutual: u16,
    sasl_tls: u16,
    sasl_plain: u16,
}

/// A broker. Killed when dropped.
pub struct Kafka {
    /// `None` for the user's own.
    instance: Option<Instance>,
    ports: Ports,
    brokers: String,
    certificates: Option<Certificates>,
}

/// Why there is no broker, or the files to start one.
fn installed() -> Result<PathBuf, String> {
    let home = services::cache("kafka");
    if !home.join("ready").is_file() {
        return Err(format!("{} is not there; run deploy/testenv/kafka.sh", home.display()));
    }
    services::program("java", &[]).map(|_| home).ok_or_else(|| "java is not on PATH".to_owned())
}

impl Kafka {
    /// A broker that the tests of this process share; topics and groups need names of their own. The user's own, if
    /// `TIDEMILL_TEST_KAFKA` names one.
    pub fn shared() -> Result<&'static Self, String> {
        static SHARED: OnceLock<Result<Kafka, String>> = OnceLock::new();
        let start = || match services::users_own("kafka") {
            Some(brokers) => Ok(Self { instance: None, ports: Ports::none(), brokers, certificates: None }),
            None => Self::start(Kind::Plain),
        };
        SHARED.get_or_init(start).as_ref().map_err(Clone::clone)
    }

    /// A broker of one's own, to be killed and paused.
    pub fn own(kind: Kind) -> Result<Self, String> {
        match services::users_own("kafka") {
            Some(_) => Err("TIDEMILL_TEST_KAFKA names a server that must not be stopped".to_owned()),
            None => Self::start(kind),
        }
    }

    fn start(kind: Kind) -> Result<Self, String> {
        let mut kafka = Self::stopped(kind)?;
        kafka.restart()?;
        Ok(kafka)
    }

    /// As [`Kafka::own`], not started yet.
    pub fn stopped(kind: Kind) -> Result<Self, String> {
        let home = installed()?;
        let ports = Ports::fresh();
        let prepare = |directory: &Path| prepare(directory, &home, kind, &ports);
        let instance = {
            let home = home.clone();
            Instance::new("kafka", prepare, move |directory| command(directory, &home))?
        };
        let certificates = (kind == Kind::Secured).then(|| Certificates::at(instance.directory()));
        let brokers = format!("127.0.0.1:{}", ports.plain);
        Ok(Self { instance: Some(instance), ports, brokers, certificates })
    }

    /// Address of the plain listener.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Address of the listener with TLS.
    pub fn tls(&self) -> String {
        format!("localhost:{}", self.ports.tls)
    }

    /// Address of the listener with TLS that asks for a client's certificate.
    pub fn mutual_tls(&self) -> String {
        format!("localhost:{}", self.ports.mutual)
    }

    /// Address of the listener with SASL over TLS.
    pub fn sasl_tls(&self) -> String {
        format!("localhost:{}", self.ports.sasl_tls)
    }

    /// Address of the listener with SASL without TLS.
    pub fn sasl_plain(&self) -> String {
        format!("127.0.0.1:{}", self.ports.sasl_plain)
    }

    /// The certificates of a secured broker.
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("the broker is secured")
    }

    fn instance(&mut self) -> &mut Instance {
        self.instance.as_mut().expect("the broker is the test's own")
    }

    /// Where its logs are, before it was ever started.
    pub fn data(&mut self) -> PathBuf {
        self.instance().directory().join("data")
    }

    /// What it wrote.
    pub fn output(&mut self) -> String {
        std::fs::read_to_string(self.instance().directory().join("output.log")).unwrap_or_default()
    }

    /// Starts it, or starts it again on the same ports and data; returns when it answers.
    pub fn restart(&mut self) -> Result<(), String> {
        self.launch()?;
        self.wait_ready()
    }

    /// Starts the process and returns at once.
    pub fn launch(&mut self) -> Result<(), String> {
        self.instance().start()
    }

    /// After [`Kafka::launch`].
    pub fn wait_ready(&mut self) -> Result<(), String> {
        let (port, brokers) = (self.ports.plain, self.brokers.clone());
        self.instance().wait_ready(|| {
            services::answers(port)?;
            let probe: BaseConsumer =
                ClientConfig::new().set("bootstrap.servers", &brokers).create().map_err(|error| error.to_string())?;
            let metadata = probe.fetch_metadata(None, Duration::from_secs(2)).map_err(|error| error.to_string())?;
            if metadata.brokers().is_empty() { Err("no broker is registered".to_owned()) } else { Ok(()) }
        })
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.instance().kill();
    }

    /// Stops its clock: connections stay open and nothing answers.
    pub fn pause(&mut self) {
        self.instance().pause();
    }

    /// After [`Kafka::pause`].
    pub fn resume(&mut self) {
        self.instance().resume();
    }
}

impl Ports {
    fn fresh() -> Self {
        Self {
            plain: services::free_port(),
            controller: services::free_port(),
            tls: services::free_port(),
            mutual: services::free_port(),
            sasl_tls: services::free_port(),
            sasl_plain: services::free_port(),
        }
    }

    fn none() -> Self {
        Self { plain: 0, controller: 0, tls: 0, mutual: 0, sasl_tls: 0, sasl_plain: 0 }
    }
}

fn command(directory: &Path, home: &Path) -> Command {
    let class_path = std::fs::read_to_string(home.join("classpath")).unwrap_or_default();
    let mut command = Command::new("java");
    command.args(["-Xms64m", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"]);
    let archive = home.join("classes.jsa");
    if archive.is_file() {
        command.arg(format!("-XX:SharedArchiveFile={}", archive.display()));
    }
    command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
    command.args(["-cp", class_path.trim(), "kafka.Kafka"]).arg(directory.join("server.properties"));
    command.current_dir(directory);
    command
}

fn prepare(directory: &Path, home: &Path, kind: Kind, ports: &Ports) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    copy(&home.join("formatted"), &directory.join("data")).map_err(text)?;
    if kind == Kind::Secured {
        Certificates::write(directory)?;
    }
    std::fs::write(directory.join("server.properties"), properties(directory, kind, ports)).map_err(text)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn properties(directory: &Path, kind: Kind, ports: &Ports) -> String {
    let Ports { plain, controller, tls, mutual, sasl_tls, sasl_plain } = ports;
    let mut listeners = format!("PLAINTEXT://127.0.0.1:{plain}");
    if kind == Kind::Secured {
        let _ = write!(
            listeners,
            ",TLS://localhost:{tls},MUTUAL://localhost:{mutual},SASLTLS://localhost:{sasl_tls},\
             SASLPLAIN://127.0.0.1:{sasl_plain}"
        );
    }
    let mut properties = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         listeners={listeners},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners={listeners}\n\
         controller.listener.names=CONTROLLER\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         inter.broker.listener.name=PLAINTEXT\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,TLS:SSL,MUTUAL:SSL,SASLTLS:SASL_SSL,\
         SASLPLAIN:SASL_PLAINTEXT\n\
         log.dirs={}\n\
         auto.create.topics.enable=false\n\
         num.partitions=3\n\
         num.network.threads=2\n\
         num.io.threads=2\n\
         background.threads=2\n\
         log.cleaner.enable=false\n\
         offsets.topic.num.partitions=1\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.num.partitions=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.abort.timed.out.transaction.cleanup.interval.ms=500\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         group.min.session.timeout.ms=1000\n\
         broker.heartbeat.interval.ms=500\n\
         broker.session.timeout.ms=3000\n",
        directory.join("data").display()
    );
    if kind == Kind::Secured {
        let jaas = |module: &str, options: &str| {
            format!("org.apache.kafka.common.security.{module} required username=\"{USER}\" {options};")
        };
        let plain = jaas("plain.PlainLoginModule", &format!("password=\"{PASSWORD}\" user_{USER}=\"{PASSWORD}\""));
        let scram = jaas("scram.ScramLoginModule", &format!("password=\"{PASSWORD}\""));
        for listener in ["sasltls", "saslplain"] {
            let name = format!("listener.name.{listener}");
            let _ = write!(
                properties,
                "{name}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
                 {name}.plain.sasl.jaas.config={plain}\n\
                 {name}.scram-sha-256.sasl.jaas.config={scram}\n\
                 {name}.scram-sha-512.sasl.jaas.config={scram}\n"
            );
        }
        let _ = write!(
            properties,
            "ssl.keystore.type=PEM\n\
             ssl.keystore.location={}\n\
             ssl.truststore.type=PEM\n\
             ssl.truststore.location={}\n\
             listener.name.mutual.ssl.client.auth=required\n",
            directory.join("server.pem").display(),
            directory.join("ca.pem").display(),
        );
    }
    properties
}

impl Certificates {
    fn at(directory: &Path) -> Self {
        Self {
            ca: directory.join("ca.pem"),
            client: directory.join("client.pem"),
            client_key: directory.join("client.key"),
            stranger_ca: directory.join("stranger.pem"),
        }
    }

    fn write(directory: &Path) -> Result<(), String> {
        let failed = |error: rcgen::Error| error.to_string();
        let write =
            |name: &str, text: String| std::fs::write(directory.join(name), text).map_err(|error| error.to_string());
        let authority = |name: &str| -> Result<(String, Issuer<'static, KeyPair>), rcgen::Error> {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(Vec::new())?;
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            let certificate = params.self_signed(&key)?;
            Ok((certificate.pem(), Issuer::new(params, key)))
        };
        let signed = |name: &str, issuer: &Issuer<'static, KeyPair>| -> Result<(String, String), rcgen::Error> {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
            params.distinguished_name.push(DnType::CommonName, name);
            Ok((params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
        };
        let (ca, issuer) = authority("tidemill tests").map_err(failed)?;
        let (stranger, _) = authority("a stranger").map_err(failed)?;
        let (server, server_key) = signed("broker", &issuer).map_err(failed)?;
        let (client, client_key) = signed("client", &issuer).map_err(failed)?;
        write("server.pem", format!("{server_key}{server}{ca}"))?;
        write("ca.pem", ca)?;
        write("client.pem", client)?;
        write("client.key", client_key)?;
        write("stranger.pem", stranger)
    }
}
