//! The Kafka listener: with librdkafka as any client would use it, and with raw bytes as nobody should.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::join_all;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::records::{self as wire, Compression, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use tidemill::config::kafka_listener::KafkaListenerConfig;
use tidemill::config::log::LogConfig;
use tidemill::kafka::embedded::EmbeddedLog;
use tidemill::kafka::listener::serve;
use tidemill::kafka::log::{Log, LogConsumer, LogEvent};
use tidemill::messages::record::{Position, Record};
use tokio::sync::oneshot;

const DEADLINE: Duration = Duration::from_secs(30);
const GROUP: &str = "tidemill";

struct Rig {
    log: Arc<EmbeddedLog>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
    _directory: tempfile::TempDir,
}

async fn rig() -> Rig {
    rig_with(LogConfig::default(), KafkaListenerConfig::default()).await
}

async fn rig_with(log: LogConfig, config: KafkaListenerConfig) -> Rig {
    let directory = tempfile::tempdir().unwrap();
    let log = Arc::new(EmbeddedLog::open(&directory.path().join("log.db"), &log).unwrap());
    let topics = vec![("documents".to_owned(), 3), ("bars".to_owned(), 1)];
    log.ensure_topics(&topics).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(serve(listener, Arc::clone(&log) as Arc<dyn Log>, topics, config, stopped));
    Rig { log, address, stop: Some(stop), served, _directory: directory }
}

impl Rig {
    fn producer(&self, settings: &[(&str, &str)]) -> FutureProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address.to_string()).set("message.timeout.ms", "20000");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        config.create().unwrap()
    }

    fn read(&self, topic: &str, count: usize) -> Vec<Record> {
        tokio::task::block_in_place(|| read(&mut *self.log.consumer(GROUP, &[topic.to_owned()]).unwrap(), count))
    }

    fn connect(&self) -> Raw {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Raw { stream, correlation: 0 }
    }

    fn appended(&self, topic: &str) -> i64 {
        self.log.offsets(topic).iter().map(|(_, next)| next).sum()
    }
}

fn read(consumer: &mut dyn LogConsumer, count: usize) -> Vec<Record> {
    let start = Instant::now();
    let mut records = Vec::new();
    while records.len() < count {
        assert!(start.elapsed() < DEADLINE, "{} of {count} records came in time", records.len());
        for event in consumer.poll(Duration::from_millis(100)).unwrap() {
            if let LogEvent::Records(more) = event {
                records.extend(more);
            }
        }
    }
    records
}

/// A client that writes what it likes.
struct Raw {
    stream: TcpStream,
    correlation: i32,
}

