//! Kafka to fingerprint to PostgreSQL, beside Bytewax and Quix Streams doing the same on the same broker and server.
//!
//! `cargo bench --bench streams`; the peers run where `TIDEMILL_BENCH_PEERS` names a Python with `bytewax`, `quixstreams`,
//! `datasketch` and `psycopg` (`make bench-peers` makes one). `TIDEMILL_BENCH_DOCUMENTS` (default 40,000) says how many
//! documents, `TIDEMILL_BENCH_DAEMONS` (default 1) how many daemons share the partitions.
//!
//! Each contender has a topic and a database of its own, starts, works off a few documents, and is measured on the others:
//! wall time, and processor time of its own processes, without broker and server. All write one row a document with its
//! verdict and commit after it is durable. Daemons run with `config/throughput.toml` and are told more by
//! `TIDEMILL_BENCH_SET` (`section.key=value`, by spaces).
#![allow(clippy::disallowed_methods, clippy::expect_used, reason = "a benchmark without a runtime")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

#[path = "../tests/daemon/corpus.rs"]
mod corpus;
#[path = "../tests/support/services/kafka.rs"]
mod kafka;
#[path = "../tests/support/services/postgres.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod postgres;
#[path = "../tests/support/services.rs"]
mod services;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

const PARTITIONS: i32 = 4;
/// Documents that a contender works off before it is measured.
const WARM_UP: usize = 500;
/// A contender without a new row for so long has failed.
const PATIENCE: Duration = Duration::from_mins(1);

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What one contender took.
struct Figures {
    rows: u64,
    wall_seconds: f64,
    processor_seconds: f64,
}

