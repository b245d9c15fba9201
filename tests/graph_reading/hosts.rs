//! Repositories from a host over HTTP: a small server around `git upload-pack`, well-behaved and not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tidemill::graph::dependencies::{self, ReadOptions};
use tidemill::graph::reading::{Progress, Stage, unobserved};
use tidemill::graph::repository::{self, Access, Checkout, Limits, Places, RepositoryError, Source};

use crate::fixture::{Fixture, count, imports_of};

const ACCESS: Access = Access { https: false, ssh: false, http: true, file: false, private_addresses: true };

/// How the host answers.
#[derive(Clone)]
enum Manner {
    Serves,
    Redirects(String),
    Answers(&'static str),
    SaysNothing,
}

/// A git host on this machine; serves until the process ends.
struct Host {
    port: u16,
    requests: Arc<AtomicUsize>,
    manner: Arc<Mutex<Manner>>,
}

impl Host {
    fn of(repository: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, manner) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Manner::Serves)));
        let (counted, behaves) = (Arc::clone(&requests), Arc::clone(&manner));
        thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::SeqCst);
                let manner = behaves.lock().unwrap().clone();
                if matches!(manner, Manner::SaysNothing) {
                    silent.push(stream);
                } else {
                    // a client that goes away is no fault of the server
                    let _ = answer(stream, &repository, &manner);
                }
            }
        });
        Self { port, requests, manner }
    }

    fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    fn source(&self) -> Source {
        Source::parse(&format!("http://127.0.0.1:{}/shop.git", self.port), ACCESS).unwrap()
    }

    fn requests(&self) -> usize {
        self.requests.swap(0, Ordering::SeqCst)
    }
}

