//! The connection to Redis: one per process, shared by all, made anew when it breaks.
//!
//! Commands of all callers share one socket and don't wait for each other. A call ends within its deadline, whatever the
//! server does. Connecting is tried by one caller at a time; after a failure the others are told the reason at once until
//! the next attempt is due. The redis crate's own manager is not used: it never tries again after a wrong password, and
//! a caller that gives up waiting for it does not learn why.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo as _, Pipeline,
    RedisError, Script, ServerErrorKind, TlsCertificates, Value,
};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use crate::config::redis::RedisConfig;
use crate::stores::documents::StoreError;
use crate::telemetry::metrics::store_operation;

/// Label of this store in metrics.
const STORE: &str = "redis";
/// How long a health check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// First bound of the wait between two attempts to connect.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// Commands that wait to be written to the socket; further callers wait for room.
const PIPELINE_BUFFER: usize = 1024;
/// First word of the server's answer to a write it has no memory for.
const OUT_OF_MEMORY: &str = "OOM";
/// How the server begins its answer to what it does not take for the protocol, such as a long command of a connection
/// that lost its right to send any.
const PROTOCOL_ERROR: &str = "Protocol error";

/// Handle on the connection. Cheap to clone; the connection closes with the last one.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    /// Host and port, for messages; never a password.
    address: String,
    key_prefix: String,
    connect_timeout: Duration,
    command_timeout: Duration,
    backoff_max: Duration,
    link: Mutex<Link>,
    /// Connections made so far.
    connections: AtomicU64,
    /// A thread of its own: an actor that blocks its thread must not stall everybody's socket. Taken at the end.
    runtime: Option<Runtime>,
}

/// The socket, or why there is none.
struct Link {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that an error of an old one does not end a new one.
    generation: u64,
    /// Failed attempts in a row.
    failures: u32,
    /// No attempt before this time.
    retry_at: Instant,
    /// Why the last attempt failed.
    reason: String,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // plain dropping would wait, which is not allowed on an async thread
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Redis({})", self.shared.address)
    }
}

/// What a server says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Such as `7.0.15`.
    pub version: String,
    /// Whether it takes writes: false for a read-only replica.
    pub writable: bool,
}

impl Redis {
    /// Prepares the connection; it is made by the first call, so that a server that is away does not fail the start.
    ///
    /// # Errors
    /// [`StoreError::InvalidQuery`] if the URL is wrong, [`StoreError::Damaged`] if the certificates can't be read.
    pub fn open(config: &RedisConfig) -> Result<Self, StoreError> {
        // fails if one is installed already, which then is the one to use
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (client, address) = client(config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("tidemill-redis")
            .enable_all()
            .build()
            .map_err(|error| StoreError::Unavailable(format!("no thread for redis: {error}")))?;
        let link = Link {
            connection: None,
            generation: 0,
            failures: 0,
            retry_at: Instant::now(),
            reason: "not connected yet".to_owned(),
        };
        let shared = Shared {
            client,
            address,
            key_prefix: config.key_prefix.clone(),
            connect_timeout: config.connect_timeout(),
            command_timeout: config.command_timeout(),
            backoff_max: config.backoff_max(),
            link: Mutex::new(link),
            connections: AtomicU64::new(0),
            runtime: Some(runtime),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The key of this name in this installation: `PREFIX:NAME`.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.shared.key_prefix)
    }

    /// Host and port, for messages.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Connections made since the start; over 1 it was lost and found again.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// How long a call may take.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.shared.command_timeout
    }

    /// Longest wait between two attempts to connect.
    #[must_use]
    pub fn longest_backoff(&self) -> Duration {
        self.shared.backoff_max
    }

