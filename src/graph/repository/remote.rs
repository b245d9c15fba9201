//! Fetching one commit from a host by libgit2, watched from outside.

use std::cell::Cell;
use std::net::ToSocketAddrs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use git2::{AutotagOption, Cred, CredentialType, Direction, FetchOptions, Oid, RemoteCallbacks, Repository};

use super::address::is_public;
use super::error::RepositoryError;
use super::limits::Limits;
use super::source::{Access, Location, Source};
use super::transport;
use crate::graph::reading::{Observer, Progress, Stage};

/// How often the observer is asked while the network is waited for.
const TICK: Duration = Duration::from_millis(100);
/// What we call the commit in our own database.
const FETCHED: &str = "refs/tidemill/head";

/// What was fetched.
#[derive(Debug)]
pub(super) struct Tip {
    pub(super) commit: Oid,
    pub(super) branch: Option<String>,
    pub(super) received_bytes: u64,
}

/// What the fetching thread, its transport and the one who waits for it have in common.
#[derive(Debug)]
pub(super) struct Watch {
    /// Address of the repository.
    pub(super) url: String,
    /// What it may reach.
    pub(super) access: Access,
    deadline: Instant,
    limits: Limits,
    stopped: AtomicBool,
    received: AtomicU64,
    /// The first reason to end: libgit2 hands on errors as text only.
    reason: Mutex<Option<RepositoryError>>,
}

impl Watch {
    pub(super) fn new(source: &Source, limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            url: source.url.clone(),
            access: source.access,
            deadline: Instant::now() + limits.timeout,
            limits: limits.clone(),
            stopped: AtomicBool::new(false),
            received: AtomicU64::new(0),
            reason: Mutex::new(None),
        })
    }

    /// Notes why the fetch ends, unless something was noted before.
    pub(super) fn fail(&self, reason: RepositoryError) {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }

    pub(super) fn take_reason(&self) -> Option<RepositoryError> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether to go on; `false` once a reason to end is noted.
    pub(super) fn goes_on(&self) -> bool {
        if self.stopped.load(Ordering::Relaxed) {
            self.fail(RepositoryError::Cancelled);
            return false;
        }
        if Instant::now() > self.deadline {
            self.fail(RepositoryError::TimedOut { seconds: self.limits.timeout.as_secs() });
            return false;
        }
        true
    }

    /// Counts bytes that came in; `false` if that makes too many.
    pub(super) fn receive(&self, bytes: u64) -> bool {
        let before = self.received.fetch_add(bytes, Ordering::Relaxed);
        self.fits(before.saturating_add(bytes))
    }

    /// Notes how many bytes of a pack there are in all; `false` if that is too many.
    fn pack(&self, total: u64) -> bool {
        self.received.fetch_max(total, Ordering::Relaxed);
        self.fits(total)
    }

    fn fits(&self, total: u64) -> bool {
        let fits = total <= self.limits.max_transfer_bytes;
        if !fits {
            self.fail(RepositoryError::TooLarge { what: "bytes to transfer", limit: self.limits.max_transfer_bytes });
        }
        fits
    }

    fn objects(&self, total: usize) -> bool {
        // files, folders and the commit: with one commit there cannot be more
        let limit = self.limits.max_entries as u64 + 2;
        let fits = total as u64 <= limit;
        if !fits {
            self.fail(RepositoryError::TooLarge { what: "entries", limit: self.limits.max_entries as u64 });
        }
        fits
    }
}

/// Fetches the tip into a bare database, which is made if it is not there.
pub(super) fn fetch(
    source: &Source,
    limits: &Limits,
    database: &Path,
    observer: Observer<'_>,
) -> Result<Tip, RepositoryError> {
    let watch = Watch::new(source, limits);
    let (done, finished) = channel::<()>();
    let fetched = thread::scope(|scope| {
        let worker = {
            let watch = Arc::clone(&watch);
            // on a thread of its own: the transport brings a runtime, and this one keeps an eye on the clock
            scope.spawn(move || {
                let _done = done;
                transport::with_watch(&watch, || run(source, database, &watch))
            })
        };
        loop {
            let received = watch.received.load(Ordering::Relaxed);
            let stage = if received == 0 { Stage::Connecting } else { Stage::Receiving };
            if observer(Progress { stage, done: received, total: None }) == ControlFlow::Break(()) {
                watch.stopped.store(true, Ordering::Relaxed);
            }
            if finished.recv_timeout(TICK) == Err(RecvTimeoutError::Disconnected) {
                return worker.join();
            }
        }
    });
    let fetched = fetched.unwrap_or_else(|_| Err(RepositoryError::Damaged("fetching panicked".to_owned())));
    match (watch.take_reason(), fetched) {
        (_, Ok(tip)) => Ok(tip),
        (Some(reason), Err(_)) | (None, Err(reason)) => Err(reason),
    }
}

