//! The bar loop: 4 or 8 accounts side by side, one bar after the other.
//!
//! What happens at every bar is free of branches: value, return and the sums that the metrics are made of. Orders are
//! rare; one branch asks whether any lane has one, and then they too are carried out lane by lane under masks.

use super::account::{Account, Fill, LaneTerms};
use super::signals::{Masks, Signaller, Source};
use super::vector::Vector;
use super::{CHUNK, Common, Market, Totals};

/// Compensated sums of the returns: what a chunk adds goes in with its rounding error.
#[derive(Debug, Clone, Copy)]
struct Sum<V> {
    total: V,
    error: V,
}

impl<V: Vector> Sum<V> {
    #[inline(always)]
    fn zero() -> Self {
        Self { total: V::splat(0.0), error: V::splat(0.0) }
    }

    /// Adds by Knuth's two-sum.
    #[inline(always)]
    fn add(&mut self, term: V) {
        let total = self.total.add(term);
        let share = total.sub(self.total);
        self.error = self.error.add(self.total.sub(total.sub(share)).add(term.sub(share)));
        self.total = total;
    }
}

/// What is carried from bar to bar beside the account itself.
#[derive(Debug, Clone, Copy)]
struct Course<V> {
    /// Value at the bar before.
    value: V,
    /// Highest value so far; the money at the start does not count.
    peak: V,
    /// Lowest value ÷ peak so far.
    worst: V,
    /// Lowest value so far.
    lowest: V,
    /// Returns.
    sum: Sum<V>,
    /// Squared returns.
    squares: Sum<V>,
    /// What returns exceed the threshold by.
    gains: Sum<V>,
    /// What returns stay below the threshold, negative.
    losses: Sum<V>,
    /// Squares of what returns stay below the required return.
    downside: Sum<V>,
}

impl<V: Vector> Course<V> {
    #[inline(always)]
    fn new(init_cash: f64) -> Self {
        Self {
            value: V::splat(init_cash),
            peak: V::splat(0.0),
            worst: V::splat(1.0),
            lowest: V::splat(init_cash),
            sum: Sum::zero(),
            squares: Sum::zero(),
            gains: Sum::zero(),
            losses: Sum::zero(),
            downside: Sum::zero(),
        }
    }
}

/// Simulates the sets of `source` (a block at most) and writes what the metrics are made of. `SHORTS` also sells short,
/// `STOPS` also watches stop loss, trailing stop and take profit.
#[inline(always)]
pub(super) fn block<V: Vector, const SHORTS: bool, const STOPS: bool>(
    market: &Market<'_>,
    common: &Common,
    terms: &LaneTerms,
    source: Source<'_>,
    out: &mut [Totals],
) {
    let mut signaller = Signaller::new(common.way.places(), common.delayed);
    let mut masks = Box::new(Masks { words: [[0; CHUNK]; 4] });
    let groups = source.len().div_ceil(V::LANES);
    let mut accounts = vec![Account::<V>::new(common.init_cash); groups];
    let mut courses = vec![Course::<V>::new(common.init_cash); groups];
    for start in (0..market.close.len()).step_by(CHUNK) {
        signaller.fill::<V>(source, start, market.tradable, &mut masks);
        for group in 0..groups {
            let lane = group * V::LANES;
            chunk::<V, SHORTS, STOPS>(
                &Bars { market, common, terms, masks: &masks, start, lane },
                &mut accounts[group],
                &mut courses[group],
            );
        }
    }
    let mut spare = [0.0; 8];
    for (group, out) in out.chunks_mut(V::LANES).enumerate() {
        let (account, course) = (&accounts[group], &courses[group]);
        account.write(out, &mut spare);
        let mut put = |vector: V, place: fn(&mut Totals) -> &mut f64| {
            vector.store(&mut spare);
            out.iter_mut().zip(spare).for_each(|(set, value)| *place(set) = value);
        };
        put(course.value, |set| &mut set.final_value);
        put(course.worst, |set| &mut set.worst);
        put(course.lowest, |set| &mut set.lowest);
        put(course.sum.total.add(course.sum.error), |set| &mut set.sum);
        put(course.squares.total.add(course.squares.error), |set| &mut set.squares);
        put(course.gains.total.add(course.gains.error), |set| &mut set.gains);
        put(course.losses.total.add(course.losses.error), |set| &mut set.losses);
        put(course.downside.total.add(course.downside.error), |set| &mut set.downside);
    }
}

/// What the lanes of one group see of a chunk.
struct Bars<'a> {
    market: &'a Market<'a>,
    common: &'a Common,
    terms: &'a LaneTerms,
    masks: &'a Masks,
    /// First bar of the chunk.
    start: usize,
    /// First lane of the group within the block.
    lane: usize,
}

/// One chunk of bars for one group of lanes.
#[inline(always)]
fn chunk<V: Vector, const SHORTS: bool, const STOPS: bool>(
    bars: &Bars<'_>,
    kept_account: &mut Account<V>,
    kept_course: &mut Course<V>,
) {
    let (zero, required, threshold) =
        (V::splat(0.0), V::splat(bars.common.required_return), V::splat(bars.common.threshold));
    let (mut account, mut course) = (*kept_account, *kept_course);
    let (mut sum, mut squares, mut gains, mut losses, mut downside) = (zero, zero, zero, zero, zero);
    let lane = bars.lane;
    let closes = &bars.market.close[bars.start..];
    let closes = &closes[..closes.len().min(CHUNK)];
    let fills = &bars.market.fill[bars.start..][..closes.len()];
    let min_size = V::splat(bars.common.min_size);
    for (bar, (&close, &fill)) in closes.iter().zip(fills).enumerate() {
        let close = V::splat(close);
        let signal = |kind: usize| low_bits::<V>(bars.masks.words[kind][bar] >> lane);
        let mut fill = Fill { price: V::splat(fill), close, min_size, stopped: 0, stop_price: close };
        if STOPS {
            account.watch_stops::<SHORTS>(bars.market, bars.start + bar, &mut fill);
        }
        let free = !fill.stopped;
        let long_entry = signal(0) & free & !account.long;
        let close_long = (signal(1) | fill.stopped) & account.long;
        let (short_entry, cover) = if SHORTS {
            (signal(2) & free & !account.short, (signal(3) | fill.stopped) & account.short & !long_entry)
        } else {
            (0, 0)
        };
        let close_long = close_long & !short_entry;
        if long_entry | close_long | short_entry | cover != 0 {
            account.order::<SHORTS, STOPS>(&fill, [long_entry, close_long, short_entry, cover], bars.terms, lane);
        }
        let value = account.cash.add(account.position.mul(close));
        let earned = value.sub(course.value).div(course.value);
        course.value = value;
        course.lowest = course.lowest.min(value);
        course.peak = course.peak.max(value);
        course.worst = course.worst.min(value.div(course.peak));
        sum = sum.add(earned);
        squares = squares.add(earned.mul(earned));
        let beyond = earned.sub(threshold);
        gains = gains.add(beyond.max(zero));
        losses = losses.add(beyond.min(zero));
        let short = earned.sub(required).min(zero);
        downside = downside.add(short.mul(short));
    }
    course.sum.add(sum);
    course.squares.add(squares);
    course.gains.add(gains);
    course.losses.add(losses);
    course.downside.add(downside);
    (*kept_account, *kept_course) = (account, course);
}

/// The bits of a group's lanes.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the lowest bits are what is wanted")]
fn low_bits<V: Vector>(word: u64) -> u8 {
    word as u8 & u8::MAX >> (8 - V::LANES)
}
