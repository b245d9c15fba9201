//! Accounts of one group of lanes: cash, position, the open trade and its stops, and how orders change them.
//!
//! The arithmetic is that of the engine for one set, in the same order: every lane gives what it gives alone. What
//! only that engine does (a cover that cash does not reach for, an order that costs more than it brings) marks the
//! lane, and its set is then run there.

use super::vector::Vector;
use super::{BLOCK, Market, Terms, Totals};

/// The terms of a block's sets, lane by lane, as the arithmetic wants them.
#[derive(Debug, Clone)]
pub(super) struct LaneTerms {
    /// 1 + slippage.
    buy: [f64; BLOCK],
    /// 1 − slippage.
    sell: [f64; BLOCK],
    /// Relative fees.
    fees: [f64; BLOCK],
    /// 1 + relative fees.
    with_fees: [f64; BLOCK],
    /// 1 − relative fees.
    without_fees: [f64; BLOCK],
    /// Fixed fees per order.
    fixed: [f64; BLOCK],
    /// 1 − stop loss; −∞ without.
    stop_long: [f64; BLOCK],
    /// 1 + stop loss; +∞ without.
    stop_short: [f64; BLOCK],
    /// 1 + take profit; +∞ without.
    target_long: [f64; BLOCK],
    /// 1 − take profit; −∞ without.
    target_short: [f64; BLOCK],
    /// 1 where the stop loss trails, else 0.
    trails: [f64; BLOCK],
}

impl LaneTerms {
    /// The terms of the sets of a block; lanes beyond them get those of the last.
    pub fn new(sets: &[Terms]) -> Self {
        let each = |value: fn(&Terms) -> f64| std::array::from_fn(|lane| value(&sets[lane.min(sets.len() - 1)]));
        Self {
            buy: each(|set| 1.0 + set.slippage),
            sell: each(|set| 1.0 - set.slippage),
            fees: each(|set| set.fees),
            with_fees: each(|set| 1.0 + set.fees),
            without_fees: each(|set| 1.0 - set.fees),
            fixed: each(|set| set.fixed_fees),
            stop_long: each(|set| 1.0 - set.stop_loss.unwrap_or(f64::INFINITY)),
            stop_short: each(|set| 1.0 + set.stop_loss.unwrap_or(f64::INFINITY)),
            target_long: each(|set| 1.0 + set.take_profit.unwrap_or(f64::INFINITY)),
            target_short: each(|set| 1.0 - set.take_profit.unwrap_or(f64::INFINITY)),
            trails: each(|set| f64::from(u8::from(set.trailing))),
        }
    }
}

/// What orders of one bar are filled at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fill<V> {
    /// The bar's price for orders, before slippage.
    pub price: V,
    /// The bar's close, which stops are measured from.
    pub close: V,
    /// Smallest order.
    pub min_size: V,
    /// Lanes whose position a stop closes at this bar.
    pub stopped: u8,
    /// What it closes at, without slippage.
    pub stop_price: V,
}

/// One account per lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account<V> {
    /// Cash, with what short sales brought.
    pub cash: V,
    /// Position; short below zero.
    pub position: V,
    /// Lanes with a long position.
    pub long: u8,
    /// Lanes with a short position.
    pub short: u8,
    /// Lanes whose set must be run by the engine for one set.
    odd: u8,
    /// What the open trade was entered for: size × price.
    entry_value: V,
    /// Fees of that entry.
    entry_fees: V,
    /// Price of the open trade's stop loss.
    stop: V,
    /// Price that stop follows from: the entry bar's close, or the extreme since where it trails.
    anchor: V,
    /// Price of the open trade's take profit.
    target: V,
    /// The stop is the anchor times this.
    stop_factor: V,
    /// 1 where the stop trails.
    trails: V,
    /// Closed trades.
    closed: V,
    /// Closed trades with a profit.
    wins: V,
    /// Closed trades with a loss.
    losses: V,
    /// Sum of profits of closed trades.
    won: V,
    /// Sum of losses of closed trades, negative.
    lost: V,
    /// Fees paid.
    paid: V,
}

impl<V: Vector> Account<V> {
    /// With all its money in cash.
    #[inline(always)]
    pub fn new(init_cash: f64) -> Self {
        let zero = V::splat(0.0);
        Self {
            cash: V::splat(init_cash),
            position: zero,
            long: 0,
            short: 0,
            odd: 0,
            entry_value: zero,
            entry_fees: zero,
            stop: zero,
            anchor: zero,
            target: zero,
            stop_factor: zero,
            trails: zero,
            closed: zero,
            wins: zero,
            losses: zero,
            won: zero,
            lost: zero,
            paid: zero,
        }
    }

