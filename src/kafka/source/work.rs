//! The source's loop.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::control::{Phase, SourceControl};
use super::{HandOver, SourceReport};
use crate::config::log::SourceConfig;
use crate::kafka::ledger::OffsetLedger;
use crate::kafka::log::{LogConsumer, LogError, LogEvent};
use crate::messages::delivery::{Delivery, Ledger};
use crate::messages::record::Record;
use crate::telemetry::metrics;

/// Longest poll while something waits to be handed over or to be finished: soon tried again.
const BUSY_POLL: Duration = Duration::from_millis(2);
/// How often lag is written to the metrics.
const LAG_INTERVAL: Duration = Duration::from_secs(1);
/// Waits between polls while the log is away.
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const LAST_BACKOFF: Duration = Duration::from_secs(1);
/// Tries of the last commit, and the wait between them.
const LAST_COMMIT_TRIES: u32 = 3;
const LAST_COMMIT_WAIT: Duration = Duration::from_millis(200);

pub(super) struct Work<'a, H> {
    consumer: Box<dyn LogConsumer>,
    ledger: Arc<OffsetLedger>,
    hand_over: H,
    control: &'a SourceControl,
    /// Read this round.
    settings: Arc<SourceConfig>,
    /// Read and registered, not accepted yet; in order.
    held: VecDeque<Delivery>,
    /// When the pipeline last accepted, or had nothing to accept.
    last_accepted: Instant,
    assigned: BTreeSet<(String, i32)>,
    paused: bool,
    /// Paused partitions in the metrics.
    shown_paused: u32,
    /// Ledger version last told to the consumer.
    told_version: u64,
    commit_due: Instant,
    redeliver_due: Instant,
    lag_due: Instant,
    /// Wait after the next failed poll.
    backoff: Duration,
    /// Whether the last commit failed; said once per streak.
    commit_failing: bool,
    report: SourceReport,
}

impl<H> Drop for Work<'_, H> {
    /// Whatever ended it, its share of the gauge goes with it.
    fn drop(&mut self) {
        metrics::paused_partitions(-f64::from(self.shown_paused));
    }
}

impl<'a, H: HandOver> Work<'a, H> {
    pub(super) fn new(
        consumer: Box<dyn LogConsumer>,
        ledger: Arc<OffsetLedger>,
        hand_over: H,
        control: &'a SourceControl,
    ) -> Self {
        let now = Instant::now();
        Self {
            consumer,
            ledger,
            hand_over,
            control,
            settings: control.settings(),
            held: VecDeque::new(),
            last_accepted: now,
            assigned: BTreeSet::new(),
            paused: false,
            shown_paused: 0,
            told_version: 0,
            commit_due: now,
            redeliver_due: now,
            lag_due: now,
            backoff: FIRST_BACKOFF,
            commit_failing: false,
            report: SourceReport::default(),
        }
    }

    pub(super) fn run(mut self) -> Result<SourceReport, LogError> {
        let result = self.turn_until_stopped();
        // What was read and not handed over goes unfinished: the next consumer reads it again.
        self.held.clear();
        self.report.committed = self.commit_last();
        self.report.unfinished = self.ledger.counts().in_flight;
        self.control.assignment(0, false);
        result.map(|()| self.report)
    }

    fn turn_until_stopped(&mut self) -> Result<(), LogError> {
        loop {
            self.settings = self.control.settings();
            let now = Instant::now();
            let busy = match self.control.phase() {
                Phase::Stopped => return Ok(()),
                Phase::Draining(deadline) => {
                    self.held.clear();
                    let counts = self.ledger.counts();
                    if counts.in_flight == counts.returned || now >= deadline {
                        return Ok(());
                    }
                    self.pause(true);
                    true
                }
                Phase::Running => {
                    self.redeliver(now);
                    self.offer(now);
                    self.pause_or_resume(now);
                    self.paused || !self.held.is_empty()
                }
            };
            self.tell_committable();
            let longest = Duration::from_millis(self.settings.poll_timeout_ms);
            self.poll(if busy { BUSY_POLL.min(longest) } else { longest })?;
            self.commit_when_due()?;
            self.control.polled(self.ledger.counts().in_flight, self.held.len());
        }
    }

    /// Delivers again what came back, after a pause so that a stage that is away isn't run against.
    fn redeliver(&mut self, now: Instant) {
        if now < self.redeliver_due {
            return;
        }
        let delay = Duration::from_millis(self.settings.redeliver_after_ms);
        self.redeliver_due = now + delay.mul_f64(0.75 + fastrand::f64() / 2.0);
        for (record, epoch) in self.ledger.take_returned() {
            self.report.redelivered += 1;
            self.held.push_back(Delivery::new(record, epoch, Arc::clone(&self.ledger) as Arc<dyn Ledger>));
        }
    }

    /// Hands over until refused.
    fn offer(&mut self, now: Instant) {
        let accepted = self.hand_over.hand_over(&mut self.held);
        self.report.accepted += accepted as u64;
        if accepted > 0 || self.held.is_empty() {
            self.last_accepted = now;
        }
    }

