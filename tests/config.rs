//! Configuration: layers, exact errors, reload, and that the generated pages are current.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use tidemill::config::error::{ConfigError, Origin};
use tidemill::config::layers::Sources;
use tidemill::config::reload::{Reloader, Trigger};
use tidemill::config::{Config, docs, schema};

/// A directory with one configuration file.
struct Fixture {
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new(text: &str) -> Self {
        let fixture = Self { directory: tempfile::tempdir().unwrap() };
        fixture.write("a.toml", text);
        fixture
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn sources(&self) -> Sources {
        Sources { files: vec![self.directory.path().join("a.toml")], ..Sources::default() }
    }
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn findings(sources: &Sources) -> Vec<String> {
    let ConfigError(findings) = sources.load().unwrap_err();
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_set_gives_the_defaults() {
    assert_eq!(Sources::default().load().unwrap().config, Config::default());
}

#[test]
fn later_layer_wins_key_by_key() {
    let fixture = Fixture::new("[logging]\nlevel = \"warn\"\nformat = \"json\"\n[daemon]\ndata_dir = \"one\"\n");
    let second = fixture.write("b.toml", "[daemon]\ndata_dir = \"two\"\nconfig_poll_seconds = 7\n");
    let mut sources = fixture.sources();
    sources.files.push(second.clone());
    sources.environment =
        environment(&[("TIDEMILL__LOGGING__LEVEL", "debug"), ("TIDEMILL__DAEMON__CONFIG_POLL_SECONDS", "8")]);
    sources.sets = vec!["daemon.config_poll_seconds=9".to_owned()];
    let loaded = sources.load().unwrap();
    assert_eq!(loaded.config.logging.level, "debug");
    assert_eq!(serde_json::to_value(loaded.config.logging.format).unwrap(), "json");
    assert_eq!(loaded.config.daemon.data_dir, Path::new("two"));
    assert_eq!(loaded.config.daemon.config_poll_seconds, 9);
    assert_eq!(loaded.origin("daemon.data_dir"), Origin::File { path: second, line: Some(2) });
    assert_eq!(loaded.origin("logging.level"), Origin::Environment("TIDEMILL__LOGGING__LEVEL".to_owned()));
    assert_eq!(
        loaded.origin("daemon.config_poll_seconds"),
        Origin::Flag("--set daemon.config_poll_seconds".to_owned())
    );
    assert_eq!(loaded.origin("faults.enabled"), Origin::Default);
}

#[test]
fn data_dir_variable_is_over_files_and_under_its_long_name() {
    let mut sources = Fixture::new("[daemon]\ndata_dir = \"file\"\n").sources();
    sources.environment = environment(&[("TIDEMILL_DATA_DIR", "short")]);
    // The fixture's directory is gone by now: only the environment is left to read.
    sources.files.clear();
    assert_eq!(sources.load().unwrap().config.daemon.data_dir, Path::new("short"));
    sources.environment.extend(environment(&[("TIDEMILL__DAEMON__DATA_DIR", "long")]));
    assert_eq!(sources.load().unwrap().config.daemon.data_dir, Path::new("long"));
}

#[test]
fn every_problem_of_every_layer_is_reported_at_once() {
    let fixture = Fixture::new(concat!(
        "[logging]\nlevle = \"info\"\nformat = \"xml\"\n",
        "[daemon]\nconfig_poll_seconds = \"often\"\n[http2]\nx = 1\n[faults]\nenabled = 3\npoison_marker = \"\"\n",
    ));
    let mut sources = fixture.sources();
    sources.environment = environment(&[("TIDEMILL__LOGGING__COLR", "never"), ("TIDEMILL__LOGGING__LEVEL", "a=b=c")]);
    sources.sets = vec!["daemon.data_dir".to_owned(), "logging.color=sometimes".to_owned()];
    let file = fixture.directory.path().join("a.toml").display().to_string();
    let mut found = findings(&sources);
    found.sort();
    let mut expected = vec![
        format!("{file}:2: unknown key logging.levle; did you mean logging.level?"),
        format!("{file}:3: logging.format = \"xml\" is not allowed; allowed: \"json\", \"pretty\""),
        format!("{file}:5: daemon.config_poll_seconds = \"often\" is not allowed; allowed: an integer of 0 or more"),
        format!("{file}:6: unknown key http2; did you mean http?"),
        format!("{file}:9: faults.enabled = 3 is not allowed; allowed: true or false"),
        format!("{file}:10: faults.poison_marker = \"\" is not allowed; allowed: a text that is not empty"),
        "environment TIDEMILL__LOGGING__COLR: unknown key logging.colr; did you mean logging.color?".to_owned(),
        "environment TIDEMILL__LOGGING__LEVEL: logging.level = \"a=b=c\" is not allowed; allowed: error, warn, info, debug or \
         trace, or directives such as \"info,tidemill::kafka=debug\""
            .to_owned(),
        "flag --set daemon.data_dir: needs the form section.key=value".to_owned(),
        "flag --set logging.color: logging.color = \"sometimes\" is not allowed; allowed: \"auto\", \"always\", \"never\"".to_owned(),
    ];
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn out_of_range_value_names_its_line_and_range() {
    let fixture = Fixture::new("# comment\n[daemon]\nconfig_poll_seconds = 99999\n");
    let file = fixture.directory.path().join("a.toml").display().to_string();
    let expected = format!("{file}:3: daemon.config_poll_seconds = 99999 is not allowed; allowed: 0 to 3600");
    assert_eq!(findings(&fixture.sources()), [expected]);
}

#[test]
fn broken_toml_names_its_line() {
    let fixture = Fixture::new("[daemon]\ndata_dir = \"a\"\nlevel = = 3\n");
    let found = findings(&fixture.sources());
    let [only] = found.as_slice() else { panic!("{found:?}") };
    assert!(only.contains("a.toml:3: not valid TOML"), "{only}");
}

#[test]
fn name_with_dots_in_a_map_is_set_from_flag_and_variable() {
    let mut sources =
        Sources { sets: vec!["kafka.properties.security.protocol=SASL_PLAINTEXT".to_owned()], ..Sources::default() };
    sources.environment = environment(&[("TIDEMILL__KAFKA__PROPERTIES__SASL__MECHANISM", "PLAIN")]);
    let text = format!("{:?}", sources.load().unwrap().config.kafka.properties);
    assert!(text.contains("security.protocol") && text.contains("sasl.mechanism"), "{text}");
}

#[test]
fn secret_of_the_wrong_type_is_not_printed() {
    let fixture = Fixture::new("[http]\ntoken = 1234567890123456\n");
    let found = findings(&fixture.sources());
    assert!(found[0].ends_with("a.toml:2: http.token = *** is not allowed; allowed: text"), "{found:?}");
}

#[test]
fn secret_comes_from_a_file_and_is_not_shown() {
    let fixture = Fixture::new("");
    let token = fixture.write("token", "a-token-from-a-file\n");
    let mut sources = fixture.sources();
    sources.sets = vec!["http.listen=0.0.0.0:8080".to_owned(), format!("http.token_file={}", token.display())];
    let loaded = sources.load().unwrap();
    assert_eq!(
        loaded.config.http.token.as_ref().map(tidemill::config::secret::Secret::expose),
        Some("a-token-from-a-file")
    );
    assert_eq!(loaded.config.http.resolve_token().unwrap(), loaded.config.http.token);
    assert!(!format!("{loaded:?}").contains("a-token-from-a-file"), "printed");
    // A new token in the same file is a change.
    let reloader = Reloader::new(sources.clone(), loaded);
    fixture.write("token", "another-token-from-a-file\n");
    assert_eq!(reloader.reload(Trigger::Api).needs_restart, ["http.token"]);
    // Both at once is one too many.
    sources.sets.push("http.token=given-directly-as-well".to_owned());
    let found = findings(&sources);
    assert!(found[0].contains("http.token_file or http.token, not both"), "{found:?}");
}

#[test]
fn settings_of_one_actor_change_live_but_for_its_workers() {
    let fixture = Fixture::new("");
    let sources = fixture.sources();
    let loaded = sources.load().unwrap();
    let reloader = Reloader::new(sources, loaded);
    fixture.write(
        "a.toml",
        "[actors.dead_letters]\nmailbox_capacity = 77\nworkers = 3\n[dedup]\ncosine_threshold = 0.9\n",
    );
    let report = reloader.reload(Trigger::Signal);
    assert_eq!(report.applied, ["actors.dead_letters.mailbox_capacity", "dedup.cosine_threshold"]);
    assert_eq!(report.needs_restart, ["actors.dead_letters.workers"]);
    assert_eq!(reloader.current().actors.dead_letters.mailbox_capacity, 77);
}

#[test]
fn missing_file_is_an_error() {
    let sources = Sources { files: vec!["/nonexistent/tidemill.toml".into()], ..Sources::default() };
    let found = findings(&sources);
    assert!(found[0].starts_with("/nonexistent/tidemill.toml: can't read the file"), "{found:?}");
}

#[test]
fn table_where_a_value_belongs_is_a_wrong_type() {
    let fixture = Fixture::new("[logging.level]\na = 1\n[faults]\nenabled = nan\n");
    let found = findings(&fixture.sources());
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found.iter().any(|it| it.contains(":1: logging.level = {\"a\":1} is not allowed; allowed: text")),
        "{found:?}"
    );
    assert!(found.iter().any(|it| it.contains(":4: faults.enabled = \"nan\" is not allowed")), "{found:?}");
}

#[test]
fn value_where_a_section_belongs_is_a_wrong_type() {
    let found = findings(&Fixture::new("logging = 3\n").sources_leaked());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(":1: logging = 3 is not allowed; allowed: a table"), "{found:?}");
}

impl Fixture {
    /// The sources, with the directory kept for the rest of the process.
    fn sources_leaked(self) -> Sources {
        let sources = self.sources();
        let _ = self.directory.keep();
        sources
    }
}

#[test]
fn reload_applies_what_is_live_and_keeps_the_rest() {
    let fixture = Fixture::new("[logging]\nlevel = \"info\"\n[daemon]\ndata_dir = \"old\"\n");
    let sources = fixture.sources();
    let loaded = sources.load().unwrap();
    let reloader = Reloader::new(sources, loaded);
    let mut follower = reloader.subscribe();
    fixture.write("a.toml", "[logging]\nlevel = \"debug\"\n[daemon]\ndata_dir = \"new\"\n");
    let report = reloader.reload(Trigger::Api);
    assert_eq!(report.applied, ["logging.level"]);
    assert_eq!(report.needs_restart, ["daemon.data_dir"]);
    assert!(report.errors.is_empty());
    assert!(follower.has_changed().unwrap());
    assert_eq!(follower.borrow_and_update().logging.level, "debug");
    assert_eq!(reloader.current().daemon.data_dir, Path::new("old"), "a key that needs a restart keeps its value");
    // The waiting key is reported again until the restart, the applied one is not.
    let again = reloader.reload(Trigger::Api);
    assert!(again.applied.is_empty());
    assert_eq!(again.needs_restart, ["daemon.data_dir"]);
    assert!(!follower.has_changed().unwrap(), "nothing applied, nobody woken");
    // Taking a key out of the file brings its default back.
    fixture.write("a.toml", "[daemon]\ndata_dir = \"old\"\n");
    assert_eq!(reloader.reload(Trigger::Api).applied, ["logging.level"]);
    assert_eq!(reloader.current().logging.level, "info");
}

#[test]
fn reload_keeps_the_old_settings_when_the_new_are_invalid() {
    let fixture = Fixture::new("[logging]\nlevel = \"warn\"\n");
    let sources = fixture.sources();
    let loaded = sources.load().unwrap();
    let reloader = Reloader::new(sources, loaded);
    fixture.write("a.toml", "[logging]\nlevel = \"debug\"\ncolor = \"mauve\"\n");
    let report = reloader.reload(Trigger::File);
    assert_eq!((report.applied.len(), report.needs_restart.len(), report.errors.len()), (0, 0, 1));
    let json = serde_json::to_value(&report).unwrap();
    assert!(json["errors"][0].as_str().unwrap().contains("logging.color"), "{json}");
    assert_eq!(reloader.current().logging.level, "warn");
}

#[tokio::test]
async fn changed_file_is_noticed_and_applied() {
    let fixture = Fixture::new("[logging]\nlevel = \"info\"\n");
    let sources = fixture.sources();
    let loaded = sources.load().unwrap();
    let reloader = std::sync::Arc::new(Reloader::new(sources, loaded));
    let stop = tokio_util::sync::CancellationToken::new();
    let mut follower = reloader.subscribe();
    let watching = tokio::spawn(tidemill::config::reload::watch(std::sync::Arc::clone(&reloader), stop.clone()));
    // The watch's first look may come before or after this write; both see it as a change by its size.
    tokio::task::yield_now().await;
    fixture.write("a.toml", "[logging]\nlevel = \"debug,tidemill=trace\"\n");
    let deadline = std::time::Duration::from_secs(20);
    tokio::time::timeout(deadline, follower.changed()).await.unwrap().unwrap();
    assert_eq!(reloader.current().logging.level, "debug,tidemill=trace");
    stop.cancel();
    tokio::time::timeout(deadline, watching).await.unwrap().unwrap();
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn generated_pages_are_current() {
    let pages = [
        ("docs/configuration.md", docs::manual()),
        ("docs/errors.md", tidemill::cli::explain_error::manual()),
        ("config/default.toml", docs::default_file()),
    ];
    for (path, generated) in pages {
        let committed = std::fs::read_to_string(root().join(path)).unwrap();
        assert!(committed == generated, "{path} is out of date; run: make docs");
    }
}

#[test]
fn shipped_files_are_valid() {
    for name in ["config/default.toml", "config/production.toml", "config/throughput.toml"] {
        // The production file leaves its token to the environment.
        let environment = environment(&[("TIDEMILL__HTTP__TOKEN", "a-token-for-this-test")]);
        let sources = Sources { files: vec![root().join(name)], environment, ..Sources::default() };
        let mut loaded = sources.load().unwrap_or_else(|error| panic!("{name}: {error}"));
        if name == "config/default.toml" {
            loaded.config.http.token = None;
            assert_eq!(loaded.config, Config::default());
        }
    }
}

#[test]
fn schema_names_every_section() {
    let properties = schema::json()["properties"].as_object().unwrap();
    for section in Config::SECTIONS {
        assert!(properties.contains_key(*section), "{section}");
    }
}

/// The roles a deployment gives its nodes, as it gives them.
const ROLES: [&[(&str, &str)]; 2] = [
    &[("TIDEMILL__NODE__ROLES", "api"), ("TIDEMILL__NODE__WORKER_URLS", "http://worker:8080")],
    &[("TIDEMILL__NODE__ROLES", "worker")],
];

#[test]
fn deployed_files_are_valid_for_every_role() {
    let files = [
        ("deploy/compose/tidemill.toml", "/run/secrets"),
        ("deploy/kubernetes/base/tidemill.toml", "/run/secrets/tidemill"),
    ];
    for (file, mounted) in files {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        let fixture = Fixture::new("");
        let secrets = fixture.directory.path().to_str().unwrap();
        for line in text.lines().filter(|line| line.contains("_file = ")) {
            let name = line.split(['/', '"']).rfind(|part| !part.is_empty()).unwrap();
            fixture.write(name, "a-secret-for-this-test");
        }
        fixture.write("a.toml", &text.replace(mounted, secrets));
        for role in ROLES {
            let sources = Sources { environment: environment(role), ..fixture.sources() };
            let loaded = sources.load().unwrap_or_else(|error| panic!("{file} as {role:?}: {error}"));
            assert!(loaded.config.http.token.is_some(), "{file}: the API is open");
        }
    }
}

/// The first number behind `key` in a file.
fn number_in(file: &str, key: &str) -> Vec<u64> {
    let text = std::fs::read_to_string(root().join(file)).unwrap();
    let behind = text.match_indices(key).map(|(at, _)| text[at + key.len()..].trim_start_matches([':', '=', ' ']));
    let digits = behind.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    digits.filter_map(|digits| digits.parse().ok()).collect()
}

/// Whoever stops the daemon from outside waits longer than the drain may take: all deadlines one after the other.
#[test]
fn every_grace_period_is_longer_than_the_drain() {
    let config = Config::default();
    let children = tidemill::actors::daemon::topology(&config);
    let children = children.children();
    let actors = config.actors.all();
    let drain: u64 = children
        .iter()
        .map(|child| {
            let actor = actors.iter().find(|(name, _)| *name == child.name).map(|(_, actor)| actor.drain_seconds);
            let service = match child.name.as_str() {
                "dispatcher" => tidemill::actors::dispatcher::drain_time(&config.jobs),
                _ => tidemill::actors::topology::SERVICE_DRAIN,
            };
            actor.unwrap_or(service.as_secs())
        })
        .sum();
    assert!(drain > 100, "{drain} s: are the deadlines read?");
    let seconds = [
        ("deploy/kubernetes/base/api.yaml", "terminationGracePeriodSeconds", 1),
        ("deploy/kubernetes/base/worker.yaml", "terminationGracePeriodSeconds", 1),
        ("deploy/tidemill.service", "TimeoutStopSec", 1),
    ];
    for (file, key, times) in seconds {
        let found = number_in(file, key);
        assert_eq!(found.len(), times, "{file}: {key}");
        assert!(
            found.iter().all(|seconds| *seconds > drain),
            "{file}: {key} is {found:?}, the drain takes up to {drain} s"
        );
    }
    let compose = number_in("deploy/compose.yaml", "stop_grace_period");
    assert!(
        compose[0] * 60 > drain,
        "deploy/compose.yaml: our nodes get {} min, the drain takes up to {drain} s",
        compose[0]
    );
}
