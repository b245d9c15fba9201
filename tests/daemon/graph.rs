//! Repositories through the real daemon: submitted, read, learned, stored, asked; and what a `kill -9`, a call to end and
//! bad repositories do.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::process::Daemon;

const LEXICAL: &str = "encoder.kind=hashing";
const FILES: &str = "graph.repository.schemes=[\"https\",\"file\"]";
const INGEST: &str = "/api/v1/ingestion/ingest";
const STATUS: &str = "/api/v1/ingestion/worker/status";
const HISTORY: &str = "/api/v1/ingestion/jobs/history";

/// A repository with these files, committed.
fn repository(path: &Path, files: &[(String, String)]) -> String {
    let repository = git2::Repository::init(path).unwrap();
    commit(&repository, files);
    format!("file://{}", path.canonicalize().unwrap().display())
}

fn commit(repository: &git2::Repository, files: &[(String, String)]) {
    let mut index = repository.index().unwrap();
    let parent = repository.head().ok().and_then(|head| head.peel_to_commit().ok());
    if let Some(parent) = &parent {
        index.read_tree(&parent.tree().unwrap()).unwrap();
    }
    for (name, text) in files {
        let entry = git2::IndexEntry {
            ctime: git2::IndexTime::new(0, 0),
            mtime: git2::IndexTime::new(0, 0),
            dev: 0,
            ino: 0,
            mode: 0o100_644,
            uid: 0,
            gid: 0,
            file_size: 0,
            id: git2::Oid::ZERO_SHA1,
            flags: 0,
            flags_extended: 0,
            path: name.clone().into_bytes(),
        };
        index.add_frombuffer(&entry, text.as_bytes()).unwrap();
    }
    let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
    let author = git2::Signature::now("t", "t@example.com").unwrap();
    repository.commit(Some("HEAD"), &author, &author, "c", &tree, &parent.iter().collect::<Vec<_>>()).unwrap();
}

/// Two packages whose modules import each other in a ring, and one import between the packages.
fn two_packages(modules: usize) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for package in ["alpha", "beta"] {
        files.push((format!("{package}/__init__.py"), String::new()));
        for module in 0..modules {
            let mut text = String::new();
            for step in [1, 2, 3] {
                let _ = writeln!(text, "from {package} import m{}", (module + step) % modules);
            }
            files.push((format!("{package}/m{module}.py"), text));
        }
    }
    files.push((
        "main.py".to_owned(),
        "import alpha.m0\nimport beta.m0\nimport numpy\nfrom . import missing\n".to_owned(),
    ));
    files
}

async fn ingest(daemon: &Daemon, url: &str) -> String {
    let (status, answer) = daemon.post(INGEST, &json!({ "repo_url": url })).await;
    assert_eq!(status, 202, "{answer}");
    answer["job_id"].as_str().unwrap().to_owned()
}

async fn ended(daemon: &Daemon, id: &str) -> Value {
    let is_there =
        |history: &Value| history["items"].as_array().is_some_and(|all| all.iter().any(|job| job["job_id"] == id));
    let history = daemon.wait_for(HISTORY, "the job to end", is_there).await;
    history["items"].as_array().unwrap().iter().find(|job| job["job_id"] == id).unwrap().clone()
}

async fn learned(daemon: &Daemon, url: &str) -> Value {
    let job = ended(daemon, &ingest(daemon, url).await).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    job
}

fn similar(url: &str, file: &str) -> String {
    format!("/v1/graphs/{}/similar?file={file}&k=5", url.replace(':', "%3A").replace('/', "%2F"))
}

/// Whether the worker has come to the training.
fn is_learning(status: &Value) -> bool {
    status["running"][0]["message"].as_str().is_some_and(|said| said.starts_with("learning"))
}