    /// Sends one command. `operation` is its label in metrics.
    ///
    /// A call that ends as unavailable may have been carried out all the same: it must be safe to repeat.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the server is away, full, read-only, or refuses the password;
    /// [`StoreError::Refused`] if it refuses the command; [`StoreError::Damaged`] if a key holds what is not ours.
    pub async fn query<T: FromRedisValue>(&self, operation: &'static str, command: Cmd) -> Result<T, StoreError> {
        let value = self
            .run(operation, move |mut connection| async move { connection.send_packed_command(&command).await })
            .await?;
        self.read(operation, value)
    }

    /// Sends commands at once; the answers as one value, as [`Pipeline::query_async`] gives them.
    ///
    /// # Errors
    /// As [`Redis::query`].
    pub async fn pipeline<T>(&self, operation: &'static str, pipeline: Pipeline) -> Result<T, StoreError>
    where
        T: FromRedisValue + Send + 'static,
    {
        self.run(operation, move |mut connection| async move { pipeline.query_async(&mut connection).await }).await
    }

    /// Runs a script on keys and arguments; loads it where the server does not have it yet.
    ///
    /// # Errors
    /// As [`Redis::query`].
    pub async fn script<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &Arc<Script>,
        keys: Vec<String>,
        arguments: Vec<Vec<u8>>,
    ) -> Result<T, StoreError> {
        let script = Arc::clone(script);
        let call = move |mut connection: MultiplexedConnection| async move {
            let mut invocation = script.prepare_invoke();
            for key in keys {
                invocation.key(key);
            }
            for argument in arguments {
                invocation.arg(argument);
            }
            invocation.invoke_async::<Value>(&mut connection).await
        };
        let value = self.run(operation, call).await?;
        self.read(operation, value)
    }

    /// Runs `work` on the connection's own thread; nobody waits for it.
    pub fn background(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.shared.runtime {
            runtime.spawn(work);
        }
    }

    /// Asks the server who it is; for health checks. Deadline 2 s.
    ///
    /// # Errors
    /// Why it does not answer.
    pub async fn check(&self) -> Result<ServerInfo, StoreError> {
        let mut command = redis::cmd("INFO");
        command.arg("server").arg("replication");
        let Ok(answer) = tokio::time::timeout(CHECK_TIMEOUT, self.query::<String>("check", command)).await else {
            return Err(self.unavailable("does not answer in time"));
        };
        let text = answer?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        let writable = field("role:") != "slave" || field("slave_read_only:") == "0";
        Ok(ServerInfo { version: field("redis_version:").to_owned(), writable })
    }

    /// As [`Redis::check`], for those who need it to take writes: its version.
    ///
    /// # Errors
    /// Why it does not answer, or that it is read-only.
    pub async fn usable(&self) -> Result<String, StoreError> {
        let info = self.check().await?;
        if info.writable {
            Ok(format!("Redis {} at {}", info.version, self.shared.address))
        } else {
            Err(self.unavailable("is a read-only replica"))
        }
    }

    /// A connection of its own that hears channels. The caller bounds the wait.
    pub(super) async fn pubsub(&self) -> Result<redis::aio::PubSub, RedisError> {
        self.shared.client.get_async_pubsub().await
    }

