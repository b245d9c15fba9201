//! From a bar's signals to one order: conflicts, opposite entries, accumulation.

use super::error::BacktestError;
use super::execution::Allowed;
use super::request::{
    Accumulation, BacktestRequest, ConflictMode, Direction, DirectionConflict, OppositeEntry, SizeType, StopExit,
};

/// The signals of one bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "any of the sixteen combinations may come")]
pub(crate) struct BarSignals {
    pub(crate) long_entry: bool,
    pub(crate) long_exit: bool,
    pub(crate) short_entry: bool,
    pub(crate) short_exit: bool,
}

impl BarSignals {
    /// What entries and exits mean in a direction.
    pub(crate) fn directed(entry: bool, exit: bool, direction: Direction) -> Self {
        match direction {
            Direction::Long => Self { long_entry: entry, long_exit: exit, ..Self::default() },
            Direction::Short => Self { short_entry: entry, short_exit: exit, ..Self::default() },
            Direction::Both => Self { long_entry: entry, short_entry: exit, ..Self::default() },
        }
    }

    pub(crate) fn any(self) -> bool {
        self.long_entry || self.long_exit || self.short_entry || self.short_exit
    }
}

/// How signals are decided; the part of a request that does so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rules {
    size: f64,
    size_type: SizeType,
    accumulate: Accumulation,
    long_conflict: ConflictMode,
    short_conflict: ConflictMode,
    direction_conflict: DirectionConflict,
    opposite_entry: OppositeEntry,
    stop_exit: StopExit,
}

/// The order a bar's signals come to, before it meets the account.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Decision {
    /// Signed, never 0.
    pub(crate) size: f64,
    pub(crate) size_type: SizeType,
    pub(crate) allowed: Allowed,
}

impl Decision {
    /// Ends a position.
    pub(crate) fn close(position: f64) -> Self {
        let allowed = if position > 0.0 { Allowed::LongOnly } else { Allowed::ShortOnly };
        Self { size: -position, size_type: SizeType::Amount, allowed }
    }
}

impl Rules {
    /// The rules of a request.
    pub(crate) fn new(request: &BacktestRequest) -> Result<Self, BacktestError> {
        let size = request.size.unwrap_or(f64::INFINITY);
        if size.is_nan() || size <= 0.0 {
            return Err(BacktestError::parameter("size", size, "above 0; signals and direction decide the side"));
        }
        match request.size_type {
            SizeType::Amount | SizeType::Value | SizeType::Percent => {}
            SizeType::TargetAmount | SizeType::TargetValue | SizeType::TargetPercent => {
                return Err(BacktestError::combination("size_type", "targets belong to orders, not to signals"));
            }
        }
        if request.size_type == SizeType::Percent && !(size <= 1.0 || size.is_infinite()) {
            return Err(BacktestError::parameter("size", size, "a fraction up to 1 when size_type is percent"));
        }
        // All of the cash is the same order whatever its unit; a share has to be finite.
        let size_type = if size.is_infinite() { SizeType::Amount } else { request.size_type };
        Ok(Self {
            size,
            size_type,
            accumulate: request.accumulate,
            long_conflict: request.upon_long_conflict,
            short_conflict: request.upon_short_conflict,
            direction_conflict: request.upon_dir_conflict,
            opposite_entry: request.upon_opposite_entry,
            stop_exit: request.upon_stop_exit,
        })
    }

    /// The order of a bar's signals; `Err` when a share would have to turn a position round.
    pub(crate) fn decide(
        &self,
        position: f64,
        signals: BarSignals,
        price: f64,
    ) -> Result<Option<Decision>, BacktestError> {
        let mut signals = signals;
        if signals.long_entry && signals.long_exit {
            (signals.long_entry, signals.long_exit) = conflict(position, self.long_conflict);
        }
        if signals.short_entry && signals.short_exit {
            (signals.short_entry, signals.short_exit) = conflict(position, self.short_conflict);
        }
        if signals.long_entry && signals.short_entry {
            (signals.long_entry, signals.short_entry) = side_conflict(position, self.direction_conflict);
        }
        let (signals, accumulate) = self.opposite(position, signals);
        self.size(position, signals, accumulate, price)
    }

    /// Whether further entries may add to a position.
    pub(crate) fn adds(&self) -> bool {
        matches!(self.accumulate, Accumulation::Both | Accumulation::AddOnly)
    }