    /// Finds the lanes whose stop loss or take profit the bar touches, the stop loss first, then lets trailing stops
    /// follow.
    #[inline(always)]
    pub fn watch_stops<const SHORTS: bool>(&mut self, market: &Market<'_>, bar: usize, fill: &mut Fill<V>) {
        if self.long | self.short == 0 {
            return;
        }
        let (open, high, low) = (V::splat(market.open[bar]), V::splat(market.high[bar]), V::splat(market.low[bar]));
        let mut stopped = low.le(self.stop) & self.long;
        let mut won = self.target.le(high) & self.long;
        let mut stop_price = open.min(self.stop);
        let mut target_price = open.max(self.target);
        if SHORTS {
            stopped |= self.stop.le(high) & self.short;
            won |= low.le(self.target) & self.short;
            stop_price = V::select(self.short, open.max(self.stop), stop_price);
            target_price = V::select(self.short, open.min(self.target), target_price);
        }
        fill.stopped = stopped | won;
        fill.stop_price = V::select(stopped, stop_price, target_price);
        let mut extreme = self.anchor.max(high);
        if SHORTS {
            extreme = V::select(self.short, self.anchor.min(low), extreme);
        }
        let trailing = V::splat(0.5).lt(self.trails);
        self.anchor = V::select(trailing, extreme, self.anchor);
        self.stop = V::select(trailing, extreme.mul(self.stop_factor), self.stop);
    }

    /// Carries out the orders of one bar: lanes that buy all they can, that sell their long position, that sell short
    /// all they can, that buy their short position back.
    #[inline(always)]
    pub fn order<const SHORTS: bool, const STOPS: bool>(
        &mut self,
        fill: &Fill<V>,
        [long_entry, close_long, short_entry, cover]: [u8; 4],
        terms: &LaneTerms,
        lane: usize,
    ) {
        if close_long != 0 {
            self.close_long(fill, close_long, terms, lane);
        }
        if long_entry != 0 {
            self.enter_long::<SHORTS, STOPS>(fill, long_entry, terms, lane);
        }
        if SHORTS && cover != 0 {
            self.cover(fill, cover, terms, lane);
        }
        if SHORTS && short_entry != 0 {
            self.enter_short::<STOPS>(fill, short_entry, terms, lane);
        }
    }

    /// Buys for all cash; what is short is bought back by the same order.
    #[inline(always)]
    fn enter_long<const SHORTS: bool, const STOPS: bool>(
        &mut self,
        fill: &Fill<V>,
        lanes: u8,
        terms: &LaneTerms,
        lane: usize,
    ) {
        let zero = V::splat(0.0);
        let price = fill.price.mul(V::load(&terms.buy[lane..]));
        let spent = self.cash.sub(V::load(&terms.fixed[lane..])).div(V::load(&terms.with_fees[lane..]));
        let size = spent.div(price);
        let fees = self.cash.sub(spent);
        let lanes = lanes & zero.lt(spent) & fill.min_size.le(size);
        let mut position = size;
        let mut entry_fees = fees;
        if SHORTS && lanes & self.short != 0 {
            let turned = lanes & self.short;
            position = V::select(turned, self.position.add(size), size);
            self.odd |= turned & !fill.min_size.le(position);
            let covered = zero.sub(self.position);
            let share = fees.mul(covered.div(size));
            let gain = self.entered(covered).sub(price.mul(covered));
            self.book(turned, gain.sub(self.entry_fees).sub(share));
            entry_fees = V::select(turned, fees.sub(share), fees);
            self.short &= !turned;
        }
        self.cash = V::select(lanes, zero, self.cash);
        self.position = V::select(lanes, position, self.position);
        self.open(lanes, position.mul(price), entry_fees, fees);
        self.long |= lanes;
        if STOPS {
            let stops = [&terms.stop_long[lane..], &terms.target_long[lane..], &terms.trails[lane..]];
            self.set_stops(lanes, fill.close, stops);
        }
    }

    /// Sells the long position.
    #[inline(always)]
    fn close_long(&mut self, fill: &Fill<V>, lanes: u8, terms: &LaneTerms, lane: usize) {
        let price = V::select(fill.stopped, fill.stop_price, fill.price.mul(V::load(&terms.sell[lane..])));
        let gross = self.position.mul(price);
        let fees = gross.mul(V::load(&terms.fees[lane..])).add(V::load(&terms.fixed[lane..]));
        let net = gross.sub(fees);
        self.odd |= lanes & net.lt(V::splat(0.0));
        let gain = price.mul(self.position).sub(self.entered(self.position));
        self.book(lanes, gain.sub(self.entry_fees).sub(fees));
        self.cash = V::select(lanes, self.cash.add(net), self.cash);
        self.position = V::select(lanes, V::splat(0.0), self.position);
        self.paid = V::select(lanes, self.paid.add(fees), self.paid);
        self.long &= !lanes;
    }