fn answer(stream: TcpStream, repository: &Path, manner: &Manner) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line)?;
    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    match manner {
        Manner::Redirects(to) if !target.starts_with("/moved") => {
            write!(
                out,
                "HTTP/1.1 301 Moved\r\nLocation: {to}/info/refs?service=git-upload-pack\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        }
        Manner::Answers(status) => {
            write!(out, "HTTP/1.1 {status}\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        }
        _ => {
            let asks = target.ends_with("/info/refs?service=git-upload-pack");
            let (kind, begin) =
                if asks { ("advertisement", "001e# service=git-upload-pack\n0000") } else { ("result", "") };
            let answered = upload_pack(repository, asks, &body)?;
            write!(
                out,
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-{kind}\r\nConnection: close\r\n\r\n{begin}"
            )?;
            out.write_all(&answered)
        }
    }
}

fn upload_pack(repository: &Path, asks: bool, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut command = Command::new("git");
    command.args(["upload-pack", "--stateless-rpc"]).args(asks.then_some("--advertise-refs")).arg(repository);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    child.stdin.take().unwrap().write_all(body)?;
    Ok(child.wait_with_output()?.stdout)
}

fn fetch(host: &Host, places: &Places) -> Result<Checkout, RepositoryError> {
    repository::fetch(&host.source(), &Limits::default(), places, &unobserved)
}

/// Names in the folder of what is kept, without their digests.
fn kept(places: &Places) -> Vec<String> {
    let entries = std::fs::read_dir(places.kept.as_ref().unwrap()).into_iter().flatten().flatten();
    let mut kinds: Vec<String> =
        entries.filter_map(|entry| Some(entry.path().extension()?.to_str()?.to_owned())).collect();
    kinds.sort_unstable();
    kinds
}

#[test]
fn one_commit_is_fetched_and_only_what_changed_is_parsed_again() {
    let fixture = Fixture::of(&[("old.py", "import this\n")]);
    let first = fixture.commit(&[("a.py", "import b\n"), ("b.py", "")]);
    let (host, places) = (Host::of(fixture.path()), fixture.places());
    let read = |checkout: &Checkout| {
        dependencies::read(checkout, &ReadOptions::default(), &Limits::default(), &unobserved).unwrap()
    };

    let checkout = fetch(&host, &places).unwrap();
    assert_eq!((checkout.commit(), checkout.branch()), (first.to_string(), Some(branch_of(&fixture).as_str())));
    assert_eq!(imports_of(&read(&checkout), "a.py"), ["b.py"]);
    assert!(checkout.received_bytes() > 0);
    assert_eq!(count(&places.temporary), 1);
    drop(checkout);
    assert_eq!(count(&places.temporary), 0);
    assert_eq!(kept(&places), ["git", "imports"]);
    let database = std::fs::read_dir(places.kept.as_ref().unwrap())
        .unwrap()
        .flatten()
        .find(|entry| entry.path().is_dir())
        .unwrap();
    let database = git2::Repository::open_bare(database.path()).unwrap();
    let parent = fixture.repository.find_commit(first).unwrap().parent_id(0).unwrap();
    assert!(database.find_commit(first).is_ok() && database.find_commit(parent).is_err(), "the clone is not shallow");

    assert!(host.requests() > 1);
    let graph = read(&fetch(&host, &places).unwrap());
    assert_eq!((graph.parsed, host.requests()), (0, 1), "nothing changed, so nothing is transferred and parsed");

    let second = fixture.commit(&[("a.py", "import b\n"), ("b.py", ""), ("c.py", "import a\n")]);
    let checkout = fetch(&host, &places).unwrap();
    assert_eq!(checkout.commit(), second.to_string());
    let graph = read(&checkout);
    assert_eq!((graph.parsed, graph.files.len()), (1, 3));
    assert_eq!(imports_of(&graph, "c.py"), ["a.py"]);
}

fn branch_of(fixture: &Fixture) -> String {
    fixture.repository.head().unwrap().shorthand().unwrap().to_owned()
}

#[test]
fn what_is_kept_is_made_anew_when_it_is_damaged_and_bounded() {
    let fixture = Fixture::of(&[("a.py", "import b\n"), ("b.py", "")]);
    let host = Host::of(fixture.path());
    let mut places = fixture.places();
    drop(fetch(&host, &places).unwrap());
    for entry in std::fs::read_dir(places.kept.as_ref().unwrap()).unwrap().flatten() {
        std::fs::remove_file(entry.path().join("HEAD")).unwrap();
    }
    assert_eq!(fetch(&host, &places).unwrap().files().len(), 2);
    places.max_kept_bytes = 10;
    drop(fetch(&host, &places).unwrap());
    assert!(kept(&places).is_empty());
    places.kept = None;
    assert_eq!(fetch(&host, &places).unwrap().files().len(), 2);
    assert_eq!(count(&places.temporary), 0);
}

#[test]
fn branches_are_chosen_by_name_even_odd_ones() {
    let fixture = Fixture::of(&[("a.py", "")]);
    let (host, places) = (Host::of(fixture.path()), fixture.places());
    let tip = fixture.repository.head().unwrap().peel_to_commit().unwrap();
    fixture.repository.reference("refs/heads/--upload-pack=touch", tip.id(), true, "").unwrap();
    fixture.repository.set_head("refs/heads/--upload-pack=touch").unwrap();
    fixture.commit(&[("b.py", "")]);
    let checkout = fetch(&host, &places).unwrap();
    assert_eq!((checkout.branch(), checkout.files()[0].path.as_str()), (Some("--upload-pack=touch"), "b.py"));
    let named = |branch: &str| {
        let source = host.source().with_branch(branch).unwrap();
        repository::fetch(&source, &Limits::default(), &places, &unobserved)
    };
    let main = fixture
        .repository
        .branches(None)
        .unwrap()
        .flatten()
        .filter_map(|(branch, _)| Some(branch.name().ok()??.to_owned()));
    let main = main.into_iter().find(|name| !name.starts_with('-')).unwrap();
    assert_eq!(named(&main).unwrap().files()[0].path, "a.py");
    assert!(matches!(named("gone"), Err(RepositoryError::NoBranch { branch, .. }) if branch == "gone"));
}

#[test]
fn redirects_are_followed_only_where_addresses_are_allowed() {
    let fixture = Fixture::of(&[("a.py", "")]);
    let (host, places) = (Host::of(fixture.path()), fixture.places());
    host.behave(Manner::Redirects(format!("http://127.0.0.1:{}/moved", host.port)));
    assert_eq!(fetch(&host, &places).unwrap().files().len(), 1);
    for to in ["ftp://example.com/a", "file:///etc", "https://example.com/a", "http://user:secret@127.0.0.1/a"] {
        host.behave(Manner::Redirects(to.to_owned()));
        let error = fetch(&host, &places).unwrap_err();
        assert!(matches!(&error, RepositoryError::Unreachable { .. }), "{to}: {error}");
        assert!(!error.to_string().contains("secret"));
    }
    assert_eq!(count(&places.temporary), 0);
}

#[test]
fn hosts_that_refuse_are_told_from_hosts_that_fail() {
    let fixture = Fixture::of(&[("a.py", "")]);
    let (host, places) = (Host::of(fixture.path()), fixture.places());
    for status in ["404 Not Found", "401 Unauthorized", "403 Forbidden", "200 OK"] {
        host.behave(Manner::Answers(status));
        let error = fetch(&host, &places).unwrap_err();
        assert!(matches!(error, RepositoryError::NotFound { .. }) && !error.is_retriable(), "{status}: {error}");
    }
    host.behave(Manner::Answers("503 Service Unavailable"));
    let error = fetch(&host, &places).unwrap_err();
    assert!(matches!(error, RepositoryError::Unreachable { .. }) && error.is_retriable(), "{error}");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let source = Source::parse(&format!("http://127.0.0.1:{free}/a"), ACCESS).unwrap();
    let error = repository::fetch(&source, &Limits::default(), &places, &unobserved).unwrap_err();
    assert!(matches!(error, RepositoryError::Unreachable { .. }), "{error}");
    assert_eq!(count(&places.temporary), 0);
}

#[test]
fn a_host_without_commits_is_empty() {
    let fixture = Fixture::empty();
    let host = Host::of(fixture.path());
    assert!(matches!(fetch(&host, &fixture.places()), Err(RepositoryError::Empty { .. })));
}

#[test]
fn transfers_end_at_their_limits_and_when_told_to() {
    let lines = (0..20_000_u64).map(|n| format!("{:x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let noise = lines.collect::<Vec<_>>().concat();
    let fixture = Fixture::of(&[("a.py", &noise)]);
    let (host, places) = (Host::of(fixture.path()), fixture.places());
    let small = Limits { max_transfer_bytes: 10_000, ..Limits::default() };
    let error = repository::fetch(&host.source(), &small, &places, &unobserved).unwrap_err();
    assert!(matches!(error, RepositoryError::TooLarge { limit: 10_000, .. }), "{error}");

    host.behave(Manner::SaysNothing);
    let stop = |progress: Progress| {
        assert_eq!(progress.stage, Stage::Connecting);
        ControlFlow::Break(())
    };
    let error = repository::fetch(&host.source(), &Limits::default(), &places, &stop).unwrap_err();
    assert!(matches!(error, RepositoryError::Cancelled), "{error}");
    let short = Limits { timeout: Duration::from_millis(200), ..Limits::default() };
    let error = repository::fetch(&host.source(), &short, &places, &unobserved).unwrap_err();
    assert!(matches!(error, RepositoryError::TimedOut { .. }), "{error}");
    assert_eq!(count(&places.temporary), 0);
    assert!(kept(&places).is_empty());
}

#[test]
fn folders_of_the_dead_are_swept_and_those_of_the_living_stay() {
    let fixture = Fixture::of(&[("a.py", "")]);
    let (host, places) = (Host::of(fixture.path()), fixture.places());
    let checkout = fetch(&host, &places).unwrap();
    let dead = places.temporary.join("tidemill-graph-dead");
    std::fs::create_dir_all(dead.join("objects.git")).unwrap();
    std::fs::write(dead.join("lock"), "").unwrap();
    std::fs::create_dir(places.temporary.join("somebody-else")).unwrap();
    assert_eq!(repository::sweep(&places.temporary).unwrap(), 1);
    assert!(!dead.exists());
    assert_eq!(
        dependencies::read(&checkout, &ReadOptions::default(), &Limits::default(), &unobserved).unwrap().files.len(),
        1
    );
    drop(checkout);
    assert_eq!(count(&places.temporary), 1);
    assert_eq!(repository::sweep(&places.temporary.join("nowhere")).unwrap(), 0);
}
