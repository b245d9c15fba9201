//! A run as the kernel takes it: flat arrays, side by side what threads read together.

use super::super::lanes::signals::{Columns, Condition, Operand, Rows, Rule, Source};
use super::super::lanes::{Common, Market, Sets, Terms, Totals};

/// What all sets share; laid out as `Shared` in `kernels.cu`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct Shared {
    /// Cash before the first bar.
    pub init_cash: f64,
    /// Smallest order.
    pub min_size: f64,
    /// Return per bar that the downside is measured from.
    pub required: f64,
    /// Return per bar that gains and losses are measured from.
    pub threshold: f64,
    /// Bars.
    pub bars: i32,
    /// Sets.
    pub sets: i32,
    /// Rows of indicators.
    pub rows: i32,
    /// Columns of given signals.
    pub columns: i32,
    /// Which of the four given signals is long entry, long exit, short entry and short exit.
    pub place: [i32; 4],
    /// 1 where signals trade one bar later.
    pub delayed: i32,
    /// 1 where signals are given, 0 where they come from rules.
    pub given: i32,
}

/// Values of one set's result.
pub const TOTALS: usize = 16;

/// Bars as the kernel reads them.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedMarket {
    /// Close, fill, open, high and low, one after the other.
    pub prices: Vec<f64>,
    /// 1 where a bar can trade.
    pub tradable: Vec<u8>,
}

/// Sets as the kernel reads them; value `k` of set `i` of `n` stands at `k * n + i`.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedSets {
    /// What all sets share.
    pub shared: Shared,
    /// Of entry and exit: whether it crosses, rows of left and right operand (−1 without). Of given signals: the column.
    pub kinds: Vec<i32>,
    /// Of entry and exit: factor or number of left and right operand.
    pub factors: Vec<f64>,
    /// Fees, fixed fees, slippage, stop loss and take profit (infinite without), 1 where the stop trails.
    pub terms: Vec<f64>,
    /// Name of the kernel.
    pub kernel: &'static str,
}

/// Packs bars.
///
/// # Panics
/// If there are stops' columns of another length than the closes; missing ones are taken to be the closes.
pub fn pack_market(market: &Market<'_>) -> PackedMarket {
    let bars = market.close.len();
    let mut prices = Vec::with_capacity(5 * bars);
    for column in [market.close, market.fill, market.open, market.high, market.low] {
        let column = if column.is_empty() { market.close } else { column };
        assert_eq!(column.len(), bars, "columns of bars have one length");
        prices.extend_from_slice(column);
    }
    let tradable = (0..bars).map(|bar| u8::from(market.tradable[bar / 64] >> (bar % 64) & 1 == 1)).collect();
    PackedMarket { prices, tradable }
}

/// Rows turned over: all rows' values of one bar side by side.
pub fn pack_rows(rows: &Rows) -> Vec<f64> {
    let (count, bars) = (rows.len(), rows.bars());
    let mut packed = vec![0.0; count * bars];
    // By blocks, so that both sides stay in the cache.
    for first in (0..count).step_by(8) {
        for row in first..(first + 8).min(count) {
            for (bar, value) in rows.row(u32::try_from(row).unwrap_or(u32::MAX)).iter().enumerate() {
                packed[bar * count + row] = *value;
            }
        }
    }
    packed
}

/// Given signals, one byte a bar and column: entry, exit, short entry and short exit from the lowest bit.
pub fn pack_columns(columns: &Columns, bars: usize) -> Vec<u8> {
    let count = columns.len();
    let mut packed = vec![0; count * bars];
    for column in 0..count {
        for bar in 0..bars {
            let bits = (0..4).map(|signal| u8::from(columns.given(column, signal, bar)) << signal);
            packed[bar * count + column] = bits.sum();
        }
    }
    packed
}

