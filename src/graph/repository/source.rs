//! Where a repository comes from: addresses that are allowed, and nothing that could be taken for an option.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::address::is_public;

/// Longest address; those of hosts are far shorter.
const MAX_LENGTH: usize = 2048;
/// Ends of host names that never lead to the public internet.
const PRIVATE_NAMES: [&str; 6] = ["localhost", "local", "internal", "lan", "home.arpa", "localdomain"];

/// Which kinds of address are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Access {
    /// `https://host/path`
    pub https: bool,
    /// `ssh://user@host/path` and `user@host:path`, with the keys of the daemon's SSH agent.
    pub ssh: bool,
    /// `http://host/path`: unencrypted, for hosts within one's own network.
    pub http: bool,
    /// `file:///path`: repositories on this machine.
    pub file: bool,
    /// Hosts whose address is not public.
    pub private_addresses: bool,
}

impl Default for Access {
    fn default() -> Self {
        Self { https: true, ssh: false, http: false, file: false, private_addresses: false }
    }
}

/// Why an address is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing there.
    #[error("repository address is empty")]
    Empty,
    /// Longer than any real one.
    #[error("repository address is longer than {MAX_LENGTH} characters")]
    TooLong,
    /// Looks like an option of a program.
    #[error("repository address must not begin with a dash, nor any part of its path")]
    LooksLikeOption,
    /// Spaces, control characters, backslashes.
    #[error("repository address has the character {0:?}")]
    BadCharacter(char),
    /// Not a URL.
    #[error("repository address is no URL: {0}")]
    NotUrl(String),
    /// Another scheme, or one that is switched off.
    #[error("repository address has the scheme {0:?}, which is not allowed")]
    Scheme(String),
    /// A user name or password.
    #[error("repository address must not have credentials")]
    Credentials,
    /// `?` or `#`.
    #[error("repository address must not have a query or a fragment")]
    Query,
    /// No host, or an odd one.
    #[error("repository address has no proper host")]
    Host,
    /// A host that is not public.
    #[error("host {0} is not public")]
    PrivateHost(String),
    /// No path, or one with `..`.
    #[error("repository address has no proper path")]
    Path,
    /// A branch name that git would not take.
    #[error("branch name {0:?} is not valid")]
    Branch(String),
}

/// How to get at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    /// By our own HTTP transport.
    Http,
    /// By libssh2.
    Ssh { host: String, port: u16 },
    /// Objects are read in place.
    Folder(PathBuf),
}

/// A repository's checked address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub(super) url: String,
    pub(super) location: Location,
    pub(super) branch: Option<String>,
    pub(super) access: Access,
}

impl Source {
    /// Checks an address as it comes from outside.
    ///
    /// # Errors
    /// Names what is wrong with it.
    pub fn parse(text: &str, access: Access) -> Result<Self, SourceError> {
        let text = text.trim();
        check_characters(text)?;
        let written = from_scp(text);
        let (scheme, rest) = written.split_once("://").ok_or_else(|| SourceError::NotUrl("no scheme".to_owned()))?;
        let scheme = scheme.to_ascii_lowercase();
        let allowed = match scheme.as_str() {
            "https" => access.https,
            "ssh" => access.ssh,
            "http" => access.http,
            "file" => access.file,
            _ => false,
        };
        if !allowed {
            return Err(SourceError::Scheme(scheme));
        }
        check_path(rest.split_once('/').map_or("", |(_, path)| path))?;
        let url = Url::parse(&written).map_err(|error| SourceError::NotUrl(error.to_string()))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(SourceError::Query);
        }
        if url.password().is_some() || (scheme != "ssh" && !url.username().is_empty()) {
            return Err(SourceError::Credentials);
        }
        let location = match scheme.as_str() {
            "file" => folder(&url)?,
            "ssh" => {
                let host = host(&url, access)?;
                check_user(url.username())?;
                Location::Ssh { host, port: url.port().unwrap_or(22) }
            }
            _ => {
                host(&url, access)?;
                Location::Http
            }
        };
        let url = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { url, location, branch: None, access })
    }

    /// A folder on this machine, named by who may read it anyway (a user at the terminal).
    #[must_use]
    pub fn folder(path: &Path) -> Self {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let url = Url::from_file_path(&path).map_or_else(|()| path.display().to_string(), |url| url.to_string());
        let url = url.trim_end_matches('/').to_owned();
        Self { url, location: Location::Folder(path), branch: None, access: Access { file: true, ..Access::default() } }
    }

    /// Reads this branch instead of the one that the repository's `HEAD` names.
    ///
    /// # Errors
    /// If git would not take the name, or it begins with a dash.
    pub fn with_branch(mut self, branch: &str) -> Result<Self, SourceError> {
        let valid = git2::Reference::is_valid_name(&format!("refs/heads/{branch}")) && !branch.starts_with('-');
        if !valid || branch.len() > MAX_LENGTH {
            return Err(SourceError::Branch(branch.chars().take(80).collect()));
        }
        self.branch = Some(branch.to_owned());
        Ok(self)
    }

    /// The address in its normal form; without credentials, so it can be logged.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The branch asked for.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.branch.as_deref()
    }

    /// Host and path without `.git`, as Go imports name it; `None` for folders.
    pub(in crate::graph) fn import_path(&self) -> Option<String> {
        let url = Url::parse(&self.url).ok().filter(|_| !matches!(self.location, Location::Folder(_)))?;
        let path = url.path().trim_matches('/');
        Some(format!("{}/{}", url.host_str()?, path.strip_suffix(".git").unwrap_or(path)))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.url)
    }
}

