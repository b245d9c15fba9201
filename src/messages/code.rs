//! Error codes: stable names for everything a user can be told is wrong.

use serde::{Deserialize, Serialize};

/// Declares the codes once: number, title and what to do.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $title:literal, $advice:literal;)*) => {
        /// A stable code, written `TM0001`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum ErrorCode {
            $(#[doc = $title] #[serde(rename = $code)] $name,)*
        }

        impl ErrorCode {
            /// Every code, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// As written, such as `TM0001`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }

            /// What went wrong, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }

            /// What to do about it.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice),* }
            }
        }
    };
}

codes! {
    InvalidUtf8 = "TM0001", "the body is not valid UTF-8", "send JSON encoded as UTF-8";
    InvalidJson = "TM0002", "the body is not valid JSON", "the message gives line and column; send one JSON object per document";
    MissingField = "TM0003", "a required field is missing", "every document needs source and text";
    WrongType = "TM0004", "a field has the wrong type", "the message names the field and the type it needs";
    EmptyText = "TM0005", "the text is empty after cleaning", "send text with at least one visible character";
    TooLarge = "TM0006", "the document or record is too large", "split it, or raise documents.max_text_bytes or documents.max_record_bytes";
    InvalidSource = "TM0007", "the source is not a lower-case name", "use letters a to z, digits, - and _, at most 64, starting with a letter";
    InvalidId = "TM0008", "the id is empty, too long or has control characters", "use at most 512 bytes of visible text, or leave it out";
    InvalidTime = "TM0009", "the time is not RFC 3339 or out of range", "use RFC 3339; published_at may be at most a day in the future";
    TooManySymbols = "TM0010", "too many symbols or one too long", "at most 256 symbols of at most 32 characters";
    TooDeep = "TM0011", "the JSON is nested too deeply", "at most 32 levels";
    InvalidUrl = "TM0012", "the url is not one that is taken here", "the message says what is wrong with it: of a document, give an absolute http or https URL of at most 2048 characters; of a repository, one of the ways in graph.repository.schemes";
    InvalidParameter = "TM0013", "a query parameter or argument is invalid", "the message names the parameter and what is allowed";
    NotFound = "TM0014", "there is nothing by this name", "check the id or path";
    Unauthorized = "TM0015", "the token is missing or wrong", "send Authorization: Bearer TOKEN with the configured token";
    Overloaded = "TM0016", "the intake is full", "wait as long as Retry-After says and send again; nothing of the refused request was kept";
    Unavailable = "TM0017", "a service this needs is away", "see /health for which; the daemon retries by itself";
    Timeout = "TM0018", "it took too long", "send smaller requests or raise the limit named in the message";
    Panicked = "TM0019", "a stage crashed on this message every time it was tried", "the error has the panic's text; this is a bug, please report it with the dead letter";
    Unresponsive = "TM0020", "a stage hung on this message every time it was tried", "the stage was replaced; please report it with the dead letter";
    EncodingFailed = "TM0021", "the encoder refused the text", "the message has the encoder's own words";
    OriginalDead = "TM0022", "the document it copies could not be processed", "replay the original first";
    UnsupportedMethod = "TM0023", "this path does not take that method", "see /openapi.json";
    TooManyItems = "TM0024", "too many documents in one request", "send at most http.max_batch documents in a request";
    ModelMissing = "TM0025", "the encoder's files are not there", "run: make model";
    Internal = "TM0026", "something went wrong inside", "see the log by the correlation id and please report it";
    RetriesExhausted = "TM0027", "it was retried up to its limit", "see the history for each attempt's error, then replay it";
    FaultInjected = "TM0028", "a fault was injected on purpose", "fault injection is on: unset [faults] enabled outside tests";
    Forbidden = "TM0029", "the request comes from another site", "send it from the console's own address, or name the host in http.allowed_hosts";
    UnsupportedMediaType = "TM0030", "the body's content type is not taken here", "send application/json or application/x-ndjson, without content-encoding";
    Conflict = "TM0031", "its state does not allow this", "the message says what state it is in; look at it again";
    NotThisNode = "TM0040", "this node's roles do not include that", "send it to a node with the role: API nodes take documents and answer queries, workers have the models";
    NoWorker = "TM0041", "no worker answers what needs a model", "name workers in node.worker_urls, see /health for their state, or ask a worker itself";
    InvalidBar = "TM0050", "the bar makes no sense", "prices are finite and over 0, low <= open and close <= high, the interval is a number and s, m, h, d or w";
    InvalidBacktest = "TM0051", "the backtest or sweep makes no sense", "the message names the field and the row, and what is allowed";
}

impl ErrorCode {
    /// The code written so, if there is one; case is ignored.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str().eq_ignore_ascii_case(text.trim()))
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Why a document or request was refused: code, field and words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// Stable code.
    pub code: ErrorCode,
    /// Path of the field at fault, such as `symbols[3]`, if it is one field.
    pub field: Option<String>,
    /// In words, lower case, naming the value where that helps.
    pub message: String,
}

impl Rejection {
    /// A rejection that is not about one field.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, field: None, message: message.into() }
    }

    /// A rejection of one field.
    pub fn field(code: ErrorCode, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, field: Some(field.into()), message: message.into() }
    }
}
