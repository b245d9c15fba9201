//! `[kafka.tls]` and `[kafka.sasl]`: how the connection is encrypted and who we are to the brokers.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::problem::Problems;
use crate::config::secret::Secret;

/// Encryption of the connections to the brokers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaTlsConfig {
    /// Whether connections are encrypted and the brokers' certificates checked, their host names included. Default false.
    pub enabled: bool,
    /// Certificates to trust, a PEM file. Absent (default): those that the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, a PEM file, for brokers that ask for one. Needs `key_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// The key of `certificate_file`, a PEM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Password of the key, if it has one. Never printed.
    #[serde(skip_serializing)]
    pub key_password: Option<Secret>,
    /// File that holds the key's password. Not together with `key_password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_password_file: Option<PathBuf>,
}

impl KafkaTlsConfig {
    /// Notes what does not fit together.
    pub fn validate(&self, problems: &mut Problems) {
        let files =
            [("ca_file", &self.ca_file), ("certificate_file", &self.certificate_file), ("key_file", &self.key_file)];
        for (key, file) in files {
            let Some(file) = file else { continue };
            problems.require(self.enabled, key, file.display(), "nothing while kafka.tls.enabled = false");
            problems.require(is_pem(file), key, file.display(), "a readable PEM file");
        }
        let shown =
            |file: &Option<PathBuf>| file.as_ref().map_or_else(|| "(none)".to_owned(), |it| it.display().to_string());
        problems.require(
            self.certificate_file.is_none() || self.key_file.is_some(),
            "key_file",
            shown(&self.key_file),
            "the key of kafka.tls.certificate_file",
        );
        problems.require(
            self.key_file.is_none() || self.certificate_file.is_some(),
            "certificate_file",
            shown(&self.certificate_file),
            "the certificate of kafka.tls.key_file",
        );
        let has_password = self.key_password.is_some();
        problems.require(
            !has_password || self.key_file.is_some(),
            "key_password",
            "(hidden)",
            "nothing without kafka.tls.key_file",
        );
    }
}

/// Whether it can be read and holds something in PEM.
fn is_pem(file: &Path) -> bool {
    std::fs::read(file).is_ok_and(|bytes| bytes.windows(11).any(|window| window == b"-----BEGIN "))
}

/// How a user proves who it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SaslMechanism {
    /// Not at all.
    #[default]
    None,
    /// By its password, readable for the broker and, without TLS, for everybody on the way.
    Plain,
    /// By proof that it knows the password, SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// By proof that it knows the password, SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// As Kafka calls it; `None` for none.
    #[must_use]
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Plain => Some("PLAIN"),
            Self::ScramSha256 => Some("SCRAM-SHA-256"),
            Self::ScramSha512 => Some("SCRAM-SHA-512"),
        }
    }
}

/// Who we are to the brokers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaSaslConfig {
    /// `none` (default), `plain`, `scram-sha-256` or `scram-sha-512`.
    pub mechanism: SaslMechanism,
    /// The user.
    pub username: String,
    /// Its password. Never printed; the variable is `TIDEMILL__KAFKA__SASL__PASSWORD`.
    #[serde(skip_serializing)]
    pub password: Option<Secret>,
    /// File that holds the password. Not together with `password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
}

impl KafkaSaslConfig {
    /// Notes what is missing or too much.
    pub fn validate(&self, problems: &mut Problems) {
        let has_password = self.password.as_ref().is_some_and(|password| !password.is_empty());
        match self.mechanism {
            SaslMechanism::None => {
                let allowed = "nothing while kafka.sasl.mechanism = \"none\"";
                problems.require(self.username.is_empty(), "username", &self.username, allowed);
                problems.require(self.password.is_none(), "password", "(hidden)", allowed);
            }
            SaslMechanism::Plain | SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512 => {
                problems.require(!self.username.is_empty(), "username", "\"\"", "the user of kafka.sasl.mechanism");
                problems.require(
                    has_password,
                    "password",
                    "(none)",
                    "the user's password: TIDEMILL__KAFKA__SASL__PASSWORD or kafka.sasl.password_file",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::config::problem::keys_of;

    fn sasl(toml: &str) -> Vec<String> {
        let config: KafkaSaslConfig = toml::from_str(toml).unwrap();
        keys_of(|problems| config.validate(problems))
    }

    fn tls(toml: &str) -> Vec<String> {
        let config: KafkaTlsConfig = toml::from_str(toml).unwrap();
        keys_of(|problems| config.validate(problems))
    }

    #[test]
    fn a_mechanism_needs_user_and_password_and_none_needs_neither() {
        assert_eq!(sasl(""), Vec::<String>::new());
        for mechanism in ["plain", "scram-sha-256", "scram-sha-512"] {
            assert_eq!(sasl(&format!("mechanism = \"{mechanism}\"")), ["username", "password"]);
            let whole = format!("mechanism = \"{mechanism}\"\nusername = \"me\"\npassword = \"it\"");
            assert_eq!(sasl(&whole), Vec::<String>::new());
        }
        assert_eq!(sasl("username = \"me\"\npassword = \"it\""), ["username", "password"]);
    }

    #[test]
    fn files_of_tls_come_in_pairs_and_must_be_there() {
        let directory = tempfile::tempdir().unwrap();
        let pem = directory.path().join("a.pem");
        std::fs::write(&pem, "-----BEGIN CERTIFICATE-----\n").unwrap();
        let pem = pem.display();
        assert_eq!(tls("enabled = true"), Vec::<String>::new());
        assert_eq!(tls(&format!("enabled = true\nca_file = \"{pem}\"")), Vec::<String>::new());
        assert_eq!(tls("enabled = true\nca_file = \"/nowhere.pem\""), ["ca_file"]);
        assert_eq!(tls(&format!("ca_file = \"{pem}\"")), ["ca_file"]);
        assert_eq!(tls(&format!("enabled = true\ncertificate_file = \"{pem}\"")), ["key_file"]);
        assert_eq!(tls(&format!("enabled = true\nkey_file = \"{pem}\"")), ["certificate_file"]);
        assert_eq!(tls("enabled = true\nkey_password = \"x\""), ["key_password"]);
    }
}