/// What is left of repositories that were read.
fn left_over(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.join("graph-tmp")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn repository_is_learned_and_asked_and_a_new_commit_takes_the_old_ones_place() {
    let directory = tempfile::tempdir().unwrap();
    let source = tempfile::tempdir().unwrap();
    let url = repository(source.path(), &two_packages(12));
    let mut daemon = Daemon::start(&directory.path().join("data"), &[LEXICAL, FILES]).await;
    let status = daemon.get(STATUS).await.1;
    assert_eq!((&status["status"], &status["capacity"]), (&json!("Idle"), &json!(10)));

    let job = learned(&daemon, &url).await;
    let metrics = &job["metrics"];
    assert_eq!((&metrics["files"], &metrics["dimension"]), (&json!(27), &json!(64)), "{metrics}");
    assert_eq!((&metrics["imports_external"], &metrics["languages"]), (&json!(1), &json!({ "python": 27 })));
    assert_eq!(metrics["unresolved"][0]["file"], "main.py", "{metrics}");
    assert!(metrics["loss"].as_f64().unwrap() > 0.0 && metrics["losses"].as_array().unwrap().len() == 10, "{metrics}");
    assert!(metrics["seconds"]["train"].is_number() && metrics["seconds"]["store"].is_number(), "{metrics}");

    let (status, answer) = daemon.get(&similar(&url, "alpha/m3.py")).await;
    assert_eq!(status, 200, "{answer}");
    let near: Vec<&str> =
        answer["results"].as_array().unwrap().iter().map(|near| near["file_path"].as_str().unwrap()).collect();
    assert!(near.len() == 5 && near.iter().all(|path| path.starts_with("alpha/")), "{near:?}");
    assert_eq!(answer["commit"], metrics["commit"]);
    let (status, refusal) = daemon.get(&similar(&url, "m3.py")).await;
    assert!(status == 404 && refusal["error"]["message"].as_str().unwrap().contains("alpha/m3.py"), "{refusal}");
    let (_, text) = daemon.get_text("/metrics").await;
    assert!(text.lines().any(|line| line.starts_with("tidemill_graph_training_loss ")), "{text}");

    let same = learned(&daemon, &url).await;
    let said = &same["metrics"];
    assert_eq!((&said["unchanged"], &said["commit"]), (&json!(true), &metrics["commit"]), "{same}");
    assert_eq!(said["graph_id"], metrics["graph_id"], "the graph is the one before");
    assert!(said["reason"].as_str().is_some_and(|reason| reason.contains("same settings")), "{same}");
    for payload in [json!({ "repo_url": url, "seed": 7 }), json!({ "repo_url": url, "seed": 7, "force": true })] {
        let (status, job) = daemon.post("/v1/jobs", &json!({ "kind": "graph", "payload": payload })).await;
        assert_eq!(status, 202, "{job}");
        let job = ended(&daemon, job["id"].as_str().unwrap()).await;
        assert!(job["metrics"]["unchanged"].is_null() && job["metrics"]["files"] == 27, "{job}");
    }

    commit(&git2::Repository::open(source.path()).unwrap(), &[("gamma.py".to_owned(), "import alpha.m1\n".to_owned())]);
    let again = learned(&daemon, &url).await;
    assert_ne!(again["metrics"]["commit"], metrics["commit"]);
    assert_eq!((&again["metrics"]["files"], &again["metrics"]["files_parsed"]), (&json!(28), &json!(1)), "{again}");
    assert_eq!(daemon.get(&similar(&url, "gamma.py")).await.0, 200);
    assert_eq!(daemon.get("/v1/graphs").await.1["items"].as_array().unwrap().len(), 1);

    daemon.kill_and_restart().await;
    assert_eq!(daemon.get(&similar(&url, "gamma.py")).await.0, 200, "it survives");
    assert_eq!(daemon.get(HISTORY).await.1["items"].as_array().unwrap().len(), 5, "the unchanged one is there too");
    assert!(left_over(&directory.path().join("data")).is_empty());
}

#[tokio::test]
async fn daemon_killed_in_the_middle_of_training_learns_it_again_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let source = tempfile::tempdir().unwrap();
    let url = repository(source.path(), &two_packages(40));
    let data = directory.path().join("data");
    // long enough that the kill falls into it; the attempt after it is short
    let slow = "graph.training.epochs=10000";
    let mut daemon = Daemon::start(&data, &[LEXICAL, FILES, slow]).await;
    let id = ingest(&daemon, &url).await;
    let training =
        |status: &Value| status["status"] == format!("Training Graph on {url}").as_str() && is_learning(status);
    daemon.wait_for(STATUS, "the training", training).await;
    daemon.restart_with(&[LEXICAL, FILES]).await;
    let job = ended(&daemon, &id).await;
    assert_eq!((&job["state"], &job["attempts"]), (&json!("succeeded"), &json!(2)), "{job}");
    assert_eq!(daemon.get(&similar(&url, "alpha/m3.py")).await.0, 200);
    assert!(left_over(&data).is_empty());
    assert!(daemon.stop().await.success());
    let file = rusqlite::Connection::open(data.join("tidemill.sqlite3")).unwrap();
    let rows = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(rows("SELECT count(*) FROM analytics_graphs"), 1);
    assert_eq!(rows("SELECT count(*) FROM analytics_graph_files"), 83);
}

