//! `[backup]`: where backups go, when, and how many stay.

use std::path::PathBuf;

use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::endpoint::is_private;
use super::problem::Problems;
use super::secret::Secret;
use crate::backup::retention::Keep;
use crate::backup::schedule::Schedule;

/// Backups of the stores: see `docs/backup.md`. The commands `tidemill backup` use the settings of the object store too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackupConfig {
    /// Where the job `backup` puts backups: a directory, or `s3://BUCKET/PREFIX`, `r2://BUCKET/PREFIX` or `file:///PATH`. A
    /// relative directory counts from where the daemon was started. Empty (default): there is no such job.
    pub target: String,
    /// When the job runs by itself: a cron expression in UTC such as `30 2 * * *`, with a sixth field for seconds in front
    /// if wanted, or a word such as `@daily`. Empty (default): only when it is submitted.
    pub schedule: String,
    /// Newest backups that stay when the job is done, 1 to 10,000. Default 7. Others are deleted unless one of the next
    /// two keeps them.
    pub keep_last: usize,
    /// Days of which the newest backup stays, 0 to 10,000. Default 7.
    pub keep_daily: usize,
    /// Weeks of which the newest backup stays, 0 to 10,000. Default 4.
    pub keep_weekly: usize,
    /// Address of an S3 service that is not Amazon's, such as `https://ACCOUNT.r2.cloudflarestorage.com`. Empty (default):
    /// Amazon's own. `r2://` needs it.
    pub endpoint: String,
    /// Region of the bucket. Default `us-east-1`; `auto` for `r2://`.
    pub region: String,
    /// Key id for the object store. Empty (default): the environment's (`AWS_ACCESS_KEY_ID`), or that of the machine's role.
    pub access_key_id: String,
    /// The key itself. Never printed.
    #[serde(skip_serializing)]
    pub secret_access_key: Option<Secret>,
    /// File that holds the key in its first line. Not together with `secret_access_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key_file: Option<PathBuf>,
    /// Whether `endpoint` may be plain `http://` on another machine: documents then cross the network readable. Default
    /// false: only loopback and private names.
    pub allow_plaintext: bool,
    /// How long one request to an object store may take, 1 to 3,600 seconds. Default 60.
    pub request_timeout_seconds: u64,
    /// How often a failed request is tried again, 0 to 100. Default 5, with growing waits; refused keys are not.
    pub retries: usize,
}

impl Default for BackupConfig {
    fn default() -> Self {
        Self {
            target: String::new(),
            schedule: String::new(),
            keep_last: 7,
            keep_daily: 7,
            keep_weekly: 4,
            endpoint: String::new(),
            region: String::new(),
            access_key_id: String::new(),
            secret_access_key: None,
            secret_access_key_file: None,
            allow_plaintext: false,
            request_timeout_seconds: 60,
            retries: 5,
        }
    }
}

impl BackupConfig {
    /// How many backups stay.
    #[must_use]
    pub const fn keep(&self) -> Keep {
        Keep { last: self.keep_last, daily: self.keep_daily, weekly: self.keep_weekly }
    }

    /// When backups are due; `None` where nothing is scheduled.
    #[must_use]
    pub fn times(&self) -> Option<Schedule> {
        if self.schedule.is_empty() { None } else { Schedule::parse(&self.schedule).ok() }
    }

    /// Checks every field.
    pub fn validate(&self, problems: &mut Problems) {
        if !self.schedule.is_empty() {
            if let Err(reason) = Schedule::parse(&self.schedule) {
                problems.require(false, "schedule", &self.schedule, &format!("a cron expression ({reason})"));
            }
            problems.require(!self.target.is_empty(), "target", "", "a directory or URL while backup.schedule is set");
        }
        problems.range("keep_last", self.keep_last, 1, 10_000);
        problems.range("keep_daily", self.keep_daily, 0, 10_000);
        problems.range("keep_weekly", self.keep_weekly, 0, 10_000);
        problems.range("request_timeout_seconds", self.request_timeout_seconds, 1, 3_600);
        problems.range("retries", self.retries, 0, 100);
        if let Err(allowed) = self.check_endpoint() {
            problems.require(false, "endpoint", &self.endpoint, allowed);
        }
        let both = self.secret_access_key.is_none() || !self.access_key_id.is_empty();
        problems.require(both, "access_key_id", &self.access_key_id, "the id of backup.secret_access_key");
    }

    fn check_endpoint(&self) -> Result<(), &'static str> {
        const FORM: &str = "https://HOST, without user, password or query";
        if self.endpoint.is_empty() {
            return Ok(());
        }
        let url = Url::parse(&self.endpoint).map_err(|_| FORM)?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(FORM);
        }
        match (url.scheme(), url.host_str()) {
            ("https", Some(_)) => Ok(()),
            ("http", Some(host)) if self.allow_plaintext || is_private(host) => Ok(()),
            ("http", Some(_)) => Err("https:// to another machine, unless backup.allow_plaintext = true"),
            _ => Err(FORM),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::keys_of;

    fn problems_of(config: &BackupConfig) -> Vec<String> {
        keys_of(|problems| config.validate(problems))
    }

    #[test]
    fn defaults_are_valid_and_schedule_nothing() {
        assert!(problems_of(&BackupConfig::default()).is_empty());
        assert!(BackupConfig::default().times().is_none());
    }

    #[test]
    fn schedule_needs_a_target_and_has_to_make_sense() {
        let schedule = "30 2 * * *".to_owned();
        assert_eq!(problems_of(&BackupConfig { schedule: schedule.clone(), ..BackupConfig::default() }), ["target"]);
        let sound = BackupConfig { schedule, target: "backups".to_owned(), ..BackupConfig::default() };
        assert!(problems_of(&sound).is_empty() && sound.times().is_some());
        let wrong = BackupConfig { schedule: "every day".to_owned(), ..sound };
        assert_eq!(problems_of(&wrong), ["schedule"]);
    }

    #[test]
    fn plain_endpoint_on_another_machine_must_be_allowed() {
        for (endpoint, valid) in [
            ("https://a.r2.cloudflarestorage.com", true),
            ("http://127.0.0.1:9000", true),
            ("http://minio:9000", true),
            ("http://s3.example.com", false),
            ("https://key:secret@s3.example.com", false),
            ("s3.example.com", false),
        ] {
            let config = BackupConfig { endpoint: endpoint.to_owned(), ..BackupConfig::default() };
            assert_eq!(problems_of(&config).is_empty(), valid, "{endpoint}");
        }
        let secret = Some(Secret::new("s"));
        let keyless = BackupConfig { secret_access_key: secret, ..BackupConfig::default() };
        assert_eq!(problems_of(&keyless), ["access_key_id"]);
    }
}