    /// Runs a task beside the connection, on its thread; `None` while closing.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<tokio::task::JoinHandle<()>> {
        self.shared.runtime.as_ref().map(|runtime| runtime.spawn(task))
    }

    /// Runs `work` on the connection's own thread, within the deadline, and measures it.
    async fn run<T, F, R>(&self, operation: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(MultiplexedConnection) -> R + Send + 'static,
        R: Future<Output = Result<T, RedisError>> + Send,
    {
        let started = Instant::now();
        let this = self.clone();
        let Some(runtime) = &self.shared.runtime else { return Err(self.unavailable("connection is closed")) };
        let call = runtime.spawn(async move {
            match tokio::time::timeout(this.shared.command_timeout, this.attempt(work)).await {
                Ok(result) => result,
                Err(_) => Err(this.unavailable("does not answer in time")),
            }
        });
        let result = match call.await {
            Ok(result) => result,
            Err(error) => Err(self.unavailable(&error.to_string())),
        };
        store_operation(STORE, operation, outcome(&result), started.elapsed());
        result
    }

    async fn attempt<T, F, R>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(MultiplexedConnection) -> R,
        R: Future<Output = Result<T, RedisError>>,
    {
        let (connection, generation) = self.connection().await?;
        let guard = Suspicion { redis: self, generation, armed: true };
        match work(connection).await {
            Ok(value) => {
                guard.dismiss();
                Ok(value)
            }
            Err(error) => {
                if !is_broken(&error) {
                    guard.dismiss();
                }
                Err(self.translate(&error))
            }
        }
    }

    /// The socket, made anew if it was lost and an attempt is due.
    async fn connection(&self) -> Result<(MultiplexedConnection, u64), StoreError> {
        let mut link = self.shared.link.lock().await;
        if let Some(connection) = &link.connection {
            return Ok((connection.clone(), link.generation));
        }
        if Instant::now() < link.retry_at {
            return Err(self.unavailable(&link.reason));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.shared.connect_timeout))
            .set_response_timeout(Some(self.shared.command_timeout))
            .set_pipeline_buffer_size(PIPELINE_BUFFER);
        // noted before the attempt: a caller that gives up meanwhile leaves it as failed
        link.failures = link.failures.saturating_add(1);
        link.retry_at = Instant::now() + backoff(link.failures, self.shared.backoff_max);
        "does not answer in time".clone_into(&mut link.reason);
        match self.shared.client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => {
                self.shared.connections.fetch_add(1, Ordering::Relaxed);
                if link.generation > 0 {
                    tracing::info!(address = %self.shared.address, "connected to redis again");
                }
                link.generation += 1;
                link.failures = 0;
                link.connection = Some(connection.clone());
                Ok((connection, link.generation))
            }
            Err(error) => {
                link.reason = reason(&error);
                link.retry_at = Instant::now() + backoff(link.failures, self.shared.backoff_max);
                if link.failures == 1 {
                    tracing::warn!(address = %self.shared.address, reason = %link.reason, "redis is away");
                }
                Err(self.unavailable(&link.reason))
            }
        }
    }

    /// Lets go of a connection that failed, unless a newer one took its place.
    fn drop_connection(&self, generation: u64) {
        let this = self.clone();
        let Some(runtime) = &self.shared.runtime else { return };
        runtime.spawn(async move {
            let mut link = this.shared.link.lock().await;
            if link.generation == generation {
                link.connection = None;
                link.retry_at = Instant::now();
            }
        });
    }

    fn read<T: FromRedisValue>(&self, operation: &str, value: Value) -> Result<T, StoreError> {
        let value = value.extract_error().map_err(|error| self.translate(&error))?;
        T::from_redis_value(value).map_err(|error| {
            StoreError::Damaged(format!("redis at {}: unexpected answer to {operation}: {error}", self.shared.address))
        })
    }

    fn unavailable(&self, reason: &str) -> StoreError {
        StoreError::Unavailable(format!("redis at {}: {reason}", self.shared.address))
    }

    /// Which of our errors it is: everything that an operator or time can mend is waited for.
    fn translate(&self, error: &RedisError) -> StoreError {
        let text = format!("redis at {}: {}", self.shared.address, reason(error));
        match error.kind() {
            _ if is_broken(error) => StoreError::Unavailable(text),
            ErrorKind::UnexpectedReturnType => StoreError::Damaged(text),
            ErrorKind::Server(
                ServerErrorKind::ResponseError | ServerErrorKind::ExecAbort | ServerErrorKind::CrossSlot,
            ) if error.code() != Some(OUT_OF_MEMORY) => StoreError::Refused(text),
            ErrorKind::Extension if error.code() == Some("WRONGTYPE") => StoreError::Damaged(text),
            _ => StoreError::Unavailable(text),
        }
    }
}