#[tokio::test]
async fn daemon_that_stops_gives_its_training_back_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let source = tempfile::tempdir().unwrap();
    let url = repository(source.path(), &two_packages(40));
    let data = directory.path().join("data");
    let mut daemon = Daemon::start(&data, &[LEXICAL, FILES, "graph.training.epochs=10000"]).await;
    let id = ingest(&daemon, &url).await;
    daemon.wait_for(STATUS, "the training", is_learning).await;
    assert!(daemon.stop().await.success());
    assert!(left_over(&data).is_empty());
    let daemon = Daemon::start(&data, &[LEXICAL, FILES]).await;
    let job = ended(&daemon, &id).await;
    assert_eq!((&job["state"], &job["attempts"]), (&json!("succeeded"), &json!(1)), "it does not count: {job}");
}

#[tokio::test]
async fn training_that_is_called_off_ends_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let source = tempfile::tempdir().unwrap();
    let url = repository(source.path(), &two_packages(40));
    let data = directory.path().join("data");
    let daemon = Daemon::start(&data, &[LEXICAL, FILES, "graph.training.epochs=10000"]).await;
    let id = ingest(&daemon, &url).await;
    daemon.wait_for(STATUS, "the training", is_learning).await;
    assert_eq!(daemon.delete(&format!("/v1/jobs/{id}")).await.0, 202);
    assert_eq!(ended(&daemon, &id).await["state"], "cancelled");
    daemon.wait_for(STATUS, "the worker to be free", |status| status["status"] == "Idle").await;
    assert_eq!(daemon.get("/v1/graphs").await.1["items"], json!([]));
    assert!(left_over(&data).is_empty());
}

#[tokio::test]
async fn store_that_is_away_for_a_moment_costs_no_training() {
    let directory = tempfile::tempdir().unwrap();
    let source = tempfile::tempdir().unwrap();
    let url = repository(source.path(), &two_packages(3));
    // a second attempt is not allowed: the first has to wait
    let settings = [LEXICAL, FILES, "jobs.kinds.graph.attempts=1"];
    let daemon = Daemon::start(&directory.path().join("data"), &settings).await;
    let (status, answer) = daemon.post("/v1/faults/store", &json!({ "seconds": 0.5 })).await;
    assert_eq!(status, 202, "{answer}");
    learned(&daemon, &url).await;
    assert_eq!(daemon.get(&similar(&url, "main.py")).await.0, 200);
}

#[tokio::test]
async fn bad_repositories_end_with_their_reason_and_the_worker_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let folders = tempfile::tempdir().unwrap();
    let at = |name: &str| folders.path().join(name);
    let no_source = repository(&at("no-source"), &[("README.md".to_owned(), "words".to_owned())]);
    let huge = repository(&at("huge"), &two_packages(60));
    git2::Repository::init(at("empty")).unwrap();
    std::fs::create_dir(at("plain")).unwrap();
    let url = |name: &str| format!("file://{}", at(name).display());
    let settings = [LEXICAL, FILES, "graph.repository.max_source_files=100", "jobs.kinds.graph.attempts=1"];
    let daemon = Daemon::start(&directory.path().join("data"), &settings).await;
    let cases = [
        (url("empty"), "no commit"),
        (url("plain"), "plain"),
        (url("nowhere"), "nowhere"),
        (no_source, "no source files"),
        (huge, "100 source files"),
        ("https://tidemill.invalid/a/b".to_owned(), "tidemill.invalid"),
    ];
    for (url, reason) in &cases {
        let job = ended(&daemon, &ingest(&daemon, url).await).await;
        assert_eq!(job["state"], "dead", "{url}: {job}");
        assert!(job["reason"].as_str().unwrap().contains(reason), "{url}: {job}");
    }
    let bad_branch = json!({"kind": "graph", "payload": {"repo_url": cases[3].0, "branch": "--upload-pack=touch x"}});
    let (status, job) = daemon.post("/v1/jobs", &bad_branch).await;
    assert_eq!(status, 202, "{job}");
    let job = ended(&daemon, job["id"].as_str().unwrap()).await;
    assert!(job["state"] == "dead" && job["reason"].as_str().unwrap().contains("branch name"), "{job}");
    let (status, refusal) = daemon.post(INGEST, &json!({ "repo_url": "ssh://git@example.com/a/b" })).await;
    assert_eq!((status, &refusal["error"]["code"]), (400, &json!("TM0012")), "ssh is not allowed here");

    let good = repository(
        &at("good"),
        &[("a.py".to_owned(), "import b\nimport a\n".to_owned()), ("b.py".to_owned(), "import a\n".to_owned())],
    );
    learned(&daemon, &good).await;
    assert_eq!(
        daemon.get(&similar(&good, "a.py")).await.1["results"][0]["file_path"],
        "b.py",
        "a cycle and an import of itself"
    );
    assert!(left_over(&directory.path().join("data")).is_empty());
}