/// Packs sets.
///
/// # Errors
/// With the number that is too large for the kernel's integers.
pub fn pack_sets(bars: usize, common: &Common, sets: Sets<'_>) -> Result<PackedSets, usize> {
    let small = |number: usize| i32::try_from(number).map_err(|_| number);
    let count = sets.terms.len();
    let each = |value: fn(&Terms) -> f64| sets.terms.iter().map(value);
    let terms = each(|set| set.fees)
        .chain(each(|set| set.fixed_fees))
        .chain(each(|set| set.slippage))
        .chain(each(|set| set.stop_loss.unwrap_or(f64::INFINITY)))
        .chain(each(|set| set.take_profit.unwrap_or(f64::INFINITY)))
        .chain(each(|set| f64::from(u8::from(set.trailing))))
        .collect();
    let (mut kinds, mut factors) = (Vec::new(), Vec::new());
    let (rows, columns) = match sets.source {
        Source::Rules(rows, rules) => {
            for condition in [(|rule: &Rule| rule.entry) as fn(&Rule) -> Condition, |rule| rule.exit] {
                let left = |rule: &Rule| operand(condition(rule).operands().0);
                let right = |rule: &Rule| operand(condition(rule).operands().1);
                kinds.extend(rules.iter().map(|rule| i32::from(matches!(condition(rule), Condition::Crosses(..)))));
                kinds.extend(rules.iter().map(|rule| left(rule).0));
                kinds.extend(rules.iter().map(|rule| left(rule).1));
                kinds.extend(rules.iter().map(|rule| right(rule).0));
                kinds.extend(rules.iter().map(|rule| right(rule).1));
                factors.extend(rules.iter().map(|rule| left(rule).2));
                factors.extend(rules.iter().map(|rule| right(rule).2));
            }
            (rows.len(), 0)
        }
        Source::Columns(columns, indices) => {
            for index in indices {
                kinds.push(small(*index as usize)?);
            }
            (0, columns.len())
        }
    };
    let stops = sets.terms.iter().any(|set| set.stop_loss.is_some() || set.take_profit.is_some());
    let mut place = [0; 4];
    for (signal, mask) in common.way.places().into_iter().enumerate() {
        place[mask] = small(signal)?;
    }
    let shared = Shared {
        init_cash: common.init_cash,
        min_size: common.min_size,
        required: common.required_return,
        threshold: common.threshold,
        bars: small(bars)?,
        sets: small(count)?,
        rows: small(rows)?,
        columns: small(columns)?,
        place,
        delayed: i32::from(common.delayed),
        given: i32::from(matches!(sets.source, Source::Columns(..))),
    };
    let kernel = match (common.way.shorts(), stops) {
        (false, false) => "sweep_long",
        (false, true) => "sweep_long_stops",
        (true, false) => "sweep_both",
        (true, true) => "sweep_both_stops",
    };
    Ok(PackedSets { shared, kinds, factors, terms, kernel })
}

/// An operand's rows (−1 without) and number.
fn operand(operand: Operand) -> (i32, i32, f64) {
    // Rows are checked to be countable in an i32 by their number.
    let row = |index: u32| i32::try_from(index).unwrap_or(i32::MAX);
    match operand {
        Operand::Row(index) => (row(index), -1, 0.0),
        Operand::Constant(value) => (-1, -1, value),
        Operand::Band(base, width, factor) => (row(base), row(width), factor),
    }
}

/// The kernel's results, set by set.
pub fn unpack(packed: &[f64]) -> Vec<Totals> {
    let sets = packed.len() / TOTALS;
    let at = |value: usize, set: usize| packed[value * sets + set];
    (0..sets)
        .map(|set| Totals {
            final_value: at(0, set),
            worst: at(1, set),
            lowest: at(2, set),
            sum: at(3, set),
            squares: at(4, set),
            gains: at(5, set),
            losses: at(6, set),
            downside: at(7, set),
            closed: at(8, set),
            wins: at(9, set),
            losing: at(10, set),
            won: at(11, set),
            lost: at(12, set),
            fees: at(13, set),
            open: at(14, set) > 0.5,
            odd: at(15, set) > 0.5,
        })
        .collect()
}
