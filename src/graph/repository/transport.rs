//! Our own HTTP transport for libgit2.
//!
//! Its own one resolves names out of our sight and follows redirects wherever they lead. This one connects only to
//! addresses that were checked after they were resolved, checks every redirect, counts what it receives and can be
//! told to stop at any moment.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response, StatusCode};
use tokio::runtime::Runtime;

use super::address::is_public;
use super::error::RepositoryError;
use super::remote::Watch;
use super::source::check_host;

/// How often a waiting transfer looks whether it shall stop.
const TICK: Duration = Duration::from_millis(100);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of a host; it may think for a while before it sends a pack.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
/// Redirects in a row.
const MAX_REDIRECTS: usize = 5;
/// Largest request: what we have and want, in lines of 50 bytes.
const MAX_REQUEST_BYTES: usize = 16 << 20;

thread_local! {
    /// The fetch that runs on this thread; libgit2 makes transports out of our reach.
    static CURRENT: RefCell<Option<Arc<Watch>>> = const { RefCell::new(None) };
}

/// Makes this the transport for `http` and `https`. To be called once, before any fetch.
pub(super) fn register() -> Result<(), git2::Error> {
    for scheme in ["http", "https"] {
        // SAFETY: registration must not race with another or with the making of transports: the only caller runs once
        // per process, before the first remote is made.
        unsafe {
            git2::transport::register(scheme, |remote| {
                let watch = CURRENT.with_borrow(Clone::clone);
                let watch = watch.ok_or_else(|| git2::Error::from_str("no fetch runs on this thread"))?;
                Transport::smart(remote, true, Http::new(watch)?)
            })?;
        }
    }
    Ok(())
}

/// Runs a fetch whose transports obey `watch`.
pub(super) fn with_watch<T>(watch: &Arc<Watch>, fetch: impl FnOnce() -> T) -> T {
    CURRENT.set(Some(Arc::clone(watch)));
    let result = fetch();
    CURRENT.set(None);
    result
}

/// Transport of one fetch.
struct Http {
    connection: Arc<Connection>,
}

struct Connection {
    watch: Arc<Watch>,
    runtime: Runtime,
    client: Client,
    /// Where a redirect led to: the rest of the talk goes there.
    moved_to: Mutex<Option<String>>,
}

impl Http {
    fn new(watch: Arc<Watch>) -> Result<Self, git2::Error> {
        let error = |error: &dyn std::fmt::Display| git2::Error::from_str(&error.to_string());
        crate::tls::install_provider();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| error(&e))?;
        let redirects = Arc::clone(&watch);
        let client = Client::builder()
            .user_agent(concat!("git/2.0 (tidemill ", env!("CARGO_PKG_VERSION"), ")"))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // a proxy would resolve names where we cannot check them
            .no_proxy()
            .redirect(Policy::custom(move |attempt| follow(attempt, &redirects)))
            .dns_resolver(Arc::new(CheckedResolver { watch: Arc::clone(&watch) }))
            .build()
            .map_err(|e| error(&e))?;
        Ok(Self { connection: Arc::new(Connection { watch, runtime, client, moved_to: Mutex::new(None) }) })
    }
}

