//! What PostgreSQL's errors mean: try again, give up on the data, or change a setting.

use deadpool_postgres::PoolError;
use tokio_postgres::Error as PgError;
use tokio_postgres::error::SqlState;

use crate::stores::documents::StoreError;

/// Why the store can't be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A setting has to change before a start can succeed.
    #[error("postgres: {0}")]
    Setting(String),
    /// The server is away or busy; the same start may succeed later.
    #[error("postgres: {0}")]
    Unavailable(String),
}

impl OpenError {
    /// Whether the same attempt may succeed later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Setting(_) => false,
        }
    }
}

/// An error inside a call.
#[derive(Debug)]
pub(super) enum Failure {
    /// Of the server or the connection to it.
    Postgres(PgError),
    /// Anything else, in the store's own words.
    Store(StoreError),
}

impl From<PgError> for Failure {
    fn from(error: PgError) -> Self {
        Self::Postgres(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Failure {
    /// Whether another daemon was in the way: the same transaction may succeed at once.
    pub(super) fn is_conflict(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        let states = [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            // two daemons inserted the same document at once
            SqlState::UNIQUE_VIOLATION,
        ];
        error.code().is_some_and(|code| states.contains(code))
    }

    /// Whether the connection still works: the server answered with an error of its own.
    pub(super) fn leaves_connection(&self) -> bool {
        match self {
            Self::Postgres(error) => error.as_db_error().is_some() && !error.is_closed(),
            Self::Store(_) => true,
        }
    }

    /// As callers of the store see it; `address` says which server.
    pub(super) fn into_store(self, address: &str) -> StoreError {
        match self {
            Self::Postgres(error) => store_error(&error, address),
            Self::Store(error) => error,
        }
    }
}

/// The error in words, its causes included. Without the server's detail line, which may quote data.
pub(super) fn words(error: &PgError) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", db.message(), db.code().code());
    }
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        cause = inner.source();
    }
    said
}

/// What a failure of a running store means.
pub(super) fn store_error(error: &PgError, address: &str) -> StoreError {
    let said = format!("postgres at {address}: {}", words(error));
    let Some(code) = error.code() else {
        // a value that can't be encoded is the caller's; everything else without a code is the connection's
        return if is_conversion(error) { StoreError::Refused(said) } else { StoreError::Unavailable(said) };
    };
    match &code.code()[..2] {
        // data exceptions, constraints, limits such as the size of a row
        "22" | "23" | "54" => StoreError::Refused(said),
        "XX" if *code != SqlState::INTERNAL_ERROR => StoreError::Damaged(said),
        // tables that are not there or not as expected: somebody else changed the schema
        "42" if *code != SqlState::INSUFFICIENT_PRIVILEGE => StoreError::Damaged(said),
        // connections, resources (full disk), operators, locks, read-only, credentials: these pass
        _ => StoreError::Unavailable(said),
    }
}

fn is_conversion(error: &PgError) -> bool {
    error.to_string().starts_with("error serializing parameter")
}

/// What a failure at the start means.
pub(super) fn open_error(error: &PgError, address: &str) -> OpenError {
    let said = format!("{address}: {}", words(error));
    let settings = [
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::INVALID_CATALOG_NAME,
        SqlState::INVALID_SCHEMA_NAME,
    ];
    // privileges, and objects of somebody else's making in the way of a migration
    let objects = error.code().is_some_and(|code| code.code().starts_with("42"));
    let certificate = said.contains("invalid peer certificate") || said.contains("server does not support TLS");
    let password = said.contains("password missing") || said.contains("invalid configuration");
    if certificate || password || objects || error.code().is_some_and(|code| settings.contains(code)) {
        OpenError::Setting(said)
    } else {
        OpenError::Unavailable(said)
    }
}

/// What it means that the pool gave no connection.
pub(super) fn pool_error(error: PoolError, address: &str) -> Failure {
    match error {
        PoolError::Backend(error) => Failure::Postgres(error),
        PoolError::Timeout(kind) => {
            Failure::Store(StoreError::Unavailable(format!("postgres at {address}: no connection in time ({kind:?})")))
        }
        other => Failure::Store(StoreError::Unavailable(format!("postgres at {address}: {other}"))),
    }
}
