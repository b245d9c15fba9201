//! Where a pool connects to, read from the settings: one server and database, with its encryption.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};

use super::error::OpenError;
use crate::config::endpoint::is_private;
use crate::config::postgres::{PoolConfig, PostgresConfig, TlsMode};
use crate::config::secret::Secret;

/// Idle connections are asked whether they live after this time.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// A session that forgot its transaction loses it, and with it its locks.
const IDLE_IN_TRANSACTION_MS: u64 = 60_000;

/// Whether commits of a pool have to survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// Verdicts.
    Full,
    /// Log entries: their loss costs nothing.
    Relaxed,
}

/// How a connection is encrypted, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Encryption {
    /// None: the server is on this machine or a private name, or that was allowed.
    None,
    /// TLS whose certificate nobody checks.
    Unverified,
    /// TLS with the system's or these certificates.
    Verified(Option<PathBuf>),
}

/// A server and database.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) config: tokio_postgres::Config,
    pub(super) encryption: Encryption,
    /// Host, port and database, for messages; never a password.
    pub(super) address: String,
    /// Hosts, ports, database and user: two targets with the same are the same.
    identity: String,
}

impl Target {
    /// Of one pool.
    pub(super) fn new(config: &PostgresConfig, pool: &PoolConfig, durability: Durability) -> Result<Self, OpenError> {
        let url = pool.url.as_ref().or(config.url.as_ref());
        let Words { text, tls, ca_file } = url.map(|url| Words::of(url.expose())).transpose()?.unwrap_or_default();
        // the driver's own error quotes what it could not read, which may be the password
        let unreadable = |_| OpenError::Setting("url is not a PostgreSQL URL".to_owned());
        let mut target = tokio_postgres::Config::from_str(&text).map_err(unreadable)?;
        if target.get_hosts().is_empty() && target.get_hostaddrs().is_empty() {
            target.host(&config.host);
            target.port(config.port);
        }
        if target.get_dbname().is_none() {
            target.dbname(&config.dbname);
        }
        if target.get_user().is_none() {
            target.user(&config.user);
        }
        if let (None, Some(password)) = (target.get_password(), &config.password) {
            target.password(password.expose());
        }
        let address = address(&target);
        let encryption = encryption(config, tls.unwrap_or(config.tls), ca_file, &target)?;
        target.ssl_mode(if encryption == Encryption::None { SslMode::Disable } else { SslMode::Require });
        target.connect_timeout(Duration::from_millis(config.connect_timeout_ms));
        target.keepalives_idle(KEEPALIVE);
        target.tcp_user_timeout(Duration::from_millis(config.call_timeout_ms));
        if target.get_application_name().is_none() {
            target.application_name("tidemill");
        }
        if !config.transaction_pooler {
            let own = session_options(config, durability);
            let options = target.get_options().map_or_else(|| own.clone(), |given| format!("{own} {given}"));
            target.options(options);
        }
        let identity = format!("{address} {}", target.get_user().unwrap_or_default());
        Ok(Self { config: target, encryption, address, identity })
    }

