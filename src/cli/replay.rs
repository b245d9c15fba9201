//! `tidemill replay`.

mod batches;
mod sender;

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use self::batches::Batches;
use self::sender::{Sender, Tally};
use super::client::{Client, block_on};
use super::exit::{Exit, UsageError};
use super::options::{ConfigOptions, DaemonOptions};
use super::output;

/// The topics that have a way in over HTTP.
const TOPICS: [&str; 2] = ["documents", "bars"];

/// Send a file of documents or bars, one JSON object a line. Waits while the daemon is busy or away and sends again what
/// was not accepted; documents keep their ids and bars their times, so sending twice is harmless. Exit code 1 if any line was rejected.
#[derive(Debug, Args)]
#[command(after_help = "Example: tidemill replay feed.ndjson --rate 500")]
pub struct Replay {
    /// The file; - for standard input.
    file: PathBuf,
    /// Most lines a second.
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Topic to send to.
    #[arg(long, value_name = "T", default_value = TOPICS[0])]
    topic: String,
    /// Most lines in one request.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// Seconds to wait for a busy or absent daemon before giving up.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    patience: u64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: DaemonOptions,
}

impl Replay {
    /// Sends the file.
    ///
    /// # Errors
    /// If the file can't be read, or the daemon stays away.
    pub fn execute(self, config: &ConfigOptions) -> anyhow::Result<Exit> {
        if !TOPICS.contains(&self.topic.as_str()) {
            let (topic, allowed) = (output::clip(&self.topic, 60), TOPICS.join(", "));
            return Err(UsageError(format!("topic {topic} has no way in; allowed: {allowed}")).into());
        }
        if self.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            return Err(UsageError("--rate must be a number over 0".to_owned()).into());
        }
        let client = Client::new(&self.daemon, &config.load()?.config)?;
        let (batches, bar) = self.open()?;
        let mut sender = Sender::new(client, self.topic.clone(), Duration::from_secs(self.patience));
        let outcome = block_on(self.send_all(batches, &mut sender, &bar));
        bar.finish_and_clear();
        let tally = sender.into_tally();
        self.report(&tally)?;
        outcome?;
        Ok(if tally.rejected == 0 { Exit::Done } else { Exit::Failed })
    }

    fn open(&self) -> anyhow::Result<(Batches, ProgressBar)> {
        let most = self.batch as usize;
        if self.file.as_os_str() == "-" {
            return Ok((Batches::new(Box::new(std::io::stdin().lock()), most), ProgressBar::new_spinner()));
        }
        let name = self.file.display();
        let file = File::open(&self.file).with_context(|| format!("can't open {name}"))?;
        let bytes = file.metadata().with_context(|| format!("can't read {name}"))?.len();
        let bar = ProgressBar::new(bytes);
        let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {msg} {elapsed}, {eta} left")?;
        bar.set_style(style);
        Ok((Batches::new(Box::new(BufReader::new(file)), most), bar))
    }

    async fn send_all(&self, mut batches: Batches, sender: &mut Sender, bar: &ProgressBar) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut sent = 0_u64;
        while let Some(batch) = batches.next(self.rate)? {
            if let Some(rate) = self.rate {
                #[expect(clippy::cast_precision_loss, reason = "a count of lines is far below 2^52")]
                let due = Duration::from_secs_f64(sent as f64 / rate);
                tokio::time::sleep_until(started + due).await;
            }
            sent += batch.lines.len() as u64;
            let bytes = batch.bytes_read;
            sender.send(batch).await?;
            bar.inc(bytes);
            bar.set_message(format!("{} accepted, {} rejected,", sender.tally().accepted, sender.tally().rejected));
        }
        Ok(())
    }

    fn report(&self, tally: &Tally) -> anyhow::Result<()> {
        if self.json {
            return output::json(tally);
        }
        for rejection in &tally.first_rejections {
            output::note(rejection);
        }
        output::line(format_args!("accepted {}, rejected {}", tally.accepted, tally.rejected))?;
        Ok(())
    }
}
