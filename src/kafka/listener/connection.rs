//! One connection: frames in, answers out, in order, each step with a deadline.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::answers::{self, AnswerError, ErrorCode, PartitionOutcome, TopicAnswer};
use super::produce::produce;
use super::requests::{self, Api, Metadata, Produce, RequestError, RequestHeader};
use super::wire::{Reader, WireError};
use super::{Context, PERMIT_BYTES};
use crate::telemetry::metrics;

/// Why a connection ends other than by the client's own wish.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("a request of {bytes} bytes is over the limit of {limit}")]
    FrameTooLarge { bytes: i64, limit: usize },
    #[error("nothing came for {0:?}")]
    Idle(Duration),
    #[error("a request did not arrive whole within {0:?}")]
    SlowRead(Duration),
    #[error("an answer was not taken within {0:?}")]
    SlowWrite(Duration),
    #[error("a batch sent without acknowledgement was refused: {0}")]
    Unacknowledged(String),
    #[error("fetch is not offered: this listener only takes records")]
    Fetch,
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<WireError> for ConnectionError {
    fn from(error: WireError) -> Self {
        Self::Request(error.into())
    }
}

/// A request whole, and its share of the buffer.
struct Frame {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

/// Serves a connection until it ends or the listener stops.
pub(super) async fn serve(context: Arc<Context>, stream: TcpStream, peer: SocketAddr, stop: watch::Receiver<bool>) {
    match run(&context, stream, stop).await {
        Ok(()) => tracing::debug!(%peer, "connection ended"),
        Err(ConnectionError::Io(error)) => tracing::debug!(%peer, %error, "connection lost"),
        Err(error @ ConnectionError::Idle(_)) => tracing::debug!(%peer, %error, "connection closed"),
        Err(error) => {
            metrics::listener_request("connection", "closed");
            tracing::warn!(%peer, %error, "connection closed");
        }
    }
}

async fn run(context: &Context, stream: TcpStream, mut stop: watch::Receiver<bool>) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let (read, mut write) = stream.into_split();
    // The frame being handled is not in the channel, and the reader holds one more.
    let (frames, mut waiting) = mpsc::channel(context.config.max_in_flight_requests.saturating_sub(1).max(1));
    let reading = read_frames(context, read, frames);
    let answering = async {
        loop {
            let frame = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => None,
                frame = waiting.recv() => frame,
            };
            let Some(Frame { bytes, _permit }) = frame else { return Ok(()) };
            if let Some(answer) = handle(context, local, bytes).await? {
                let timeout = Duration::from_millis(context.config.io_timeout_ms);
                tokio::time::timeout(timeout, write.write_all(&answer))
                    .await
                    .map_err(|_| ConnectionError::SlowWrite(timeout))??;
            }
        }
    };
    tokio::pin!(reading, answering);
    tokio::select! {
        answered = &mut answering => answered,
        read = &mut reading => {
            // The reader is done, or failed: what it gave is still answered.
            answering.await?;
            read
        }
    }
}

/// Reads frames until the client closes, into the channel, whose bound stops it.
async fn read_frames(
    context: &Context,
    mut stream: OwnedReadHalf,
    frames: mpsc::Sender<Frame>,
) -> Result<(), ConnectionError> {
    let idle = Duration::from_secs(context.config.idle_timeout_seconds);
    let whole = Duration::from_millis(context.config.io_timeout_ms);
    loop {
        let mut first = [0; 1];
        let read = tokio::time::timeout(idle, stream.read(&mut first)).await;
        if read.map_err(|_| ConnectionError::Idle(idle))?? == 0 {
            return Ok(());
        }
        let frame = tokio::time::timeout(whole, read_frame(context, first[0], &mut stream));
        let frame = frame.await.map_err(|_| ConnectionError::SlowRead(whole))??;
        if frames.send(frame).await.is_err() {
            return Ok(());
        }
    }
}