/// Lets go of the connection unless the call says that it is fine; a call cut off by its deadline can't say so.
struct Suspicion<'a> {
    redis: &'a Redis,
    generation: u64,
    armed: bool,
}

impl Suspicion<'_> {
    fn dismiss(mut self) {
        self.armed = false;
    }
}

impl Drop for Suspicion<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.redis.drop_connection(self.generation);
        }
    }
}

/// Whether the connection is of no use after this error.
fn is_broken(error: &RedisError) -> bool {
    match error.kind() {
        // after a failover the name may lead to another server
        ErrorKind::Io
        | ErrorKind::Parse
        | ErrorKind::AuthenticationFailed
        | ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => true,
        _ => error.code() == Some("NOAUTH") || error.detail().is_some_and(|detail| detail.starts_with(PROTOCOL_ERROR)),
    }
}

/// What an operator has to know: the server's words, without the crate's categories.
fn reason(error: &RedisError) -> String {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return "refuses the user or the password (redis.password)".to_owned();
    }
    if error.is_timeout() {
        return "does not answer in time".to_owned();
    }
    match (error.code(), error.detail()) {
        (Some("NOAUTH"), _) => "wants a password (redis.password)".to_owned(),
        (_, Some(detail)) if detail.contains("unauthenticated") => "wants a password (redis.password)".to_owned(),
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}

fn outcome<T>(result: &Result<T, StoreError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(StoreError::Unavailable(_)) => "unavailable",
        Err(StoreError::Refused(_)) => "refused",
        Err(StoreError::InvalidQuery(_)) => "invalid",
        Err(StoreError::Damaged(_)) => "damaged",
    }
}

/// A wait between zero and a bound that doubles per failure in a row.
fn backoff(failures: u32, max: Duration) -> Duration {
    let bound = FIRST_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(max);
    bound.mul_f64(fastrand::f64())
}

/// The client and its address for messages.
fn client(config: &RedisConfig) -> Result<(Client, String), StoreError> {
    let wrong = |error: RedisError| StoreError::InvalidQuery(format!("redis.url: {error}"));
    let info = config.url.as_str().into_connection_info().map_err(wrong)?;
    let mut settings = info.redis_settings().clone();
    if let Some(password) = &config.password {
        settings = settings.set_password(password.expose());
    }
    let settings = settings.set_lib_name("tidemill", env!("CARGO_PKG_VERSION"));
    let info = info.set_redis_settings(settings);
    let address = info.addr().to_string();
    let is_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
    let client = match &config.ca_file {
        Some(path) if is_tls => {
            let pem = std::fs::read(path)
                .map_err(|error| StoreError::Damaged(format!("redis.ca_file {}: {error}", path.display())))?;
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(pem) }).map_err(wrong)?
        }
        _ => Client::open(info).map_err(wrong)?,
    };
    Ok((client, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_its_bound() {
        for failures in 1..40 {
            let wait = backoff(failures, Duration::from_secs(2));
            assert!(wait <= Duration::from_secs(2) && wait <= FIRST_BACKOFF * (1 << failures.min(10)), "{wait:?}");
        }
    }

    #[tokio::test]
    async fn refused_connection_names_address_and_reason_and_never_the_password() {
        let config = RedisConfig {
            url: "redis://127.0.0.1:1".to_owned(),
            password: Some(crate::config::secret::Secret::new("geheim")),
            ..RedisConfig::default()
        };
        let redis = Redis::open(&config).map_err(|error| error.to_string());
        let Ok(redis) = redis else { panic!("{redis:?}") };
        let Err(error) = redis.query::<String>("ping", redis::cmd("PING")).await else {
            panic!("nobody listens there")
        };
        assert!(error.is_retriable());
        let text = format!("{error} {redis:?}");
        assert!(text.contains("127.0.0.1:1") && !text.contains("geheim"), "{text}");
    }
}