impl Figures {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn per_wall_second(&self) -> f64 {
        self.rows as f64 / self.wall_seconds
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn per_processor_second(&self) -> f64 {
        self.rows as f64 / self.processor_seconds
    }
}

/// Processes that end with their measurement.
struct Running(Vec<Child>);

impl Running {
    /// User and system time so far, in seconds, from `/proc`.
    fn processor_seconds(&self) -> f64 {
        let ticks: u64 = self.0.iter().map(|child| ticks_of(child.id())).sum();
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let seconds = ticks as f64 / 100.0;
        seconds
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ticks_of(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// A topic of a contender's own, and the rows it wrote so far.
struct Course<'b> {
    broker: &'b str,
    topic: String,
    database: String,
    count_sql: &'static str,
}

impl Course<'_> {
    fn rows(&self) -> u64 {
        let rows = postgres::try_sql(&self.database, self.count_sql).unwrap_or_default();
        rows.first().and_then(|row| row[0].parse().ok()).unwrap_or(0)
    }

    /// Watches rows arrive until there are so many.
    fn wait_for(&self, expected: u64) {
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            let rows = self.rows();
            if rows >= expected {
                return;
            }
            if rows > last {
                (last, moved) = (rows, Instant::now());
            }
            assert!(moved.elapsed() < PATIENCE, "{rows} of {expected} rows, and none for {} s", PATIENCE.as_secs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets a contender start and work off a few documents, then measures it on the others.
    fn run(&self, samples: &[corpus::Sample], start: impl FnOnce(&Self) -> Running) -> Figures {
        create_topic(self.broker, &self.topic);
        let (first, others) = samples.split_at(WARM_UP);
        produce(self.broker, &self.topic, first);
        let running = start(self);
        self.wait_for(WARM_UP as u64);
        let (since, used) = (Instant::now(), running.processor_seconds());
        produce(self.broker, &self.topic, others);
        self.wait_for(samples.len() as u64);
        Figures {
            rows: others.len() as u64,
            wall_seconds: since.elapsed().as_secs_f64(),
            processor_seconds: running.processor_seconds() - used,
        }
    }
}

fn create_topic(brokers: &str, topic: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let topic = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
    let made = admin.create_topics([&topic], &AdminOptions::new());
    tokio::runtime::Runtime::new().unwrap().block_on(made).unwrap();
}

fn produce(brokers: &str, topic: &str, samples: &[corpus::Sample]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("compression.type", "zstd").set("linger.ms", "20");
    let producer: ThreadedProducer<_> = config.create().unwrap();
    for sample in samples {
        let body = sample.body.to_string();
        let mut record = BaseRecord::to(topic).key(&sample.id).payload(&body);
        while let Err((error, again)) = producer.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(rdkafka::types::RDKafkaErrorCode::QueueFull));
            std::thread::sleep(Duration::from_millis(5));
            record = again;
        }
    }
    producer.flush(Duration::from_mins(1)).unwrap();
}

fn daemon_binary() -> PathBuf {
    setting("TIDEMILL_TEST_BINARY").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tidemill")), PathBuf::from)
}

fn daemons(number: usize, course: &Course<'_>, directory: &Path) -> Running {
    let further = setting("TIDEMILL_BENCH_SET").unwrap_or_default();
    let settings = [
        "http.listen=127.0.0.1:0".to_owned(),
        "log.backend=kafka".to_owned(),
        format!("kafka.brokers=[\"{}\"]", course.broker),
        format!("kafka.topics.documents={}", course.topic),
        format!("kafka.topics.partitions={PARTITIONS}"),
        "kafka.replication=1".to_owned(),
        "store.backend=postgres".to_owned(),
        "encoder.kind=none".to_owned(),
        "logging.level=warn".to_owned(),
    ];
    let settings: Vec<String> = settings.into_iter().chain(further.split_whitespace().map(str::to_owned)).collect();
    let start = |index: usize| {
        let data = directory.join(format!("daemon-{index}"));
        std::fs::create_dir_all(&data).unwrap();
        let log = std::fs::File::create(data.join("daemon.log")).unwrap();
        let mut command = Command::new(daemon_binary());
        command.arg("run").arg("-c").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/throughput.toml"));
        for setting in &settings {
            command.args(["--set", setting]);
        }
        command.env("TIDEMILL__POSTGRES__URL", &course.database).env("TIDEMILL_DATA_DIR", &data);
        command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
    };
    Running((0..number).map(start).collect())
}

fn peer(python: &str, arguments: &[&str], course: &Course<'_>, copies: &str) -> Running {
    let streams = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/streams");
    let child = Command::new(python)
        .args(arguments)
        .current_dir(streams)
        .env("TIDEMILL_BENCH_DSN", &course.database)
        .env("TIDEMILL_BENCH_BROKERS", course.broker)
        .env("TIDEMILL_BENCH_TOPIC", &course.topic)
        .env("TIDEMILL_BENCH_COPIES", copies)
        .env("PYTHONWARNINGS", "ignore")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Running(vec![child])
}

fn main() {
    let count = setting("TIDEMILL_BENCH_DOCUMENTS").map_or(40_000, |text| text.parse().unwrap());
    let number = setting("TIDEMILL_BENCH_DAEMONS").map_or(1, |text| text.parse().unwrap());
    let kafka = kafka::Kafka::shared().unwrap();
    let course = |topic: &str, count_sql| Course {
        broker: kafka.brokers(),
        topic: topic.to_owned(),
        database: postgres::fresh_database().unwrap(),
        count_sql,
    };
    let samples: Vec<corpus::Sample> =
        corpus::corpus(count, 1).into_iter().filter(|sample| sample.expected != corpus::Expected::Dead).collect();
    println!("{} documents in {PARTITIONS} partitions", samples.len());
    println!("{:<44} {:>12} {:>14} {:>10}", "", "documents/s", "per core-s", "ratio");
    let directory = tempfile::tempdir().unwrap();
    let own = course("own", "SELECT count(*) FROM analytics.analyses")
        .run(&samples, |course| daemons(number, course, directory.path()));
    let print = |name: &str, figures: &Figures| {
        let ratio = own.per_processor_second() / figures.per_processor_second();
        let (wall, core) = (figures.per_wall_second(), figures.per_processor_second());
        println!("{name:<44} {wall:>12.0} {core:>14.0} {ratio:>10.2}");
    };
    print(&format!("tidemill, {number} daemon(s), exact and MinHash"), &own);
    let Some(python) = setting("TIDEMILL_BENCH_PEERS") else { return };
    for copies in ["near", "exact"] {
        for (name, arguments) in
            [("bytewax", &["-m", "bytewax.run", "bytewax_flow:flow"][..]), ("quix", &["quix_app.py"])]
        {
            let course = course(&format!("{name}-{copies}"), "SELECT count(*) FROM documents");
            let figures = course.run(&samples, |course| peer(&python, arguments, course, copies));
            print(&format!("{name}, {copies} copies"), &figures);
        }
    }
}
