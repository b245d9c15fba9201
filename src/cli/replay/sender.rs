//! Sends batches until the daemon has taken or rejected every line.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::super::client::{Client, ClientError};
use super::super::output;
use super::batches::Batch;

/// Rejections kept for the report.
const MAX_SHOWN: usize = 20;
/// Wait before trying again when the daemon does not say how long, jittered up to twice as long.
const PAUSE: Duration = Duration::from_millis(500);

/// What became of the lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    /// Lines the daemon accepted.
    pub(super) accepted: u64,
    /// Lines it will never accept.
    pub(super) rejected: u64,
    /// The first of those with their reasons.
    pub(super) first_rejections: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    accepted: Vec<serde_json::Value>,
    rejected: Vec<Rejected>,
}

#[derive(Debug, Deserialize)]
struct Rejected {
    index: usize,
    code: String,
    message: String,
}

/// Sends to one daemon and counts.
pub(super) struct Sender {
    client: Client,
    /// Last part of the path, such as `documents`.
    topic: String,
    /// How long a busy or absent daemon is waited for, from the last success.
    patience: Duration,
    tally: Tally,
}

type Lines = Vec<(u64, Vec<u8>)>;

impl Sender {
    pub(super) fn new(client: Client, topic: String, patience: Duration) -> Self {
        Self { client, topic, patience, tally: Tally::default() }
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(super) fn into_tally(self) -> Tally {
        self.tally
    }

    /// Sends all lines of a batch. A request refused as a whole is cut in halves until the line at fault stands alone.
    ///
    /// # Errors
    /// If the daemon stays busy or away for longer than the patience, or refuses for another reason than the lines.
    pub(super) async fn send(&mut self, batch: Batch) -> Result<(), ClientError> {
        let mut waiting = VecDeque::from([batch.lines]);
        while let Some(lines) = waiting.pop_front() {
            match self.deliver(&lines).await {
                Ok(answer) => self.count(&lines, answer),
                Err(ClientError::Refused { status: 400 | 413 | 415 | 422, code, message, .. }) => {
                    if let [(number, _)] = lines.as_slice() {
                        self.reject(*number, &code, &message);
                    } else {
                        let mut first = lines;
                        let second: Lines = first.split_off(first.len() / 2);
                        waiting.push_front(second);
                        waiting.push_front(first);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends one request, again and again while the daemon is busy or away.
    async fn deliver(&self, lines: &Lines) -> Result<Answer, ClientError> {
        let give_up = Instant::now() + self.patience;
        loop {
            let body = lines.iter().map(|(_, line)| line.as_slice()).collect::<Vec<_>>().join(&b'\n');
            let error = match self.client.post_lines(&["v1", &self.topic], body).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let asked = match &error {
                ClientError::Refused { retry_after, .. } => *retry_after,
                ClientError::Away { .. } | ClientError::Address { .. } | ClientError::Answer { .. } => None,
            };
            let pause = asked.unwrap_or(PAUSE).mul_f64(1.0 + fastrand::f64());
            if !error.is_unavailable() || Instant::now() + pause > give_up {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn count(&mut self, lines: &Lines, answer: Answer) {
        self.tally.accepted += answer.accepted.len() as u64;
        for Rejected { index, code, message } in answer.rejected {
            let number = lines.get(index).map_or(0, |(number, _)| *number);
            self.reject(number, &code, &message);
        }
    }

    fn reject(&mut self, line: u64, code: &str, message: &str) {
        self.tally.rejected += 1;
        if self.tally.first_rejections.len() < MAX_SHOWN {
            self.tally.first_rejections.push(format!(
                "line {line}: {} ({})",
                output::clip(message, 200),
                output::clip(code, 20)
            ));
        }
    }
}