    /// Whether both are the same database and role.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

fn session_options(config: &PostgresConfig, durability: Durability) -> String {
    let statement = config.statement_timeout_ms;
    let commit = match durability {
        Durability::Full => "on",
        Durability::Relaxed => "off",
    };
    format!(
        "-c statement_timeout={statement} -c lock_timeout={} -c synchronous_commit={commit} -c TimeZone=UTC \
         -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS} -c jit=off",
        (statement / 2).max(1)
    )
}

/// A URL without what the driver does not understand.
#[derive(Default)]
struct Words {
    text: String,
    tls: Option<TlsMode>,
    ca_file: Option<PathBuf>,
}

impl Words {
    fn of(url: &str) -> Result<Self, OpenError> {
        let url = url.trim();
        let (body, separator, words): (&str, &str, Vec<&str>) = match url.split_once('?') {
            Some((body, query)) if url.contains("://") => (body, "&", query.split('&').collect()),
            _ if url.contains("://") => (url, "&", Vec::new()),
            _ => ("", " ", url.split_whitespace().collect()),
        };
        let mut found = Self::default();
        let mut kept = Vec::new();
        for word in words {
            match word.split_once('=') {
                Some(("sslmode", mode)) => found.tls = Some(tls_mode(mode)?),
                Some(("sslrootcert", "system")) => {}
                Some(("sslrootcert", file)) => found.ca_file = Some(file.into()),
                _ => kept.push(word),
            }
        }
        found.text = match (body.is_empty(), kept.is_empty()) {
            (true, _) => kept.join(separator),
            (false, true) => body.to_owned(),
            (false, false) => format!("{body}?{}", kept.join(separator)),
        };
        Ok(found)
    }
}

fn tls_mode(text: &str) -> Result<TlsMode, OpenError> {
    match text {
        "disable" => Ok(TlsMode::Disable),
        "allow" | "prefer" => Ok(TlsMode::Auto),
        "require" => Ok(TlsMode::Require),
        "verify-ca" | "verify-full" => Ok(TlsMode::VerifyFull),
        other => Err(OpenError::Setting(format!("sslmode={other} in the URL is none of libpq's"))),
    }
}

fn encryption(
    config: &PostgresConfig,
    mode: TlsMode,
    ca_file: Option<PathBuf>,
    target: &tokio_postgres::Config,
) -> Result<Encryption, OpenError> {
    let ca_file = ca_file.or_else(|| config.ca_file.clone());
    let stranger = target.get_hosts().iter().find_map(|host| match host {
        Host::Tcp(name) if !is_private(name) => Some(name.clone()),
        Host::Tcp(_) | Host::Unix(_) => None,
    });
    let by_address = target.get_hostaddrs().iter().find(|address| !address.is_loopback());
    let stranger = stranger.or_else(|| by_address.map(ToString::to_string));
    match (mode, stranger) {
        (TlsMode::Auto | TlsMode::Disable, None) => Ok(Encryption::None),
        (TlsMode::Disable, Some(_)) if config.allow_plaintext => Ok(Encryption::None),
        (TlsMode::Disable, Some(host)) => Err(OpenError::Setting(format!(
            "{host} is another machine and tls is disabled: set postgres.tls = \"verify-full\", or \
             postgres.allow_plaintext = true to let everything cross the network readable"
        ))),
        (TlsMode::Require, _) if ca_file.is_none() => Ok(Encryption::Unverified),
        (TlsMode::Auto | TlsMode::Require | TlsMode::VerifyFull, _) => Ok(Encryption::Verified(ca_file)),
    }
}

fn address(config: &tokio_postgres::Config) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let addresses = config.get_hostaddrs().iter().map(ToString::to_string);
    let ports = config.get_ports();
    let mut places: Vec<String> = hosts.collect();
    if places.is_empty() {
        places = addresses.collect();
    }
    let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(5432);
    let places: Vec<String> =
        places.iter().enumerate().map(|(index, place)| format!("{place}:{}", port(index))).collect();
    format!("{}/{}", places.join(","), config.get_dbname().unwrap_or_default())
}

/// Whether the pool has a database of its own.
pub(super) fn own_url(pool: &PoolConfig) -> Option<&Secret> {
    pool.url.as_ref()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn target(toml: &str) -> Result<Target, OpenError> {
        let config: PostgresConfig = toml::from_str(toml).unwrap();
        Target::new(&config, &config.analytics, Durability::Full)
    }

    #[test]
    fn url_goes_before_the_settings_beside_it() {
        let both = target("host = \"a\"\nuser = \"u\"\npassword = \"p\"\nurl = \"postgres://v@b:7/c\"").unwrap();
        assert_eq!(both.address, "b:7/c");
        assert_eq!((both.config.get_user(), both.config.get_password()), (Some("v"), Some(&b"p"[..])));
        assert_eq!(target("host = \"a\"").unwrap().address, "a:5432/tidemill");
        assert_eq!(target("url = \"host=b dbname=c sslmode=require\"").unwrap().address, "b:5432/c");
    }

    #[test]
    fn other_machines_are_spoken_to_encrypted_or_not_at_all() {
        let encryption = |toml| target(toml).map(|target| target.encryption);
        assert_eq!(encryption(""), Ok(Encryption::None));
        assert_eq!(encryption("host = \"postgres\""), Ok(Encryption::None));
        assert_eq!(encryption("host = \"db.example.com\""), Ok(Encryption::Verified(None)));
        assert_eq!(encryption("url = \"postgres://db.example.com/a?sslmode=require\""), Ok(Encryption::Unverified));
        assert_eq!(encryption("tls = \"verify-full\"\nca_file = \"c\""), Ok(Encryption::Verified(Some("c".into()))));
        let plain = "url = \"postgres://u:hunter2@10.1.2.3/a?sslmode=disable\"";
        let refused = encryption(plain).unwrap_err().to_string();
        assert!(refused.contains("10.1.2.3") && !refused.contains("hunter2"), "{refused}");
        assert_eq!(encryption(&format!("{plain}\nallow_plaintext = true")), Ok(Encryption::None));
    }

    #[test]
    fn wrong_url_is_not_quoted() {
        for url in ["postgres://u:hunter2@:no/", "nonsense hunter2", "postgres://a:hunter2@b/c?sslmode=hunter"] {
            let error = target(&format!("url = \"{url}\"")).err().unwrap().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