fn check_characters(text: &str) -> Result<(), SourceError> {
    if text.is_empty() {
        return Err(SourceError::Empty);
    }
    if text.len() > MAX_LENGTH {
        return Err(SourceError::TooLong);
    }
    if text.starts_with('-') {
        return Err(SourceError::LooksLikeOption);
    }
    let bad = |character: &char| {
        character.is_control() || character.is_whitespace() || matches!(character, '\\' | '"' | '<' | '>' | '^' | '`')
    };
    text.chars().find(bad).map_or(Ok(()), |character| Err(SourceError::BadCharacter(character)))
}

/// `user@host:path` as a URL; anything else as it is.
fn from_scp(text: &str) -> String {
    match text.split_once(':') {
        Some((host, path)) if !text.contains("://") && host.contains('@') && !host.contains('/') => {
            format!("ssh://{host}/{}", path.trim_start_matches('/'))
        }
        _ => text.to_owned(),
    }
}

/// Checks the path as written: the URL parser would silently take `..` away.
fn check_path(path: &str) -> Result<(), SourceError> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let decoded = percent_decoded(path).ok_or(SourceError::Path)?;
    if decoded.chars().any(|character| character.is_control() || character == '\\')
        || decoded.trim_matches('/').is_empty()
    {
        return Err(SourceError::Path);
    }
    for part in decoded.split('/') {
        if part == ".." || part == "." {
            return Err(SourceError::Path);
        }
        if part.starts_with('-') {
            return Err(SourceError::LooksLikeOption);
        }
    }
    Ok(())
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn folder(url: &Url) -> Result<Location, SourceError> {
    if url.host_str().is_some_and(|host| !host.is_empty()) {
        return Err(SourceError::Host);
    }
    url.to_file_path().map(Location::Folder).map_err(|()| SourceError::Path)
}

fn host(url: &Url, access: Access) -> Result<String, SourceError> {
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(SourceError::Host)?;
    // the parser reads numbers as addresses (`0x7f.1`) only in schemes that it knows
    let normal = Url::parse(&format!("https://{host}/")).map_err(|_| SourceError::Host)?;
    check_host(normal.host_str().ok_or(SourceError::Host)?, access)?;
    Ok(host.trim_matches(['[', ']']).to_owned())
}

/// Checks a host as the URL parser wrote it.
pub(super) fn check_host(host: &str, access: Access) -> Result<(), SourceError> {
    let bare = host.trim_matches(['[', ']']);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return if access.private_addresses || is_public(address) {
            Ok(())
        } else {
            Err(SourceError::PrivateHost(host.to_owned()))
        };
    }
    let name = bare.trim_end_matches('.').to_ascii_lowercase();
    let proper = |label: &str| {
        !label.is_empty()
            && label.len() < 64
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if name.len() > 253 || !name.split('.').all(proper) {
        return Err(SourceError::Host);
    }
    let private =
        !name.contains('.') || PRIVATE_NAMES.iter().any(|end| name == *end || name.ends_with(&format!(".{end}")));
    if private && !access.private_addresses { Err(SourceError::PrivateHost(host.to_owned())) } else { Ok(()) }
}

fn check_user(user: &str) -> Result<(), SourceError> {
    let proper = user.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if user.starts_with('-') {
        Err(SourceError::LooksLikeOption)
    } else if proper {
        Ok(())
    } else {
        Err(SourceError::Credentials)
    }
}
