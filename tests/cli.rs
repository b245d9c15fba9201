//! The command line: exit codes, help, and the commands that need no daemon or a stand-in for one.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

fn tidemill(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    let outside = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEMILL"));
    outside.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.args(arguments).current_dir(std::env::temp_dir());
    command
}

fn run(arguments: &[&str]) -> Output {
    tidemill(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// An address where nobody listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A request as the stand-in saw it.
struct Seen {
    head: String,
    body: Vec<u8>,
}

/// Stands in for a daemon: gives these answers in order, one connection each, and reports what it was asked.
fn stand_in(answers: Vec<(&'static str, String)>) -> (String, mpsc::Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for (head, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            sender.send(read_request(&mut stream)).unwrap();
            let length = body.len();
            write!(stream, "HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").unwrap();
        }
    });
    (url, receiver)
}

fn read_request(stream: &mut TcpStream) -> Seen {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok()).unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                return Seen { head, body: bytes[end + 4..].to_vec() };
            }
        }
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the request ended early");
        bytes.extend_from_slice(&buffer[..read]);
    }
}

fn requests(receiver: &mpsc::Receiver<Seen>) -> Vec<Seen> {
    receiver.try_iter().collect()
}

#[test]
fn every_command_has_help_with_an_example() {
    let commands: &[&[&str]] = &[
        &["run"],
        &["check"],
        &["topology"],
        &["replay"],
        &["search"],
        &["explain"],
        &["health"],
        &["dlq", "ls"],
        &["dlq", "show"],
        &["dlq", "replay"],
        &["dlq", "purge"],
        &["jobs", "ls"],
        &["jobs", "show"],
        &["jobs", "cancel"],
        &["jobs", "replay"],
        &["jobs", "submit"],
        &["embed"],
        &["analyze"],
        &["backtest"],
        &["sweep"],
        &["top"],
        &["config", "schema"],
        &["config", "docs"],
        &["config", "defaults"],
        &["config", "show"],
        &["completions"],
        &["explain-error"],
    ];
    for command in commands {
        let output = run(&[command, &["--help"][..]].concat());
        assert_eq!(code(&output), 0, "{command:?}");
        assert!(out(&output).contains("Example: "), "{command:?} has no example");
    }
}

#[test]
fn senseless_command_line_is_a_usage_error() {
    for arguments in [&["frobnicate"][..], &["search"], &["explain-error", "TM9999"], &["top", "--interval", "0"]] {
        let output = run(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", err(&output));
    }
}

#[test]
fn wrong_configuration_exits_78_and_names_everything() {
    let output = run(&["config", "show", "--set", "logging.colour=never", "--set", "faults.enabled=maybe"]);
    assert_eq!(code(&output), 78);
    let text = err(&output);
    assert!(text.contains("2 problems"), "{text}");
    assert!(
        text.contains("flag --set logging.colour: unknown key logging.colour; did you mean logging.color?"),
        "{text}"
    );
    assert!(
        text.contains("flag --set faults.enabled: faults.enabled = \"maybe\" is not allowed; allowed: true or false"),
        "{text}"
    );
}

#[test]
fn settings_come_from_environment_and_flags() {
    let output = tidemill(&["config", "show", "--json", "--set", "logging.format=json"])
        .env("TIDEMILL__LOGGING__LEVEL", "debug")
        .output()
        .unwrap();
    let shown: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(
        (shown["logging"]["level"].as_str(), shown["logging"]["format"].as_str()),
        (Some("debug"), Some("json"))
    );
}

#[test]
fn file_named_by_the_variable_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.toml");
    std::fs::write(&path, "[logging]\nlevel = \"trace\"\n").unwrap();
    let output = tidemill(&["config", "show"]).env("TIDEMILL_CONFIG", &path).output().unwrap();
    assert!(out(&output).contains("level = \"trace\""), "{}", err(&output));
}

#[test]
fn absent_daemon_exits_69_and_says_how_to_start_one() {
    let output = run(&["search", "anything", "--url", &nowhere()]);
    assert_eq!(code(&output), 69);
    assert!(err(&output).contains("start one with: tidemill run"), "{}", err(&output));
}

#[test]
fn refusal_is_shown_with_its_code() {
    let body = r#"{"error":{"code":"TM0014","message":"no document by this id"}}"#.to_owned();
    let (url, _seen) = stand_in(vec![("404 Not Found", body)]);
    let output = run(&["explain", "a/b?c", "--url", &url]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("404: no document by this id (TM0014)"), "{}", err(&output));
}