fn run(source: &Source, database: &Path, watch: &Arc<Watch>) -> Result<Tip, RepositoryError> {
    if let Location::Ssh { host, port } = &source.location {
        check_addresses(host, *port, source.access)?;
    }
    let damaged = |error: git2::Error| RepositoryError::Damaged(error.message().to_owned());
    let repository = if database.exists() { Repository::open_bare(database) } else { Repository::init_bare(database) };
    let repository = repository.map_err(damaged)?;
    let mut remote = repository.remote_anonymous(&source.url).map_err(damaged)?;
    let unreachable = |error: git2::Error| host_error(source, &error);
    let mut connection = remote.connect_auth(Direction::Fetch, Some(callbacks(watch)), None).map_err(unreachable)?;
    let wanted = choose(&connection.list().map_err(unreachable)?.iter().map(Head::from).collect::<Vec<_>>(), source)?;
    if repository.find_commit(wanted.commit).and_then(|commit| commit.tree()).is_err() {
        let mut options = FetchOptions::new();
        options.remote_callbacks(callbacks(watch)).depth(1).download_tags(AutotagOption::None).update_fetchhead(false);
        let refspec = format!("+{}:{FETCHED}", wanted.reference);
        connection.remote().fetch(&[refspec], Some(&mut options), None).map_err(|error| match error.class() {
            git2::ErrorClass::Net | git2::ErrorClass::Http | git2::ErrorClass::Ssh | git2::ErrorClass::Callback => {
                unreachable(error)
            }
            _ => damaged(error),
        })?;
    }
    let branch = wanted.reference.strip_prefix("refs/heads/").map(str::to_owned);
    Ok(Tip { commit: wanted.commit, branch, received_bytes: watch.received.load(Ordering::Relaxed) })
}

fn host_error(source: &Source, error: &git2::Error) -> RepositoryError {
    let (url, reason) = (source.url.clone(), error.message().to_owned());
    match error.code() {
        git2::ErrorCode::Auth | git2::ErrorCode::NotFound => RepositoryError::NotFound { url, reason },
        _ => RepositoryError::Unreachable { url, reason },
    }
}

/// A reference that the host offers.
struct Head {
    name: String,
    commit: Oid,
    target: Option<String>,
}

impl From<&git2::RemoteHead<'_>> for Head {
    fn from(head: &git2::RemoteHead<'_>) -> Self {
        Self { name: head.name().to_owned(), commit: head.oid(), target: head.symref_target().map(str::to_owned) }
    }
}

/// What to fetch.
struct Wanted {
    reference: String,
    commit: Oid,
}

fn choose(heads: &[Head], source: &Source) -> Result<Wanted, RepositoryError> {
    let url = || source.url.clone();
    let reference = source.branch.as_ref().map(|branch| format!("refs/heads/{branch}"));
    let name = reference.as_deref().unwrap_or("HEAD");
    match (heads.iter().find(|head| head.name == name), &source.branch) {
        (Some(head), _) => {
            let reference = head.target.clone().unwrap_or_else(|| head.name.clone());
            Ok(Wanted { reference, commit: head.commit })
        }
        (None, Some(branch)) if !heads.is_empty() => {
            Err(RepositoryError::NoBranch { url: url(), branch: branch.clone() })
        }
        (None, _) => Err(RepositoryError::Empty { url: url() }),
    }
}

fn callbacks(watch: &Arc<Watch>) -> RemoteCallbacks<'static> {
    let mut callbacks = RemoteCallbacks::new();
    let progress = Arc::clone(watch);
    callbacks.transfer_progress(move |stats| {
        progress.pack(stats.received_bytes() as u64) && progress.objects(stats.total_objects()) && progress.goes_on()
    });
    let sideband = Arc::clone(watch);
    callbacks.sideband_progress(move |_| sideband.goes_on());
    let asked = Cell::new(false);
    callbacks.credentials(move |_, user, allowed| {
        // asked again means that the key was refused
        if asked.replace(true) {
            return Err(git2::Error::from_str("the host accepts no key of the agent"));
        }
        match user {
            Some(user) if allowed.contains(CredentialType::SSH_KEY) => Cred::ssh_key_from_agent(user),
            _ => Err(git2::Error::from_str("the host asks for a password")),
        }
    });
    callbacks
}

/// Resolves the host of an SSH address and checks where it leads. libssh2 resolves it again: a name server that
/// answers differently within that moment is not caught here, so SSH is off unless switched on.
fn check_addresses(host: &str, port: u16, access: Access) -> Result<(), RepositoryError> {
    let unresolvable = |reason: String| RepositoryError::Unresolvable { host: host.to_owned(), reason };
    let addresses: Vec<_> = (host, port).to_socket_addrs().map_err(|error| unresolvable(error.to_string()))?.collect();
    if addresses.is_empty() {
        return Err(unresolvable("no address".to_owned()));
    }
    match addresses.iter().find(|address| !access.private_addresses && !is_public(address.ip())) {
        Some(address) => {
            Err(RepositoryError::PrivateAddress { host: host.to_owned(), address: address.ip().to_string() })
        }
        None => Ok(()),
    }
}