async fn read_frame(
    context: &Context,
    first: u8,
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Frame, ConnectionError> {
    let mut rest = [0; 3];
    stream.read_exact(&mut rest).await?;
    let length = i32::from_be_bytes([first, rest[0], rest[1], rest[2]]);
    let limit = context.config.max_request_bytes;
    let too_large = || ConnectionError::FrameTooLarge { bytes: length.into(), limit };
    let length = usize::try_from(length).ok().filter(|length| *length <= limit).ok_or_else(too_large)?;
    let permits = u32::try_from(length.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
    let permit = Arc::clone(&context.buffer).acquire_many_owned(permits).await.map_err(io::Error::other)?;
    // Grows as bytes come, so that a length alone costs no memory.
    let mut bytes = BytesMut::with_capacity(length.min(64 << 10));
    let mut left = stream.take(length as u64);
    while bytes.len() < length {
        if left.read_buf(&mut bytes).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
    Ok(Frame { bytes: bytes.freeze(), _permit: permit })
}

/// Handles a request; gives the answer, if one is due.
async fn handle(context: &Context, local: SocketAddr, frame: Bytes) -> Result<Option<Bytes>, ConnectionError> {
    let (request, body) = match requests::header(frame) {
        Ok(request) => request,
        Err(error) => {
            metrics::listener_request("unknown", "refused");
            return Err(error.into());
        }
    };
    tracing::trace!(api = request.api.name(), version = request.version, client = request.client_id, "request");
    let result = answer(context, local, &request, body).await;
    metrics::listener_request(request.api.name(), if result.is_ok() { "answered" } else { "failed" });
    result
}

async fn answer(
    context: &Context,
    local: SocketAddr,
    request: &RequestHeader,
    mut body: Reader,
) -> Result<Option<Bytes>, ConnectionError> {
    let answer = match request.api {
        Api::ApiVersions => answers::api_versions(request)?,
        Api::Metadata => {
            let wanted = Metadata::read(&mut body, request.version)?;
            let (host, port) = context.address(local);
            answers::metadata(request, (&host, port), topics(context, wanted).await)?
        }
        Api::InitProducerId => {
            let id = match requests::init_producer_id(&mut body, request.version)? {
                Some(_) => Err(ErrorCode::TransactionalIdAuthorizationFailed),
                None => context.log.new_producer_id().await.map_err(|error| {
                    tracing::warn!(%error, "no producer id");
                    if error.is_retriable() { ErrorCode::CoordinatorNotAvailable } else { ErrorCode::Unknown }
                }),
            };
            answers::init_producer_id(request, id)?
        }
        Api::FindCoordinator => {
            let transactions = requests::wants_transactions(&mut body, request.version)?;
            answers::no_coordinator(request, transactions)?
        }
        Api::Fetch => return Err(ConnectionError::Fetch),
        Api::Produce => {
            let wanted = Produce::read(&mut body, request.version)?;
            let silent = wanted.acks == 0;
            let outcomes = produce(context, wanted, request.version).await;
            if silent {
                return refused(&outcomes).map_or(Ok(None), |reason| Err(ConnectionError::Unacknowledged(reason)));
            }
            answers::produce(request, outcomes)?
        }
    };
    Ok(Some(answer))
}

/// The first refusal, if there is one.
fn refused(outcomes: &[(String, Vec<PartitionOutcome>)]) -> Option<String> {
    let all = outcomes.iter().flat_map(|(_, partitions)| partitions);
    all.map(|outcome| &outcome.message).find_map(Clone::clone)
}

/// The topics asked for; makes unknown ones if that is configured.
async fn topics(context: &Context, wanted: Metadata) -> Vec<TopicAnswer> {
    let Some(names) = wanted.topics else { return context.all_topics() };
    let mut topics = Vec::new();
    for name in names {
        let partitions = match context.partitions(&name) {
            Some(count) => Ok(count),
            None if wanted.may_create && context.config.auto_create_topics => context.create(&name).await,
            None => Err(ErrorCode::UnknownTopicOrPartition),
        };
        topics.push((name, partitions));
    }
    topics
}