    /// The order of a stop.
    pub(crate) fn decide_stop(&self, position: f64, price: f64) -> Result<Option<Decision>, BacktestError> {
        let long = position > 0.0;
        let (turns, accumulate) = match self.stop_exit {
            StopExit::Close => (false, Accumulation::Disabled),
            StopExit::CloseReduce => (false, self.accumulate),
            StopExit::Reverse => (true, Accumulation::Disabled),
            StopExit::ReverseReduce => (true, self.accumulate),
        };
        let signals = BarSignals {
            long_entry: !long && turns,
            long_exit: long && !turns,
            short_entry: long && turns,
            short_exit: !long && !turns,
        };
        self.size(position, signals, accumulate, price)
    }

    fn opposite(&self, position: f64, signals: BarSignals) -> (BarSignals, Accumulation) {
        let mut signals = signals;
        let against_long = position > 0.0 && signals.short_entry;
        let against_short = position < 0.0 && signals.long_entry;
        if !against_long && !against_short {
            return (signals, self.accumulate);
        }
        let closes = match self.opposite_entry {
            OppositeEntry::Ignore => {
                signals.short_entry &= !against_long;
                signals.long_entry &= !against_short;
                return (signals, self.accumulate);
            }
            OppositeEntry::Close | OppositeEntry::CloseReduce => true,
            OppositeEntry::Reverse | OppositeEntry::ReverseReduce => false,
        };
        if closes {
            signals.short_entry &= !against_long;
            signals.long_entry &= !against_short;
            signals.long_exit |= against_long;
            signals.short_exit |= against_short;
        }
        let accumulate = match self.opposite_entry {
            OppositeEntry::Close | OppositeEntry::Reverse => Accumulation::Disabled,
            OppositeEntry::Ignore | OppositeEntry::CloseReduce | OppositeEntry::ReverseReduce => self.accumulate,
        };
        (signals, accumulate)
    }

    fn size(
        &self,
        position: f64,
        signals: BarSignals,
        accumulate: Accumulation,
        price: f64,
    ) -> Result<Option<Decision>, BacktestError> {
        // Seen from a short position everything is mirrored.
        let (sign, same_entry, same_exit, against, held) = if position < 0.0 {
            (-1.0, signals.short_entry, signals.short_exit, signals.long_entry, Allowed::ShortOnly)
        } else {
            (1.0, signals.long_entry, signals.long_exit, signals.short_entry, Allowed::LongOnly)
        };
        let decision = |size: f64, size_type, allowed| Ok(Some(Decision { size, size_type, allowed }));
        if position == 0.0 {
            return match (signals.long_entry, signals.short_entry) {
                (true, _) => decision(self.size, self.size_type, Allowed::Both),
                (false, true) => decision(-self.size, self.size_type, Allowed::Both),
                (false, false) => Ok(None),
            };
        }
        let (adds, reduces) = match accumulate {
            Accumulation::Disabled => (false, false),
            Accumulation::Both => (true, true),
            Accumulation::AddOnly => (true, false),
            Accumulation::RemoveOnly => (false, true),
        };
        if against {
            if reduces {
                return decision(-sign * self.size, self.size_type, Allowed::Both);
            }
            return decision(-sign * (position.abs() + self.turned(price)?), SizeType::Amount, Allowed::Both);
        }
        if same_exit {
            if reduces {
                return decision(-sign * self.size, self.size_type, held);
            }
            return decision(-position, SizeType::Amount, held);
        }
        if same_entry && adds {
            return decision(sign * self.size, self.size_type, held);
        }
        Ok(None)
    }

    /// Units with which a position begins on the other side.
    fn turned(&self, price: f64) -> Result<f64, BacktestError> {
        match self.size_type {
            SizeType::Value => Ok(self.size / price),
            SizeType::Percent => Err(BacktestError::combination(
                "size_type",
                "a percentage cannot turn a position round: set upon_opposite_entry to close or ignore, or accumulate",
            )),
            SizeType::Amount | SizeType::TargetAmount | SizeType::TargetValue | SizeType::TargetPercent => {
                Ok(self.size)
            }
        }
    }
}

/// Which of entry and exit remains.
fn conflict(position: f64, mode: ConflictMode) -> (bool, bool) {
    match mode {
        ConflictMode::Ignore => (false, false),
        ConflictMode::Entry => (true, false),
        ConflictMode::Exit => (false, true),
        ConflictMode::Adjacent => (position != 0.0, false),
        ConflictMode::Opposite => (false, position != 0.0),
    }
}

/// Which of long and short entry remains.
fn side_conflict(position: f64, mode: DirectionConflict) -> (bool, bool) {
    match mode {
        DirectionConflict::Ignore => (false, false),
        DirectionConflict::Long => (true, false),
        DirectionConflict::Short => (false, true),
        DirectionConflict::Adjacent => (position > 0.0, position < 0.0),
        DirectionConflict::Opposite => (position < 0.0, position > 0.0),
    }
}