impl Raw {
    fn send(&mut self, api: i16, version: i16, compact: bool, body: &[u8]) {
        self.correlation += 1;
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        frame.put_i16(api);
        frame.put_i16(version);
        frame.put_i32(self.correlation);
        frame.put_i16(3);
        frame.put_slice(b"raw");
        if compact {
            frame.put_u8(0);
        }
        frame.put_slice(body);
        let length = i32::try_from(frame.len() - 4).unwrap();
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&frame).unwrap();
    }

    /// The answer after its correlation id.
    fn answer(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..4], self.correlation.to_be_bytes());
        answer.split_off(4)
    }

    /// Sends a batch for partition 0 of `documents` by Produce version 3; gives error number and offset.
    fn produce(&mut self, batch: &[u8], acks: i16, timeout_ms: i32) -> (i16, i64) {
        self.send(0, 3, false, &produce_body(batch, acks, timeout_ms, None));
        produced(&self.answer())
    }

    fn assert_closed(mut self) {
        let mut rest = [0; 1];
        match self.stream.read(&mut rest) {
            Ok(count) => assert_eq!(count, 0, "an answer came"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
    }
}

fn produce_body(batch: &[u8], acks: i16, timeout_ms: i32, transactional_id: Option<&str>) -> Vec<u8> {
    let mut body = Vec::new();
    match transactional_id {
        Some(id) => {
            body.put_i16(i16::try_from(id.len()).unwrap());
            body.put_slice(id.as_bytes());
        }
        None => body.put_i16(-1),
    }
    body.put_i16(acks);
    body.put_i32(timeout_ms);
    body.put_i32(1);
    body.put_i16(9);
    body.put_slice(b"documents");
    body.put_i32(1);
    body.put_i32(0);
    body.put_i32(i32::try_from(batch.len()).unwrap());
    body.put_slice(batch);
    body
}

/// Error number and offset in an answer to Produce with one partition of `documents`.
fn produced(answer: &[u8]) -> (i16, i64) {
    let at = 4 + 2 + 9 + 4 + 4;
    (
        i16::from_be_bytes(answer[at..at + 2].try_into().unwrap()),
        i64::from_be_bytes(answer[at + 2..at + 10].try_into().unwrap()),
    )
}

fn batch(values: &[&str], producer: (i64, i16, i32), compression: Compression) -> Bytes {
    let records: Vec<wire::Record> = (0_i32..)
        .zip(values)
        .map(|(index, value)| wire::Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: producer.0,
            producer_epoch: producer.1,
            timestamp_type: TimestampType::Creation,
            offset: i64::from(index),
            sequence: if producer.0 < 0 { index - 1 } else { producer.2 + index },
            timestamp: 1_700_000_000_000,
            key: None,
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: IndexMap::new(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &records, &RecordEncodeOptions { version: 2, compression }).unwrap();
    bytes.freeze()
}

const PLAIN: (i64, i16, i32) = (-1, -1, -1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn librdkafka_produces_with_every_codec_keys_headers_and_times() {
    let rig = rig().await;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let producer = rig.producer(&[("compression.codec", codec), ("linger.ms", "20")]);
        let sends = (0..200).map(|number| {
            let headers = OwnedHeaders::new()
                .insert(Header { key: "correlation-id", value: Some(codec) })
                .insert(Header { key: "twice", value: Some("1") })
                .insert(Header { key: "twice", value: None::<&str> });
            let (key, value) = (format!("{codec}-{number}"), format!("{codec} ").repeat(50));
            let producer = producer.clone();
            async move {
                let record = FutureRecord::to("documents")
                    .key(&key)
                    .payload(&value)
                    .headers(headers)
                    .timestamp(1_700_000_000_123);
                producer.send(record, DEADLINE).await.unwrap()
            }
        });
        let deliveries = join_all(sends).await;
        assert!(deliveries.iter().all(|delivery| delivery.offset >= 0));
    }
    let records = rig.read("documents", 1000);
    assert_eq!(rig.appended("documents"), 1000);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let ours = records.iter().filter(|record| record.header("correlation-id") == Some(codec));
        let ours: Vec<&Record> = ours.collect();
        assert_eq!(ours.len(), 200, "{codec}");
        for record in ours {
            assert_eq!(record.value, format!("{codec} ").repeat(50));
            assert!(record.key.as_ref().unwrap().starts_with(codec.as_bytes()));
            assert_eq!(record.timestamp_ms, 1_700_000_000_123);
            assert_eq!(record.headers[1..], [("twice".to_owned(), "1".into()), ("twice".to_owned(), Bytes::new())]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotent_producer_writes_each_record_once_and_in_order_though_the_log_fails() {
    let rig = rig().await;
    let producer = rig.producer(&[("enable.idempotence", "true"), ("linger.ms", "1"), ("retry.backoff.ms", "20")]);
    let mut sends = Vec::new();
    for number in 0..2000 {
        if number % 500 == 250 {
            rig.log.fail_for(Duration::from_millis(150));
        }
        let value = number.to_string();
        let record = FutureRecord::<(), _>::to("documents").partition(0).payload(&value);
        sends.push(producer.send_result(record).map_err(|(error, _)| error).unwrap());
        if number % 100 == 0 {
            producer.poll(Duration::from_millis(5));
        }
    }
    for send in sends {
        send.await.unwrap().map_err(|(error, _)| error).unwrap();
    }
    let values: Vec<String> =
        rig.read("documents", 2000).iter().map(|record| String::from_utf8(record.value.to_vec()).unwrap()).collect();
    assert_eq!(values, (0..2000).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(rig.appended("documents"), 2000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_for_no_acknowledgement_is_served() {
    let rig = rig().await;
    let producer = rig.producer(&[("acks", "0")]);
    let sends = (0..100).map(|number| {
        let producer = producer.clone();
        async move {
            let value = number.to_string();
            let record = FutureRecord::<(), _>::to("bars").payload(&value);
            producer.send(record, DEADLINE).await.unwrap();
        }
    });
    join_all(sends).await;
    assert_eq!(rig.read("bars", 100).len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_topic_is_an_error_unless_topics_may_be_made() {
    let rig = rig().await;
    let producer = rig.producer(&[("topic.metadata.propagation.max.ms", "100"), ("message.timeout.ms", "3000")]);
    let record = FutureRecord::<(), _>::to("nowhere").payload("x");
    let (error, _) = producer.send(record, DEADLINE).await.unwrap_err();
    assert!(error.to_string().contains("Unknown topic"), "{error}");
    let config = KafkaListenerConfig { auto_create_topics: true, auto_create_partitions: 2, ..Default::default() };
    let rig = rig_with(LogConfig::default(), config).await;
    let record = FutureRecord::<(), _>::to("nowhere").payload("x");
    rig.producer(&[]).send(record, DEADLINE).await.unwrap();
    assert_eq!(rig.read("nowhere", 1)[0].value, "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_lists_our_topics_and_leads_back_to_us() {
    let rig = rig().await;
    let producer = rig.producer(&[]);
    let metadata = tokio::task::block_in_place(|| producer.client().fetch_metadata(None, DEADLINE)).unwrap();
    let topics: Vec<(&str, usize)> =
        metadata.topics().iter().map(|topic| (topic.name(), topic.partitions().len())).collect();
    assert_eq!(topics, [("bars", 1), ("documents", 3)]);
    let broker = &metadata.brokers()[0];
    assert_eq!((broker.host(), broker.port()), ("127.0.0.1", i32::from(rig.address.port())));
    let config = KafkaListenerConfig { advertised: "logs.example:19092".to_owned(), ..Default::default() };
    let other = rig_with(LogConfig::default(), config).await;
    let mut raw = other.connect();
    raw.send(3, 1, false, &[0xff; 4]);
    let answer = raw.answer();
    let needle = b"logs.example\x00\x00\x4a\x94";
    assert!(answer.windows(needle.len()).any(|window| window == needle));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_and_transactions_are_refused_in_words_of_the_protocol() {
    let rig = rig().await;
    let producer = rig.producer(&[("transactional.id", "t"), ("transaction.timeout.ms", "30000")]);
    let refused = tokio::task::block_in_place(|| producer.init_transactions(Duration::from_secs(10))).unwrap_err();
    assert!(refused.to_string().contains("ransactional"), "{refused}");
    let mut raw = rig.connect();
    raw.send(10, 1, false, &[0, 1, b'g', 0]);
    let answer = raw.answer();
    assert_eq!(i16::from_be_bytes(answer[4..6].try_into().unwrap()), 30);
    let plain = batch(&["x"], PLAIN, Compression::None);
    raw.send(0, 3, false, &produce_body(&plain, -1, 1000, Some("t")));
    assert_eq!(produced(&raw.answer()).0, 53);
    raw.send(1, 11, false, &[]);
    raw.assert_closed();
    assert_eq!(rig.appended("documents"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_not_offered_are_answered_with_those_that_are() {
    let rig = rig().await;
    let mut raw = rig.connect();
    raw.send(18, 99, true, &[1, 1, 0]);
    let answer = raw.answer();
    assert_eq!(answer[..2], 35_i16.to_be_bytes());
    assert_eq!(answer[2..6], 6_i32.to_be_bytes(), "six interfaces in the form of version 0");
    for (version, compact) in [(0, false), (1, false), (2, false), (3, true)] {
        let body: &[u8] = if compact { &[4, b'r', b'a', b'w', 2, b'1', 0] } else { &[] };
        raw.send(18, version, compact, body);
        assert_eq!(raw.answer()[..2], [0, 0], "version {version}");
    }
    raw.send(3, 40, false, &[]);
    raw.assert_closed();
    let mut raw = rig.connect();
    raw.send(36, 0, false, &[]);
    raw.assert_closed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_numbered_batch_sent_again_is_not_appended_again() {
    let rig = rig().await;
    let mut raw = rig.connect();
    raw.send(22, 0, false, &[0xff, 0xff, 0, 0, 0, 0]);
    let answer = raw.answer();
    assert_eq!(answer[4..6], [0, 0]);
    let producer = i64::from_be_bytes(answer[6..14].try_into().unwrap());
    let first = batch(&["a", "b"], (producer, 0, 0), Compression::None);
    assert_eq!(raw.produce(&first, -1, 1000), (0, 0));
    assert_eq!(raw.produce(&first, -1, 1000), (0, 0));
    // The client lost the connection before the answer, and comes again on another.
    let mut raw = rig.connect();
    assert_eq!(raw.produce(&first, -1, 1000), (0, 0));
    assert_eq!(raw.produce(&batch(&["e"], (producer, 0, 4), Compression::None), -1, 1000).0, 45);
    assert_eq!(raw.produce(&batch(&["c"], (producer, 0, 2), Compression::Lz4), -1, 1000), (0, 2));
    assert_eq!(raw.produce(&batch(&["z"], (producer, 1, 0), Compression::None), -1, 1000), (0, 3));
    assert_eq!(raw.produce(&batch(&["d"], (producer, 0, 3), Compression::None), -1, 1000).0, 47);
    let values: Vec<Bytes> = rig.read("documents", 4).into_iter().map(|record| record.value).collect();
    assert_eq!(values, ["a", "b", "c", "z"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_batches_are_refused_by_number_and_good_ones_go_on() {
    let config = KafkaListenerConfig { max_record_bytes: 10_000, max_batch_bytes: 100_000, ..Default::default() };
    let rig = rig_with(LogConfig::default(), config).await;
    let mut raw = rig.connect();
    let good = batch(&["good"], PLAIN, Compression::None);
    let mut corrupt = good.to_vec();
    *corrupt.last_mut().unwrap() ^= 0x40;
    assert_eq!(raw.produce(&corrupt, -1, 1000).0, 2);
    for magic in [0, 1] {
        let mut legacy = good.to_vec();
        legacy[16] = magic;
        assert_eq!(raw.produce(&legacy, -1, 1000).0, 43);
    }
    assert_eq!(raw.produce(&[], -1, 1000).0, 2);
    assert_eq!(raw.produce(&[&good[..], &good[..]].concat(), -1, 1000).0, 87);
    assert_eq!(raw.produce(&good, 2, 1000).0, 21);
    let large = "x".repeat(10_001);
    assert_eq!(raw.produce(&batch(&[&large], PLAIN, Compression::None), -1, 1000).0, 10);
    // A bomb: far larger than allowed once decompressed.
    let zeros = "0".repeat(9_000);
    let bomb = batch(&[zeros.as_str(); 1000], PLAIN, Compression::Zstd);
    assert!(bomb.len() < 10_000);
    assert_eq!(raw.produce(&bomb, -1, 1000).0, 10);
    // Version 0 of the request, whose answer ends with the offset.
    let mut old = Vec::new();
    old.put_i16(1);
    old.put_i32(1000);
    old.extend(&produce_body(&good, -1, 1000, None)[8..]);
    raw.send(0, 0, false, &old);
    let answer = raw.answer();
    assert_eq!(produced(&answer), (43, -1));
    assert_eq!(answer.len(), 4 + 2 + 9 + 4 + 4 + 2 + 8);
    assert_eq!(raw.produce(&good, 1, 1000), (0, 0));
    assert_eq!(rig.appended("documents"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_oversized_and_cut_off_frames_end_only_their_connection() {
    let rig = rig().await;
    let good = batch(&["good"], PLAIN, Compression::None);
    let mut survivor = rig.connect();
    assert_eq!(survivor.produce(&good, -1, 1000).0, 0);
    let garbage: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        i32::MAX.to_be_bytes().to_vec(),
        (-1_i32).to_be_bytes().to_vec(),
        [0, 0, 0, 4, 1, 2, 3, 4].to_vec(),
        // Metadata that claims two thousand million topics.
        [&[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff][..], &i32::MAX.to_be_bytes()].concat(),
        // Produce that claims a batch longer than the request.
        [&[0, 0, 0, 16, 0, 0, 0, 3, 0, 0, 0, 1, 0xff, 0xff][..], &[0xff, 0xff, 0, 1, 0, 0]].concat(),
    ];
    for bytes in garbage {
        let mut raw = rig.connect();
        // The listener may close before all is written.
        let _ = raw.stream.write_all(&bytes);
        raw.assert_closed();
    }
    let mut cut = rig.connect();
    cut.stream.write_all(&[0, 0, 1, 0, 0, 0]).unwrap();
    drop(cut);
    assert_eq!(survivor.produce(&good, -1, 1000), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_silent_clients_are_cut_off() {
    let config = KafkaListenerConfig { io_timeout_ms: 100, idle_timeout_seconds: 1, ..Default::default() };
    let rig = rig_with(LogConfig::default(), config).await;
    let start = Instant::now();
    let mut slow = rig.connect();
    slow.stream.write_all(&[0, 0, 1]).unwrap();
    slow.assert_closed();
    let slow_took = start.elapsed();
    assert!(slow_took < Duration::from_secs(5), "{slow_took:?}");
    rig.connect().assert_closed();
    assert!(start.elapsed() >= slow_took + Duration::from_millis(900));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_over_the_limit_are_closed_at_once() {
    let config = KafkaListenerConfig { max_connections: 2, ..Default::default() };
    let rig = rig_with(LogConfig::default(), config).await;
    let good = batch(&["x"], PLAIN, Compression::None);
    let mut both = [rig.connect(), rig.connect()];
    for raw in &mut both {
        assert_eq!(raw.produce(&good, -1, 1000).0, 0);
    }
    rig.connect().assert_closed();
    drop(both);
    let start = Instant::now();
    loop {
        let mut raw = rig.connect();
        let mut answer = [0; 1];
        raw.stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff]).unwrap();
        if raw.stream.read(&mut answer).is_ok_and(|count| count == 1) {
            break;
        }
        assert!(start.elapsed() < DEADLINE, "room again in time");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_holds_the_request_then_answers_that_it_may_be_sent_again() {
    let rig =
        rig_with(LogConfig { max_backlog_records: 2, ..LogConfig::default() }, KafkaListenerConfig::default()).await;
    let topics = ["documents".to_owned()];
    let mut consumer = rig.log.consumer(GROUP, &topics).unwrap();
    let mut raw = rig.connect();
    let one = batch(&["x"], PLAIN, Compression::None);
    assert_eq!(raw.produce(&batch(&["a", "b"], PLAIN, Compression::None), -1, 1000), (0, 0));
    let start = Instant::now();
    assert_eq!(raw.produce(&one, -1, 300).0, 19);
    assert!(start.elapsed() >= Duration::from_millis(90), "held for about the request's timeout");
    assert_eq!(rig.appended("documents"), 2);
    // While a request is held, the group catches up: it is taken after all.
    let held = std::thread::spawn(move || raw.produce(&one, -1, 20_000));
    tokio::task::block_in_place(|| {
        let last = read(&mut *consumer, 2).pop().unwrap().position;
        consumer.set_committable(&[Position { offset: last.offset + 1, ..last }]);
        consumer.commit(true).unwrap();
        assert_eq!(held.join().unwrap(), (0, 2));
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_away_is_a_retriable_error() {
    let rig = rig().await;
    let mut raw = rig.connect();
    let one = batch(&["x"], PLAIN, Compression::None);
    rig.log.fail_for(Duration::from_hours(1));
    assert_eq!(raw.produce(&one, -1, 1000).0, 20);
    rig.log.fail_for(Duration::ZERO);
    assert_eq!(raw.produce(&one, -1, 1000), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_sent_ahead_are_answered_in_order() {
    let rig = rig().await;
    let mut raw = rig.connect();
    let one = batch(&["x"], PLAIN, Compression::None);
    for _ in 0..20 {
        raw.send(0, 3, false, &produce_body(&one, -1, 1000, None));
    }
    let sent = raw.correlation;
    for number in 1..=sent {
        raw.correlation = number;
        assert_eq!(produced(&raw.answer()), (0, i64::from(number) - 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_closes_idle_connections_soon() {
    let mut rig = rig().await;
    let raw = rig.connect();
    let start = Instant::now();
    rig.stop.take().unwrap().send(()).unwrap();
    (&mut rig.served).await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(3));
    raw.assert_closed();
    assert!(TcpStream::connect(rig.address).is_err());
}

/// Throughput; run with `cargo test --release --test listener throughput -- --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throughput_of_a_producer() {
    let rig =
        rig_with(LogConfig { max_backlog_records: 0, ..LogConfig::default() }, KafkaListenerConfig::default()).await;
    let count = 20_000;
    let value = "x".repeat(300);
    for (codec, idempotent) in [("none", "false"), ("lz4", "true")] {
        let settings = [
            ("compression.codec", codec),
            ("enable.idempotence", idempotent),
            ("linger.ms", "5"),
            ("queue.buffering.max.messages", "1000000"),
        ];
        let producer = rig.producer(&settings);
        let start = Instant::now();
        let sends: Vec<_> = (0..count)
            .map(|number| {
                let key = number.to_string();
                let record = FutureRecord::to("documents").key(&key).payload(&value);
                producer.send_result(record).map_err(|(error, _)| error).unwrap()
            })
            .collect();
        for send in sends {
            send.await.unwrap().map_err(|(error, _)| error).unwrap();
        }
        let seconds = start.elapsed().as_secs_f64();
        let rate = f64::from(count) / seconds;
        println!(
            "librdkafka, {codec}, idempotent {idempotent}, 300 B: {rate:.0} records/s ({count} in {seconds:.2} s)"
        );
    }
    assert_eq!(rig.appended("documents"), i64::from(2 * count));
}