#[test]
fn search_prints_hits_and_encodes_the_query() {
    let body = r#"{"results":[{"similarity":0.91234,"id":"d1","source":"news","text":"Rates\u001b cut",
        "analysis":{"sentiment":{"label":"positive"}}}]}"#;
    let (url, seen) = stand_in(vec![("200 OK", body.to_owned())]);
    let output = run(&["search", "rate & cut", "-k", "3", "--source", "news", "--url", &url]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).contains("0.912       d1  news    positive   Rates  cut"), "{}", out(&output));
    let head = &requests(&seen)[0].head;
    assert!(head.starts_with("get /v1/search?q=rate+%26+cut&k=3&source=news "), "{head}");
}

#[test]
fn replay_sends_again_what_was_refused_and_reports_rejected_lines() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("feed.ndjson");
    std::fs::write(&file, "{\"n\":1}\n\n{\"n\":2}\nbroken\n").unwrap();
    let busy = r#"{"error":{"code":"TM0016","message":"the intake is full"}}"#.to_owned();
    let taken = r#"{"accepted":[{"id":"1"},{"id":"2"}],"rejected":[{"index":2,"code":"TM0002","message":"not JSON"}]}"#
        .to_owned();
    let (url, seen) = stand_in(vec![("429 Too Many Requests\r\nretry-after: 0", busy), ("202 Accepted", taken)]);
    let output = run(&["replay", file.to_str().unwrap(), "--url", &url]);
    assert_eq!(code(&output), 1, "a rejected line is a failure");
    assert_eq!(out(&output), "accepted 2, rejected 1\n");
    assert!(err(&output).contains("line 4: not JSON (TM0002)"), "{}", err(&output));
    let seen = requests(&seen);
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].body, seen[1].body);
    assert_eq!(seen[1].body, b"{\"n\":1}\n{\"n\":2}\nbroken");
}

#[test]
fn replay_cuts_a_refused_request_down_to_the_line_at_fault() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("feed.ndjson");
    std::fs::write(&file, "{\"n\":1}\n{\"n\":2}\n").unwrap();
    let large = r#"{"error":{"code":"TM0006","message":"too large"}}"#.to_owned();
    let taken = r#"{"accepted":[{"id":"2"}],"rejected":[]}"#.to_owned();
    let refused = ("413 Payload Too Large", large);
    let (url, seen) = stand_in(vec![refused.clone(), refused, ("202 Accepted", taken)]);
    let output = run(&["replay", file.to_str().unwrap(), "--json", "--url", &url]);
    let tally: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!((tally["accepted"].as_u64(), tally["rejected"].as_u64()), (Some(1), Some(1)));
    let bodies: Vec<Vec<u8>> = requests(&seen).into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, [&b"{\"n\":1}\n{\"n\":2}"[..], b"{\"n\":1}", b"{\"n\":2}"]);
}

