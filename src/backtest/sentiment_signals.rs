//! From what documents said to when to trade: a decayed score of one symbol, and thresholds with hysteresis.
//!
//! Every document weighs `2^(-age / half_life)`, its age counting from when it happened; the score is the weighted mean
//! of the documents known so far and of `prior` neutral ones, so that it fades to 0 when no news comes and a single
//! document moves it less than many. Nothing is used before it could have been known ([`SentimentEvent::known_ms`]), and
//! nothing that became known after a bar's decision time ([`decision_times`]) moves that bar.

use serde::{Deserialize, Serialize};

use super::error::BacktestError;
use super::request::{Direction, Fill};
use super::signals::Signals;
use super::span::Span;
use super::strategies::SentimentParams;

/// Longest half-life and latency.
pub const CENTURY_SECONDS: f64 = 100.0 * 365.0 * 86_400.0;

/// Since when a document counts as known; the latency comes on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SignalClock {
    /// The later of its publication and the time the log took it in: what a daemon that keeps up could have known. The
    /// same over every replay.
    #[default]
    Accepted,
    /// The later of those and the time its verdict was made: what this daemon really knew, its outages included.
    Processed,
    /// Its publication: for archives loaded long after, whose sender vouches for the time. The latency has to stand for
    /// the way the document would have taken.
    Published,
}

/// When a bar's decision is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DecisionTime {
    /// At the bar's beginning: right whatever the session, as a daily bar's close may come hours before its day ends.
    #[default]
    Begin,
    /// At the bar's end, its beginning and the frequency: for markets that never close.
    End,
}

/// How sentiment becomes entries and exits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SentimentSettings {
    /// A document's weight halves in this time, over 0 to 3,153,600,000 seconds. Default 86,400: yesterday's news counts
    /// half.
    pub half_life_seconds: f64,
    /// Neutral documents that are always there, 0 to 1,000,000: the score of one document alone is divided by one and
    /// these. Default 1, so that a single opinion moves the score half as far as many that agree.
    pub prior: f64,
    /// Long at or above this score, short at or below its negative; over 0, at most 1. Default 0.2.
    pub enter_above: f64,
    /// Out of long at or below this score, out of short at or above its negative; -1 to below `enter_above`. Default 0.
    pub exit_below: f64,
    /// Seconds from when a document counts as known to when it can be acted on, 0 to 3,153,600,000. Default 60: longer
    /// than a daemon that keeps up takes.
    pub latency_seconds: f64,
    /// Since when a document counts as known: `accepted` (default), `processed` or `published`.
    pub clock: SignalClock,
    /// When a bar's decision is made: at its `begin` (default) or its `end`. Without effect where a request has
    /// `fill = "next_open"`, whose decisions are made at the next bar's beginning.
    pub decide: DecisionTime,
}

impl Default for SentimentSettings {
    fn default() -> Self {
        Self {
            half_life_seconds: 86_400.0,
            prior: 1.0,
            enter_above: 0.2,
            exit_below: 0.0,
            latency_seconds: 60.0,
            clock: SignalClock::default(),
            decide: DecisionTime::default(),
        }
    }
}

impl SentimentSettings {
    /// With what a request says otherwise.
    ///
    /// # Errors
    /// Names the parameter out of range.
    pub fn with(self, other: &SentimentParams) -> Result<Self, BacktestError> {
        let seconds = |span: Span| span.ratio(Span::DAY) * 86_400.0;
        let settings = Self {
            half_life_seconds: other.half_life.map_or(self.half_life_seconds, seconds),
            prior: other.prior.unwrap_or(self.prior),
            enter_above: other.enter_above.unwrap_or(self.enter_above),
            exit_below: other.exit_below.unwrap_or(self.exit_below),
            latency_seconds: other.latency.map_or(self.latency_seconds, seconds),
            clock: other.clock.unwrap_or(self.clock),
            decide: other.decide.unwrap_or(self.decide),
        };
        settings.check()?;
        Ok(settings)
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the parameter out of range.
    pub fn check(&self) -> Result<(), BacktestError> {
        for (name, value, holds, allowed) in [
            (
                "half_life",
                self.half_life_seconds,
                self.half_life_seconds > 0.0 && self.half_life_seconds <= CENTURY_SECONDS,
                "above 0, at most a hundred years",
            ),
            (
                "latency",
                self.latency_seconds,
                (0.0..=CENTURY_SECONDS).contains(&self.latency_seconds),
                "0 to a hundred years",
            ),
            ("prior", self.prior, (0.0..=1e6).contains(&self.prior), "0 to 1000000"),
            ("enter_above", self.enter_above, self.enter_above > 0.0 && self.enter_above <= 1.0, "above 0, at most 1"),
            (
                "exit_below",
                self.exit_below,
                (-1.0..self.enter_above).contains(&self.exit_below),
                "-1 to below enter_above",
            ),
        ] {
            if !holds {
                return Err(BacktestError::parameter(&format!("signals.params.{name}"), value, allowed));
            }
        }
        Ok(())
    }

    /// When a document with these times (milliseconds since 1970) can be acted on.
    #[must_use]
    pub fn known_ms(&self, happened_ms: i64, accepted_ms: i64, processed_ms: i64) -> i64 {
        let known = match self.clock {
            SignalClock::Published => happened_ms,
            SignalClock::Accepted => happened_ms.max(accepted_ms),
            SignalClock::Processed => happened_ms.max(accepted_ms).max(processed_ms),
        };
        #[expect(clippy::cast_possible_truncation, reason = "at most a hundred years, see check")]
        let latency = (self.latency_seconds * 1000.0).ceil() as i64;
        known.saturating_add(latency)
    }
}

/// What one document said about the symbol.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SentimentEvent {
    /// When it happened, milliseconds since 1970: its age counts from here.
    pub happened_ms: i64,
    /// When it can be acted on, milliseconds since 1970; see [`SentimentSettings::known_ms`].
    pub known_ms: i64,
    /// -1 to 1.
    pub score: f64,
}