impl SmartSubtransport for Http {
    fn action(&self, url: &str, action: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let moved = self.connection.moved_to.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let base = moved.unwrap_or_else(|| url.trim_end_matches('/').to_owned());
        let asks = match action {
            Service::UploadPackLs => true,
            Service::UploadPack => false,
            Service::ReceivePackLs | Service::ReceivePack => {
                return Err(git2::Error::from_str("nothing is ever pushed"));
            }
        };
        let connection = Arc::clone(&self.connection);
        Ok(Box::new(Exchange { connection, base, asks, request: Vec::new(), response: None, chunk: Bytes::new() }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One request and its response.
struct Exchange {
    connection: Arc<Connection>,
    base: String,
    /// For the list of references; otherwise for a pack.
    asks: bool,
    request: Vec<u8>,
    /// Once it was sent.
    response: Option<Response>,
    /// What was received and not yet read.
    chunk: Bytes,
}

impl Connection {
    /// Waits for something as long as the watch allows.
    fn wait<T, F>(&self, what: impl FnOnce() -> F) -> io::Result<T>
    where
        F: Future<Output = reqwest::Result<T>>,
    {
        self.runtime.block_on(async {
            let what = what();
            tokio::pin!(what);
            loop {
                tokio::select! {
                    result = &mut what => return result.map_err(|error| self.failed(&error)),
                    () = tokio::time::sleep(TICK) => {
                        if !self.watch.goes_on() {
                            return Err(io::Error::other("told to stop"));
                        }
                    }
                }
            }
        })
    }

    fn failed(&self, error: &reqwest::Error) -> io::Error {
        let reason = innermost(error);
        self.watch.fail(RepositoryError::Unreachable { url: self.watch.url.clone(), reason: reason.clone() });
        io::Error::other(reason)
    }
}

impl Exchange {
    fn send(&mut self) -> io::Result<Response> {
        let Connection { client, watch, moved_to, .. } = &*self.connection;
        let request = if self.asks {
            client.get(format!("{}/info/refs?service=git-upload-pack", self.base))
        } else {
            client
                .post(format!("{}/git-upload-pack", self.base))
                .header("content-type", "application/x-git-upload-pack-request")
                .header("accept", "application/x-git-upload-pack-result")
                .body(std::mem::take(&mut self.request))
        };
        // made inside: without a runtime around it a request with a time limit panics
        let response = self.connection.wait(|| request.send())?;
        let expected = if self.asks {
            "application/x-git-upload-pack-advertisement"
        } else {
            "application/x-git-upload-pack-result"
        };
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let url = watch.url.clone();
        let reason = match response.status() {
            StatusCode::OK if kind.split(';').next() == Some(expected) => {
                let landed = response.url().as_str();
                if let Some((base, _)) = landed.split_once("/info/refs").filter(|_| self.asks) {
                    *moved_to.lock().unwrap_or_else(PoisonError::into_inner) = Some(base.to_owned());
                }
                return Ok(response);
            }
            StatusCode::OK => RepositoryError::NotFound { url, reason: "the host does not speak git there".to_owned() },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE => {
                RepositoryError::NotFound { url, reason: format!("the host answers {}", response.status()) }
            }
            status => RepositoryError::Unreachable { url, reason: format!("the host answers {status}") },
        };
        let error = io::Error::other(reason.to_string());
        watch.fail(reason);
        Err(error)
    }

    fn fill(&mut self) -> io::Result<()> {
        let response = if let Some(response) = &mut self.response {
            response
        } else {
            let response = self.send()?;
            self.response.insert(response)
        };
        let chunk = self.connection.wait(|| response.chunk())?.unwrap_or_default();
        let watch = &self.connection.watch;
        if !watch.receive(chunk.len() as u64) || !watch.goes_on() {
            return Err(io::Error::other("told to stop"));
        }
        self.chunk = chunk;
        Ok(())
    }
}

impl Read for Exchange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            self.fill()?;
        }
        let count = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Write for Exchange {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.request.len() + bytes.len() > MAX_REQUEST_BYTES {
            return Err(io::Error::other("request is too long"));
        }
        self.request.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a redirect may be followed.
fn follow(attempt: Attempt<'_>, watch: &Watch) -> reqwest::redirect::Action {
    let url = attempt.url();
    let was_encrypted = attempt.previous().iter().any(|url| url.scheme() == "https");
    let scheme_fits = match url.scheme() {
        "https" => watch.access.https,
        "http" => watch.access.http && !was_encrypted,
        _ => false,
    };
    let host = url.host_str().unwrap_or_default().to_owned();
    let refused = if attempt.previous().len() > MAX_REDIRECTS {
        Some("redirects without end".to_owned())
    } else if !scheme_fits || url.password().is_some() || !url.username().is_empty() {
        Some(format!("redirects to {}://{host}, which is not allowed", url.scheme()))
    } else {
        check_host(&host, watch.access).err().map(|error| format!("redirects elsewhere: {error}"))
    };
    match refused {
        Some(reason) => attempt.error(reason),
        None => attempt.follow(),
    }
}

/// Resolves names and gives only addresses that may be connected to.
struct CheckedResolver {
    watch: Arc<Watch>,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let watch = Arc::clone(&self.watch);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await.map(Iterator::collect::<Vec<SocketAddr>>);
            let addresses = match found {
                Ok(addresses) => addresses,
                Err(error) => {
                    watch.fail(RepositoryError::Unresolvable { host, reason: error.to_string() });
                    return Err(error.into());
                }
            };
            let refused = addresses.iter().find(|address| !watch.access.private_addresses && !is_public(address.ip()));
            if let Some(address) = refused {
                let error = RepositoryError::PrivateAddress { host, address: address.ip().to_string() };
                let text = error.to_string();
                watch.fail(error);
                return Err(text.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// What is at the bottom of an error: the rest repeats the address.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::repository::{Access, Limits, Source};

    #[test]
    fn names_that_lead_to_our_own_network_are_not_connected_to() -> Result<(), Box<dyn std::error::Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        for (private_addresses, is_taken) in [(false, false), (true, true)] {
            let access = Access { private_addresses, ..Access::default() };
            let source = Source::parse("https://example.com/a", access)?;
            let watch = Watch::new(&source, &Limits::default());
            let resolver = CheckedResolver { watch: Arc::clone(&watch) };
            // it always leads to this machine, whoever answers for it
            let resolved = runtime.block_on(resolver.resolve("localhost".parse()?));
            assert_eq!(resolved.is_ok(), is_taken);
            let reason = watch.take_reason().map(|reason| matches!(reason, RepositoryError::PrivateAddress { .. }));
            assert_eq!(reason, (!is_taken).then_some(true));
        }
        Ok(())
    }
}