#[test]
fn replay_keeps_to_its_rate() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("feed.ndjson");
    std::fs::write(&file, "1\n2\n3\n").unwrap();
    let taken = ("202 Accepted", r#"{"accepted":[{}],"rejected":[]}"#.to_owned());
    let (url, _seen) = stand_in(vec![taken.clone(), taken.clone(), taken]);
    let started = std::time::Instant::now();
    let output = run(&["replay", file.to_str().unwrap(), "--rate", "5", "--url", &url]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(started.elapsed() >= Duration::from_millis(400), "the third document is due after 2/5 s");
}

#[test]
fn dead_letters_are_listed_over_all_pages() {
    let page = |id: &str, next: &str| {
        format!(
            r#"{{"items":[{{"id":"{id}","dead_at":"t","stage":"source","code":"TM0005","attempts":1,"error":"empty"}}]{next}}}"#
        )
    };
    let (url, seen) = stand_in(vec![("200 OK", page("d1", r#","next_cursor":"c1""#)), ("200 OK", page("d2", ""))]);
    let output = run(&["dlq", "ls", "--code", "TM0005", "--url", &url]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let lines: Vec<String> = out(&output).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[1].starts_with("d1  ") && lines[2].starts_with("d2  "), "{lines:?}");
    assert!(lines[0].contains("replayed_at") && lines[1].contains("  -  "), "{lines:?}");
    let heads: Vec<String> = requests(&seen).into_iter().map(|request| request.head).collect();
    assert!(heads[0].starts_with("get /v1/dead-letters?limit=100&code=tm0005 "), "{heads:?}");
    assert!(heads[1].starts_with("get /v1/dead-letters?limit=99&code=tm0005&cursor=c1 "), "{heads:?}");
}

#[test]
fn missing_dead_letter_does_not_stop_the_others() {
    let missing = r#"{"error":{"code":"TM0014","message":"none"}}"#.to_owned();
    let (url, seen) = stand_in(vec![("404 Not Found", missing), ("202 Accepted", "{}".to_owned())]);
    let output = run(&["dlq", "replay", "a", "b", "--url", &url]);
    assert_eq!(code(&output), 1);
    assert_eq!(out(&output), "replayed 1\n");
    let heads: Vec<String> = requests(&seen).into_iter().map(|request| request.head).collect();
    assert!(heads[1].starts_with("post /v1/dead-letters/b/replay "), "{heads:?}");
}

#[test]
fn error_code_is_explained_in_any_case() {
    let output = run(&["explain-error", "tm0012"]);
    assert_eq!(code(&output), 0);
    assert!(out(&output).starts_with("TM0012: the url is not"), "{}", out(&output));
}

#[test]
fn closed_pipe_is_no_error() {
    let mut child = tidemill(&["config", "schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(out(&output).contains("explain-error"), "{shell}");
    }
}

#[test]
fn replaying_all_dead_letters_asks_until_complete_and_reports_failures() {
    let first = r#"{"replayed":200,"failed":0,"failures":[],"complete":false}"#.to_owned();
    let second =
        r#"{"replayed":3,"failed":1,"failures":[{"id":"x","message":"the log is away"}],"complete":true}"#.to_owned();
    let (url, _seen) = stand_in(vec![("202 Accepted", first), ("202 Accepted", second)]);
    let output = run(&["dlq", "replay", "--all", "--url", &url]);
    assert_eq!(code(&output), 1, "a failed replay is a failure");
    assert_eq!(out(&output), "replayed 203\n");
    assert!(err(&output).contains("x: the log is away"), "{}", err(&output));
}

#[test]
fn purge_says_how_many_went() {
    let (url, seen) = stand_in(vec![("200 OK", r#"{"deleted":7}"#.to_owned())]);
    let output = run(&["dlq", "purge", "--yes", "--url", &url]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "purged 7\n"));
    assert!(requests(&seen)[0].head.starts_with("delete /v1/dead-letters "));
}

#[test]
fn purge_of_everything_needs_a_yes() {
    let output = tidemill(&["dlq", "purge", "--url", &nowhere()]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(code(&output), 2, "{}", err(&output));
    assert!(err(&output).contains("--yes"), "{}", err(&output));
    assert_eq!(code(&run(&["dlq", "purge", "a", "--yes", "--url", &nowhere()])), 2, "ids and all at once");
}

#[test]
fn replayed_dead_letters_can_be_told_apart() {
    let page = r#"{"items":[{"id":"d1","replayed_at":"2026-01-02T03:04:05Z"}]}"#.to_owned();
    let (url, seen) = stand_in(vec![("200 OK", page)]);
    let output = run(&["dlq", "ls", "--replayed", "true", "--url", &url]);
    assert!(out(&output).contains("2026-01-02T03:04:05Z"), "{}", out(&output));
    assert!(requests(&seen)[0].head.starts_with("get /v1/dead-letters?limit=100&replayed=true "));
}

#[test]
fn job_is_submitted_with_what_was_given() {
    let (url, seen) = stand_in(vec![("202 Accepted", r#"{"id":"j1","state":"queued"}"#.to_owned())]);
    let output = run(&[
        "jobs",
        "submit",
        "reindex",
        r#"{"dry_run":true}"#,
        "--priority",
        "9",
        "--ttl",
        "60",
        "--key",
        "k",
        "--url",
        &url,
    ]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "j1\n"), "{}", err(&output));
    let request = &requests(&seen)[0];
    assert!(request.head.starts_with("post /v1/jobs "), "{}", request.head);
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    let expected = serde_json::json!({
        "kind": "reindex", "payload": {"dry_run": true}, "priority": 9, "ttl_seconds": 60.0, "key": "k",
    });
    assert_eq!(body, expected);
    assert_eq!(code(&run(&["jobs", "submit", "reindex", "{oops", "--url", &url])), 2);
}

#[test]
fn job_is_waited_for_and_its_end_is_the_exit_code() {
    for (state, expected) in [("succeeded", 0), ("dead", 1)] {
        let answers = vec![
            ("202 Accepted", r#"{"id":"j1","state":"queued"}"#.to_owned()),
            ("200 OK", r#"{"id":"j1","state":"running","message":"half"}"#.to_owned()),
            ("503 Service Unavailable", "{}".to_owned()),
            ("200 OK", format!(r#"{{"id":"j1","state":"{state}"}}"#)),
        ];
        let (url, _seen) = stand_in(answers);
        let output = run(&["jobs", "submit", "reindex", "--wait", "--json", "--url", &url]);
        assert_eq!(code(&output), expected, "{}", err(&output));
        assert!(err(&output).contains("running half"), "{}", err(&output));
        let job: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
        assert_eq!(job["state"], state);
    }
}

#[test]
fn jobs_are_listed_shown_and_called_off() {
    let item = r#"{"id":"j1","kind":"reindex","state":"running","priority":5,"attempts":1,"max_attempts":3,"progress":0.25,"created_at":"t"}"#;
    let (url, seen) = stand_in(vec![("200 OK", format!(r#"{{"items":[{item}]}}"#))]);
    let output = run(&["jobs", "ls", "--state", "running", "--kind", "reindex", "--url", &url]);
    assert!(out(&output).contains("25 %") && out(&output).contains("1/3"), "{}", out(&output));
    assert!(requests(&seen)[0].head.starts_with("get /v1/jobs?limit=100&state=running&kind=reindex "));
    let (url, _seen) = stand_in(vec![("200 OK", item.to_owned())]);
    let output = run(&["jobs", "show", "j1", "--url", &url]);
    assert!(out(&output).contains("progress: 0.25"), "{}", out(&output));
    let (url, seen) = stand_in(vec![
        ("409 Conflict", r#"{"error":{"code":"TM0031","message":"job a is succeeded already"}}"#.to_owned()),
        ("202 Accepted", r#"{"id":"b","state":"running","cancel_requested":true}"#.to_owned()),
    ]);
    let output = run(&["jobs", "cancel", "a", "b", "--url", &url]);
    assert_eq!(code(&output), 1, "one of them could not be called off");
    assert_eq!(out(&output), "b  running, asked to end\n");
    assert!(err(&output).contains("a: job a is succeeded already"), "{}", err(&output));
    assert!(requests(&seen)[1].head.starts_with("delete /v1/jobs/b "));
    let missing = ("404 Not Found", r#"{"error":{"code":"TM0014","message":"there is no job"}}"#.to_owned());
    let (url, _seen) = stand_in(vec![missing]);
    assert_eq!(code(&run(&["jobs", "show", "none", "--url", &url])), 1);
    assert_eq!(code(&run(&["jobs", "ls", "--url", &nowhere()])), 69);
}

#[test]
fn embeddings_are_printed_in_the_order_of_the_texts() {
    let body = r#"{"data":[{"index":1,"embedding":[0.5]},{"index":0,"embedding":[0.25,1]}]}"#.to_owned();
    let (url, _seen) = stand_in(vec![("200 OK", body)]);
    let mut child =
        tidemill(&["embed", "-", "--url", &url]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"first\n\nsecond\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(out(&output), "[0.25,1.0]\n[0.5]\n");
}

#[test]
fn top_shows_rates_once() {
    let scrape = |count: u32| {
        format!(
            "tidemill_actor_mailbox_capacity{{actor=\"embedder\"}} 64\ntidemill_actor_messages_received_total{{actor=\"embedder\"}} {count}\n"
        )
    };
    let actors = || ("200 OK", r#"{"name":"root","children":[{"name":"embedder","state":"running"}]}"#.to_owned());
    let (url, _seen) = stand_in(vec![("200 OK", scrape(0)), actors(), ("200 OK", scrape(50)), actors()]);
    let output = run(&["top", "--once", "--interval", "0.1", "--json", "--url", &url]);
    let view: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(
        (view["actors"][0]["actor"].as_str(), view["actors"][0]["state"].as_str()),
        (Some("embedder"), Some("running"))
    );
    let rate = view["actors"][0]["in_per_second"].as_f64().unwrap();
    assert!(rate > 0.0 && rate <= 500.0, "50 messages in at least 0.1 s: {rate}");
}