/// When each bar's decision is made, milliseconds since 1970. `times` are the bars' beginnings, ascending.
#[must_use]
pub fn decision_times(times: &[i64], frequency: Span, decide: DecisionTime, fill: Fill) -> Vec<i64> {
    let end = |row: usize| {
        let end = times[row].saturating_add(frequency.milliseconds());
        times.get(row + 1).map_or(end, |next| end.min(*next))
    };
    match (fill, decide) {
        // filled at the next bar's open, however far away that is
        (Fill::NextOpen, _) => {
            (0..times.len()).map(|row| times.get(row + 1).copied().unwrap_or_else(|| end(row))).collect()
        }
        (Fill::Close, DecisionTime::Begin) => times.to_vec(),
        (Fill::Close, DecisionTime::End) => (0..times.len()).map(end).collect(),
    }
}

/// The score as it changes with time and news; the streaming form of [`scores`].
#[derive(Debug, Clone)]
pub struct DecayedScore {
    half_life_ms: f64,
    prior: f64,
    /// What the sums below are decayed to.
    at_ms: i64,
    /// Sum of weight times score.
    weighted: f64,
    /// Sum of weights.
    weight: f64,
}

impl DecayedScore {
    /// Nothing known yet.
    #[must_use]
    pub fn new(settings: &SentimentSettings) -> Self {
        let half_life_ms = settings.half_life_seconds * 1000.0;
        Self { half_life_ms, prior: settings.prior, at_ms: i64::MIN, weighted: 0.0, weight: 0.0 }
    }

    /// Goes on to a later time.
    pub fn advance(&mut self, to_ms: i64) {
        if to_ms <= self.at_ms {
            return;
        }
        let factor = self.decay(to_ms.saturating_sub(self.at_ms));
        self.weighted *= factor;
        self.weight *= factor;
        self.at_ms = to_ms;
    }

    /// Takes in what became known, at or before the time it is at.
    pub fn add(&mut self, event: &SentimentEvent) {
        let weight = self.decay(self.at_ms.saturating_sub(event.happened_ms).max(0));
        self.weighted += weight * event.score;
        self.weight += weight;
    }

    /// The score, -1 to 1; 0 while nothing is known.
    #[must_use]
    pub fn value(&self) -> f64 {
        let weight = self.weight + self.prior;
        if weight > 0.0 { self.weighted / weight } else { 0.0 }
    }

    #[expect(clippy::cast_precision_loss, reason = "milliseconds below 2^53 are exact, and older ones weigh nothing")]
    fn decay(&self, elapsed_ms: i64) -> f64 {
        (-(elapsed_ms as f64) / self.half_life_ms).exp2()
    }
}

/// The score at each decision time (ascending), of events in any order.
#[must_use]
pub fn scores(events: &[SentimentEvent], decisions: &[i64], settings: &SentimentSettings) -> Vec<f64> {
    let mut order: Vec<&SentimentEvent> = events.iter().collect();
    // equal times in a fixed order, so that sums are the same whatever the order given
    order.sort_by(|left, right| {
        (left.known_ms, left.happened_ms)
            .cmp(&(right.known_ms, right.happened_ms))
            .then_with(|| left.score.total_cmp(&right.score))
    });
    let mut next = order.into_iter().peekable();
    let mut score = DecayedScore::new(settings);
    let mut values = Vec::with_capacity(decisions.len());
    for decision in decisions {
        while let Some(event) = next.next_if(|event| event.known_ms <= *decision) {
            score.advance(event.known_ms);
            score.add(event);
        }
        score.advance(*decision);
        values.push(score.value());
    }
    values
}

/// Entries and exits of scores: in at a threshold, out only at the other.
#[must_use]
pub fn thresholds(scores: &[f64], settings: &SentimentSettings, direction: Direction) -> Signals {
    let long = crossings(scores.iter().copied(), settings);
    let short = || crossings(scores.iter().map(|score| -score), settings);
    match direction {
        Direction::Long => Signals::new(long.0, long.1),
        Direction::Short => {
            let (entries, exits) = short();
            Signals::new(entries, exits)
        }
        Direction::Both => {
            let (entries, exits) = short();
            Signals { short_entries: Some(entries), short_exits: Some(exits), ..Signals::new(long.0, long.1) }
        }
    }
}

fn crossings(scores: impl Iterator<Item = f64>, settings: &SentimentSettings) -> (Vec<bool>, Vec<bool>) {
    let mut inside = false;
    scores
        .map(|score| {
            let enter = !inside && score >= settings.enter_above;
            let exit = inside && score <= settings.exit_below;
            inside = (inside || enter) && !exit;
            (enter, exit)
        })
        .unzip()
}