    /// Buys the short position back.
    #[inline(always)]
    fn cover(&mut self, fill: &Fill<V>, lanes: u8, terms: &LaneTerms, lane: usize) {
        let price = V::select(fill.stopped, fill.stop_price, fill.price.mul(V::load(&terms.buy[lane..])));
        let size = V::splat(0.0).sub(self.position);
        let gross = size.mul(price);
        let fees = gross.mul(V::load(&terms.fees[lane..])).add(V::load(&terms.fixed[lane..]));
        let need = gross.add(fees);
        self.odd |= lanes & self.cash.lt(need);
        let gain = self.entered(size).sub(price.mul(size));
        self.book(lanes, gain.sub(self.entry_fees).sub(fees));
        self.cash = V::select(lanes, self.cash.sub(need), self.cash);
        self.position = V::select(lanes, V::splat(0.0), self.position);
        self.paid = V::select(lanes, self.paid.add(fees), self.paid);
        self.short &= !lanes;
    }

    /// Sells short as much as cash covers; what is long is sold by the same order.
    #[inline(always)]
    fn enter_short<const STOPS: bool>(&mut self, fill: &Fill<V>, lanes: u8, terms: &LaneTerms, lane: usize) {
        let zero = V::splat(0.0);
        let (fees, fixed) = (V::load(&terms.fees[lane..]), V::load(&terms.fixed[lane..]));
        let price = fill.price.mul(V::load(&terms.sell[lane..]));
        let held = self.position.mul(price).mul(V::load(&terms.without_fees[lane..]));
        let free = self.cash.add(held).sub(fixed);
        let opened = free.div(price.mul(V::load(&terms.with_fees[lane..])));
        let size = opened.add(self.position);
        let gross = size.mul(price);
        let fees = gross.mul(fees).add(fixed);
        self.odd |= lanes & !(fill.min_size.le(opened) & zero.lt(opened));
        let turned = lanes & self.long;
        let share = fees.mul(self.position.div(size));
        let gain = price.mul(self.position).sub(self.entered(self.position));
        self.book(turned, gain.sub(self.entry_fees).sub(share));
        let position = self.position.sub(size);
        self.cash = V::select(lanes, self.cash.add(gross.sub(fees)), self.cash);
        self.position = V::select(lanes, position, self.position);
        let value = zero.sub(position).mul(price);
        self.open(lanes, value, V::select(turned, fees.sub(share), fees), fees);
        self.long &= !lanes;
        self.short |= lanes;
        if STOPS {
            let stops = [&terms.stop_short[lane..], &terms.target_short[lane..], &terms.trails[lane..]];
            self.set_stops(lanes, fill.close, stops);
        }
    }

    /// What `size` cost when the open trade was entered: as the engine for one set has it, whose entry price is the mean
    /// of all entries, value ÷ size.
    #[inline(always)]
    fn entered(&self, size: V) -> V {
        self.entry_value.div(size).mul(size)
    }

    /// Begins a trade in `lanes`.
    #[inline(always)]
    fn open(&mut self, lanes: u8, value: V, entry_fees: V, fees: V) {
        self.entry_value = V::select(lanes, value, self.entry_value);
        self.entry_fees = V::select(lanes, entry_fees, self.entry_fees);
        self.paid = V::select(lanes, self.paid.add(fees), self.paid);
    }

    /// Ends a trade in `lanes`.
    #[inline(always)]
    fn book(&mut self, lanes: u8, profit: V) {
        let (zero, one) = (V::splat(0.0), V::splat(1.0));
        let wins = lanes & zero.lt(profit);
        let losses = lanes & profit.lt(zero);
        self.closed = V::select(lanes, self.closed.add(one), self.closed);
        self.wins = V::select(wins, self.wins.add(one), self.wins);
        self.won = V::select(wins, self.won.add(profit), self.won);
        self.losses = V::select(losses, self.losses.add(one), self.losses);
        self.lost = V::select(losses, self.lost.add(profit), self.lost);
    }

    /// Sets the stops of trades begun at a bar that closes at `close`.
    #[inline(always)]
    fn set_stops(&mut self, lanes: u8, close: V, [stop, target, trails]: [&[f64]; 3]) {
        let factor = V::load(stop);
        self.stop_factor = V::select(lanes, factor, self.stop_factor);
        self.anchor = V::select(lanes, close, self.anchor);
        self.stop = V::select(lanes, close.mul(factor), self.stop);
        self.target = V::select(lanes, close.mul(V::load(target)), self.target);
        self.trails = V::select(lanes, V::load(trails), self.trails);
    }

    /// Writes what the trades came to.
    #[inline(always)]
    pub fn write(&self, out: &mut [Totals], spare: &mut [f64; 8]) {
        let mut put = |vector: V, place: fn(&mut Totals) -> &mut f64| {
            vector.store(spare);
            out.iter_mut().zip(spare.iter()).for_each(|(set, value)| *place(set) = *value);
        };
        put(self.closed, |set| &mut set.closed);
        put(self.wins, |set| &mut set.wins);
        put(self.losses, |set| &mut set.losing);
        put(self.won, |set| &mut set.won);
        put(self.lost, |set| &mut set.lost);
        put(self.paid, |set| &mut set.fees);
        for (lane, set) in out.iter_mut().enumerate() {
            set.open = (self.long | self.short) >> lane & 1 == 1;
            set.odd = self.odd >> lane & 1 == 1;
        }
    }
}
