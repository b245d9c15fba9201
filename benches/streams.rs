//! Kafka to fingerprint to PostgreSQL, beside Bytewax and Quix Streams doing the same on the same broker and server.
//!
//! `cargo bench --bench streams`; the peers run where `TIDEMILL_BENCH_PEERS` names a Python with `bytewax`, `quixstreams`,
//! `datasketch` and `psycopg` (`make bench-peers` makes one). `TIDEMILL_BENCH_DOCUMENTS` (default 40,000) says how many
//! documents, `TIDEMILL_BENCH_DAEMONS` (default 1) how many daemons share the partitions.
//!
//! A contender is measured from its first row to its last: wall time, and processor time of its own processes without
//! broker and server. All write one row a document with its verdict and commit after it is durable.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

#[path = "../tests/daemon/corpus.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod corpus;
#[path = "../tests/support/services/kafka.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod kafka;
#[path = "../tests/support/services/postgres.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod postgres;
#[path = "../tests/support/services.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod services;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

const TOPIC: &str = "documents";
const PARTITIONS: i32 = 4;
/// A contender without a new row for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// Watches rows arrive until all are there.
fn measure(running: &Running, database: &str, count_sql: &str, expected: u64) -> Figures {
    let count = || -> u64 {
        let rows = postgres::try_sql(database, count_sql).unwrap_or_default();
        rows.first().and_then(|row| row[0].parse().ok()).unwrap_or(0)
    };
    let mut first: Option<(u64, Instant, f64)> = None;
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        let rows = count();
        let (now, processor) = (Instant::now(), running.processor_seconds());
        if rows > last {
            (last, moved) = (rows, now);
        }
        if rows > 0 && first.is_none() {
            first = Some((rows, now, processor));
        }
        if rows >= expected
            && let Some((before, since, used)) = first
        {
            return Figures {
                rows: rows - before,
                wall_seconds: now.duration_since(since).as_secs_f64(),
                processor_seconds: processor - used,
            };
        }
        assert!(moved.elapsed() < PATIENCE, "{rows} of {expected} rows, and none for {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn produce(brokers: &str, count: usize) -> u64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("compression.type", "zstd").set("linger.ms", "20");
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(1));
    let made = admin.create_topics([&topic], &AdminOptions::new());
    tokio::runtime::Runtime::new().unwrap().block_on(made).unwrap();
    let producer: ThreadedProducer<_> = config.create().unwrap();
    let mut ids = std::collections::HashSet::new();
    for sample in corpus::corpus(count, 1) {
        if sample.expected == corpus::Expected::Dead {
            continue;
        }
        let body = sample.body.to_string();
        let mut record = BaseRecord::to(TOPIC).key(&sample.id).payload(&body);
        while let Err((error, again)) = producer.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(rdkafka::types::RDKafkaErrorCode::QueueFull));
            std::thread::sleep(Duration::from_millis(5));
            record = again;
        }
        ids.insert(sample.id.clone());
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    ids.len() as u64
}

fn daemon_binary() -> PathBuf {
    setting("TIDEMILL_TEST_BINARY").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tidemill")), PathBuf::from)
}

fn daemons(number: usize, brokers: &str, database: &str, directory: &Path) -> Running {
    let start = |index: usize| {
        let data = directory.join(format!("daemon-{index}"));
        std::fs::create_dir_all(&data).unwrap();
        let log = std::fs::File::create(data.join("daemon.log")).unwrap();
        let mut command = Command::new(daemon_binary());
        command.arg("run");
        for setting in [
            "http.listen=127.0.0.1:0",
            "kafka_listener.enabled=false",
            "log.backend=kafka",
            &format!("kafka.brokers=[\"{brokers}\"]"),
            &format!("kafka.topics.partitions={PARTITIONS}"),
            "store.backend=postgres",
            "encoder.kind=none",
            "logging.level=warn",
        ] {
            command.args(["--set", setting]);
        }
        for setting in setting("TIDEMILL_BENCH_SET").iter().flat_map(|text| text.split(' ').map(str::to_owned)).collect::<Vec<_>>() {
            command.args(["--set", &setting]);
        }
        command.env("TIDEMILL__POSTGRES__URL", database).env("TIDEMILL_DATA_DIR", &data);
        command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
    };
    Running((0..number).map(start).collect())
}

fn peer(python: &str, arguments: &[&str], brokers: &str, database: &str, copies: &str) -> Running {
    let streams = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/streams");
    let child = Command::new(python)
        .args(arguments)
        .current_dir(streams)
        .env("TIDEMILL_BENCH_DSN", database)
        .env("TIDEMILL_BENCH_BROKERS", brokers)
        .env("TIDEMILL_BENCH_TOPIC", TOPIC)
        .env("TIDEMILL_BENCH_COPIES", copies)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Running(vec![child])
}

fn main() {
    let count = setting("TIDEMILL_BENCH_DOCUMENTS").map_or(40_000, |text| text.parse().unwrap());
    let number = setting("TIDEMILL_BENCH_DAEMONS").map_or(1, |text| text.parse().unwrap());
    let broker = kafka::Kafka::shared().unwrap();
    let fresh = || postgres::fresh_database().unwrap();
    let expected = produce(broker.brokers(), count);
    println!("{expected} documents in {PARTITIONS} partitions");
    println!("{:<44} {:>12} {:>14} {:>10}", "", "documents/s", "per core-s", "ratio");
    let directory = tempfile::tempdir().unwrap();
    let database = fresh();
    let own = measure(
        &daemons(number, broker.brokers(), &database, directory.path()),
        &database,
        "SELECT count(*) FROM analytics.analyses",
        expected,
    );
    let print = |name: &str, figures: &Figures| {
        let ratio = own.per_processor_second() / figures.per_processor_second();
        let (wall, core) = (figures.per_wall_second(), figures.per_processor_second());
        println!("{name:<44} {wall:>12.0} {core:>14.0} {ratio:>10.2}");
    };
    print(&format!("tidemill, {number} daemon(s), exact and MinHash"), &own);
    let Some(python) = setting("TIDEMILL_BENCH_PEERS") else { return };
    for copies in ["near", "exact"] {
        for (name, arguments) in
            [("bytewax", &["-m", "bytewax.run", "bytewax_flow:flow"][..]), ("quix streams", &["quix_app.py"])]
        {
            let database = fresh();
            let running = peer(&python, arguments, broker.brokers(), &database, copies);
            let figures = measure(&running, &database, "SELECT count(*) FROM documents", expected);
            print(&format!("{name}, {copies} copies"), &figures);
        }
    }
}