    fn pause_or_resume(&mut self, now: Instant) {
        let (counts, staged) = (self.ledger.counts(), self.consumer.staged());
        let records = counts.in_flight + counts.late + staged.records;
        let bytes = counts.bytes + staged.bytes;
        let SourceConfig { max_in_flight, max_in_flight_bytes, pause_after_ms, .. } = *self.settings;
        let jammed = !self.held.is_empty() && now - self.last_accepted >= Duration::from_millis(pause_after_ms);
        if !self.paused && (jammed || records >= max_in_flight || bytes >= max_in_flight_bytes) {
            self.pause(true);
        } else if self.paused && !jammed && records <= max_in_flight / 2 && bytes <= max_in_flight_bytes / 2 {
            self.pause(false);
        }
    }

    fn pause(&mut self, paused: bool) {
        if self.paused == paused {
            return;
        }
        self.paused = paused;
        self.report.pauses += u64::from(paused);
        tracing::debug!(paused, held = self.held.len(), "source changed its pace");
        self.consumer.set_paused(paused);
        self.show_assignment();
    }

    fn show_assignment(&mut self) {
        let count = self.assigned.len();
        self.show_paused(if self.paused { u32::try_from(count).unwrap_or(u32::MAX) } else { 0 });
        self.control.assignment(count, self.paused);
    }

    /// Several sources share the gauge: each adds its own.
    fn show_paused(&mut self, count: u32) {
        metrics::paused_partitions(f64::from(count) - f64::from(self.shown_paused));
        self.shown_paused = count;
    }

    /// Tells the consumer before every poll, because a poll may revoke partitions and commit.
    fn tell_committable(&mut self) {
        let version = self.ledger.version();
        if version != self.told_version {
            self.told_version = version;
            self.consumer.set_committable(&self.ledger.committable());
        }
    }

    fn poll(&mut self, timeout: Duration) -> Result<(), LogError> {
        match self.consumer.poll(timeout) {
            Ok(events) => {
                if self.backoff > FIRST_BACKOFF {
                    tracing::info!("the log answers again");
                }
                self.backoff = FIRST_BACKOFF;
                for event in events {
                    self.event(event);
                }
                Ok(())
            }
            Err(error) if error.is_retriable() => {
                if self.backoff == FIRST_BACKOFF {
                    tracing::warn!(%error, "polling the log failed; trying again");
                }
                self.control.wait(self.backoff.mul_f64(0.5 + fastrand::f64() / 2.0));
                self.backoff = (self.backoff * 2).min(LAST_BACKOFF);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn event(&mut self, event: LogEvent) {
        match event {
            LogEvent::Records(records) => self.take(records),
            LogEvent::Assigned { epoch, partitions } => {
                tracing::info!(epoch, ?partitions, "partitions assigned");
                self.ledger.assigned(epoch, &partitions);
                self.assigned.extend(partitions);
                if self.paused {
                    self.consumer.set_paused(true);
                }
                self.show_assignment();
            }
            LogEvent::Revoked { partitions } => {
                tracing::info!(?partitions, "partitions revoked");
                self.ledger.revoked(&partitions);
                for (topic, number) in partitions {
                    self.held.retain(|delivery| {
                        let position = delivery.position();
                        *position.topic != *topic || position.partition != number
                    });
                    self.assigned.remove(&(topic, number));
                }
                self.show_assignment();
            }
        }
    }

    fn take(&mut self, records: Vec<Record>) {
        self.report.read += records.len() as u64;
        let epochs = self.ledger.register_all(&records);
        for (record, epoch) in records.into_iter().zip(epochs) {
            let Some(epoch) = epoch else { continue };
            self.held.push_back(Delivery::new(record, epoch, Arc::clone(&self.ledger) as Arc<dyn Ledger>));
        }
    }

    fn commit_when_due(&mut self) -> Result<(), LogError> {
        let now = Instant::now();
        // what is staged takes room until it is committed, so much of it is no reason to wait
        let crowded = self.consumer.staged().records >= (self.settings.max_in_flight / 4).max(1);
        if now >= self.commit_due || crowded {
            self.commit_due = now + Duration::from_millis(self.settings.commit_interval_ms);
            self.tell_committable();
            match self.consumer.commit(false) {
                Ok(()) => self.commit_failing = false,
                Err(error) if !error.is_retriable() => return Err(error),
                Err(error) if !self.commit_failing => {
                    self.commit_failing = true;
                    tracing::warn!(%error, "committing offsets failed; trying again");
                }
                Err(_) => {}
            }
        }
        if now >= self.lag_due {
            self.lag_due = now + LAG_INTERVAL;
            for lag in self.consumer.lag() {
                metrics::consumer_lag(&lag.topic, lag.partition, lag.records());
            }
        }
        Ok(())
    }

    fn commit_last(&mut self) -> bool {
        self.tell_committable();
        for attempt in 1..=LAST_COMMIT_TRIES {
            match self.consumer.commit(true) {
                Ok(()) => return true,
                Err(error) => tracing::warn!(%error, attempt, "the last commit failed"),
            }
            if attempt < LAST_COMMIT_TRIES {
                self.control.wait(LAST_COMMIT_WAIT);
            }
        }
        false
    }
}