/// The command line; it needs no daemon.
fn tidemill(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidemill"))
        .args(arguments)
        .env("TIDEMILL_CONFIG", Path::new(env!("CARGO_MANIFEST_DIR")).join("config/default.toml"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn command_line_learns_a_repository_and_writes_all_files() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source");
    repository(&source, &two_packages(8));
    let at = |name: &str| directory.path().join(name).display().to_string();
    let source = source.display().to_string();
    let files = [at("v.csv"), at("p.svg"), at("g.graphml"), at("e.tsv"), at("v.parquet")];
    let figures = out(&tidemill(&[
        "graph",
        &source,
        "--out",
        &files[0],
        "--svg",
        &files[1],
        "--export",
        &files[2],
        "--json",
        "--seed",
        "7",
        "--similar",
        "alpha/m1.py",
        "-k",
        "3",
    ]));
    let figures: Value = serde_json::from_str(&figures).unwrap();
    assert_eq!((&figures["files"], figures["similar"].as_array().unwrap().len()), (&json!(19), 3), "{figures}");
    let mut csv = csv::Reader::from_path(&files[0]).unwrap();
    assert_eq!(csv.headers().unwrap().len(), 2 + 64);
    let rows: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    assert_eq!((rows.len(), &rows[0][0], &rows[0][1]), (19, "alpha/__init__.py", "python"));
    assert!(std::fs::read_to_string(&files[1]).unwrap().contains("<title>alpha/m1.py</title>"));
    assert!(std::fs::read_to_string(&files[2]).unwrap().contains("<graphml"));

    out(&tidemill(&["graph", &source, "--export", &files[3]]));
    let edges = std::fs::read_to_string(&files[3]).unwrap();
    assert!(edges.contains("alpha/m0.py\talpha/m1.py\t1\n"), "{edges}");
    let one_thread = ["--seed", "7", "--set", "graph.training.threads=1", "--out"];
    let learn = |file: &str| out(&tidemill(&[&["graph", "--edges", &files[3]], &one_thread[..], &[file]].concat()));
    learn(&files[4]);
    learn(&at("again.parquet"));
    assert_eq!(
        std::fs::read(&files[4]).unwrap(),
        std::fs::read(at("again.parquet")).unwrap(),
        "the same seed, the same vectors"
    );
    check_parquet(Path::new(&files[4]));
}

/// Reads the file back with the library's own reader.
fn check_parquet(path: &Path) {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::RowAccessor as _;
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 17, "files without an edge are not in the list");
    for row in rows {
        assert!(std::path::Path::new(row.get_string(0).unwrap()).extension().is_some_and(|ending| ending == "py"));
        assert_eq!(row.get_list(1).unwrap().len(), 64);
    }
}

#[test]
fn command_line_says_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let edges = directory.path().join("edges.tsv");
    std::fs::write(&edges, "a\tb\na\tc\t-1\n").unwrap();
    let edges = edges.display().to_string();
    for (arguments, code, said) in [
        (&["graph"][..], 2, "required"),
        (&["graph", "/no/such/folder"], 2, "/no/such/folder"),
        (&["graph", "ftp://example.com/a"], 2, "ftp"),
        (&["graph", "https://example.com/--upload-pack=x/a"], 2, "dash"),
        (&["graph", "https://tidemill.invalid/a/b"], 69, "tidemill.invalid"),
        (&["graph", "src", "--branch=--upload-pack=x"], 2, "branch name"),
        (&["graph", "--edges", "/no/such/file"], 1, "/no/such/file"),
        (&["graph", "--edges", &edges], 1, "line 2"),
        (&["graph", "--edges", &edges, "--out", "x.npy"], 2, ".parquet or .csv"),
        (&["graph", "--edges", &edges, "--set", "graph.training.epochs=0"], 78, "graph.training.epochs"),
    ] {
        let output = tidemill(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(said), "{arguments:?}: {text}");
    }
}
