//! One asset's bars, signals and position, stepped bar by bar.

use super::decision::{BarSignals, Decision, Rules};
use super::error::BacktestError;
use super::execution::{Cash, Filled, Holding, OrderRequest, Terms, execute};
use super::limits::Pending;
use super::prices::Prices;
use super::request::{BacktestRequest, Direction, Fill, Limit, Margin, SizeType, StopEntryPrice};
use super::result::{Order, Trade};
use super::signals::{Signals, first_set};
use super::stops::{BarRange, StopRules, StopState};
use super::trades::TradeBook;

/// What every column of a simulation has in common; checked.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) terms: Terms,
    pub(crate) rules: Rules,
    pub(crate) stops: StopRules,
    pub(crate) direction: Direction,
    pub(crate) fill: Fill,
    pub(crate) margin: Option<Margin>,
    pub(crate) limit: Option<Limit>,
}

impl Plan {
    /// The plan of a request.
    pub(crate) fn new(request: &BacktestRequest) -> Result<Self, BacktestError> {
        if request.margin.is_some() && request.lock_cash {
            return Err(BacktestError::combination("lock_cash", "contradicts margin, which lends what is locked"));
        }
        Ok(Self {
            terms: Terms::new(request)?,
            rules: Rules::new(request)?,
            stops: StopRules::new(request)?,
            direction: request.direction,
            fill: request.fill,
            margin: request.margin.map(Margin::check).transpose()?,
            limit: request.limit.map(Limit::check).transpose()?,
        })
    }
}

/// What a column has come to so far.
pub(crate) struct Column<'a> {
    plan: &'a Plan,
    prices: &'a Prices,
    /// None where orders are placed from outside.
    signals: Option<&'a Signals>,
    /// Prices at which signals are filled.
    fills: &'a [f64],
    pub(crate) holding: Holding,
    stops: Option<StopState>,
    pending: Option<Pending>,
    /// The last known close, which gaps are valued at.
    pub(crate) last_close: f64,
    book: TradeBook,
    orders: Vec<Order>,
    fees: f64,
    liquidations: u64,
}

/// What is left of a column, or of several, after the last bar.
#[derive(Default)]
pub(crate) struct Finished {
    pub(crate) orders: Vec<Order>,
    pub(crate) trades: Vec<Trade>,
    pub(crate) fees: f64,
    pub(crate) liquidations: u64,
}

impl Finished {
    /// Adds another column's.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.orders.extend_from_slice(&other.orders);
        self.trades.extend_from_slice(&other.trades);
        self.fees += other.fees;
        self.liquidations += other.liquidations;
    }
}

impl<'a> Column<'a> {
    /// A column before its first bar, traded by signals: one a bar, already delayed if they are filled at the next open.
    pub(crate) fn new(plan: &'a Plan, prices: &'a Prices, signals: &'a Signals) -> Result<Self, BacktestError> {
        signals.check(prices.len())?;
        let fills = match plan.fill {
            Fill::Close => prices.close(),
            Fill::NextOpen => {
                prices.open().ok_or_else(|| BacktestError::combination("fill", "next_open needs prices.open"))?
            }
        };
        Ok(Self { signals: Some(signals), ..Self::without_signals(plan, prices, fills) })
    }

    /// A column before its first bar, traded by orders at `fills`.
    pub(crate) fn without_signals(plan: &'a Plan, prices: &'a Prices, fills: &'a [f64]) -> Self {
        Self {
            plan,
            prices,
            signals: None,
            fills,
            holding: Holding::default(),
            stops: None,
            pending: None,
            last_close: f64::NAN,
            book: TradeBook::default(),
            orders: Vec::new(),
            fees: 0.0,
            liquidations: 0,
        }
    }

    /// Price at which the position is valued before the orders of a bar.
    pub(crate) fn value_price(&self, row: usize) -> f64 {
        if self.fills[row].is_nan() { self.last_close } else { self.fills[row] }
    }

    /// Worth of the position at the last known close.
    pub(crate) fn worth(&self) -> f64 {
        if self.holding.position == 0.0 { 0.0 } else { self.holding.position * self.last_close }
    }

    /// What the orders of a bar are worth, as far as it can be said before them: below 0 when they bring cash.
    ///
    /// # Errors
    /// As [`Column::step`].
    pub(crate) fn expected_worth(&self, row: usize, cash: Cash) -> Result<f64, BacktestError> {
        let close = self.prices.close()[row];
        if close.is_nan() {
            return Ok(0.0);
        }
        let position = self.holding.position;
        let mut stops = self.stops;
        let met = match stops.as_mut() {
            Some(state) if position != 0.0 => self.plan.stops.check(state, position, self.range(row)),
            Some(_) | None => None,
        };
        let price = self.fills[row];
        let decision = if met.is_some() {
            self.plan.rules.decide_stop(position, price)?
        } else {
            let signals = self.signals_of(row);
            if signals.any() { self.plan.rules.decide(position, signals, price)? } else { None }
        };
        let Some(decision) = decision else { return Ok(0.0) };
        let price = met.unwrap_or(price);
        let most = if decision.size > 0.0 { cash.total } else { cash.free + 2.0 * position.max(0.0) * price };
        let worth = match decision.size_type {
            SizeType::Value => decision.size,
            SizeType::Percent => decision.size * most,
            SizeType::Amount | SizeType::TargetAmount | SizeType::TargetValue | SizeType::TargetPercent => {
                decision.size * price
            }
        };
        Ok(if worth.is_finite() { worth } else { most.copysign(worth) })
    }

    fn signals_of(&self, row: usize) -> BarSignals {
        let Some(signals) = self.signals else { return BarSignals::default() };
        let (entry, exit) = (signals.entries[row], signals.exits[row]);
        if !signals.has_short_side() {
            return BarSignals::directed(entry, exit, self.plan.direction);
        }
        let short = |column: &Option<Vec<bool>>| column.as_ref().is_some_and(|column| column[row]);
        BarSignals {
            long_entry: entry,
            long_exit: exit,
            short_entry: short(&signals.short_entries),
            short_exit: short(&signals.short_exits),
        }
    }

    /// The first bar from `row` on at which something may happen: before it no signal, stop or order changes anything.
    pub(crate) fn next_busy(&self, row: usize) -> usize {
        let position = self.holding.position;
        let watched = self.plan.stops.active() || self.plan.margin.is_some();
        let Some(signals) = self.signals.filter(|_| self.pending.is_none() && (position == 0.0 || !watched)) else {
            return row;
        };
        let [entries, exits] = [&signals.entries[..], &signals.exits[..]];
        let short = |column: &'a Option<Vec<bool>>| column.as_deref().unwrap_or_default();
        let [short_entries, short_exits] = [short(&signals.short_entries), short(&signals.short_exits)];
        let adds = position != 0.0 && self.plan.rules.adds();
        let columns = match (signals.has_short_side(), self.plan.direction) {
            // An entry adds to what is held only if it may; an exit from what is not held does nothing.
            (true, _) if adds => [entries, exits, short_entries, short_exits],
            (true, _) if position > 0.0 => [exits, short_entries, &[], &[]],
            (true, _) if position < 0.0 => [entries, short_exits, &[], &[]],
            (true, _) => [entries, short_entries, &[], &[]],
            (false, Direction::Both) if position > 0.0 && !adds => [exits, &[], &[], &[]],
            (false, Direction::Both) if position < 0.0 && !adds => [entries, &[], &[], &[]],
            (false, Direction::Long | Direction::Short) if position == 0.0 => [entries, &[], &[], &[]],
            (false, Direction::Long | Direction::Short) if !adds => [exits, &[], &[], &[]],
            (false, _) => [entries, exits, &[], &[]],
        };
        first_set(&columns, row).unwrap_or(self.prices.len())
    }

    /// Passes bars at which nothing happens, the last of them with this close or the one known before it.
    pub(crate) fn pass(&mut self, close: f64) {
        self.last_close = close;
    }

    /// Takes note of a bar's close; whether it has one. A bar without a price cannot trade.
    pub(crate) fn begin(&mut self, row: usize) -> bool {
        let close = self.prices.close()[row];
        if close.is_nan() {
            return false;
        }
        self.last_close = close;
        true
    }

    /// One bar: liquidation and stops, waiting limit orders, then the bar's own signals.
    pub(crate) fn step(&mut self, row: usize, cash: &mut Cash) -> Result<(), BacktestError> {
        if !self.begin(row) {
            return Ok(());
        }
        if self.holding.position != 0.0 && (self.plan.stops.active() || self.plan.margin.is_some()) {
            let bar = self.range(row);
            if self.forced_exit(row, cash, bar)? {
                return Ok(());
            }
        }
        if self.pending.is_some() {
            self.try_pending(row, cash);
        }
        let signals = self.signals_of(row);
        if !signals.any() {
            return Ok(());
        }
        let price = self.fills[row];
        let Some(decision) = self.plan.rules.decide(self.holding.position, signals, price)? else { return Ok(()) };
        let position = self.holding.position;
        let entering = position == 0.0 || (position > 0.0) == (decision.size > 0.0);
        match self.plan.limit {
            Some(limit) if entering => self.pending = Some(Pending::new(limit, decision, price, row)),
            Some(_) | None => {
                self.pending = None;
                self.trade(row, cash, decision, (price, self.plan.terms.slippage));
            }
        }
        Ok(())
    }

    fn range(&self, row: usize) -> BarRange {
        let at = |column: Option<&[f64]>| column.map_or(f64::NAN, |column| column[row]);
        let prices = self.prices;
        BarRange::new(at(prices.open()), at(prices.high()), at(prices.low()), prices.close()[row])
    }

    /// Liquidation or a stop; whether there was one.
    fn forced_exit(&mut self, row: usize, cash: &mut Cash, bar: BarRange) -> Result<bool, BacktestError> {
        let position = self.holding.position;
        let liquidation = self.plan.margin.and_then(|margin| margin.liquidation(cash.total, position, bar));
        let stop = self.stops.as_mut().and_then(|state| self.plan.stops.check(state, position, bar));
        // Whichever price the market comes to first: the higher one on the way down, the lower one on the way up.
        let first = |liquidation: f64, stop: f64| (liquidation - stop) * position >= 0.0;
        match (liquidation, stop) {
            (Some(price), stop) if stop.is_none_or(|stop| first(price, stop)) => {
                self.pending = None;
                self.liquidations += 1;
                let decision = Decision::close(position);
                self.trade(row, cash, decision, (price, 0.0));
                Ok(true)
            }
            (_, Some(met)) => {
                self.pending = None;
                let (price, slippage) = self.plan.stops.exit(met, self.last_close, self.plan.terms.slippage);
                if let Some(decision) = self.plan.rules.decide_stop(position, self.value_price(row))? {
                    self.trade(row, cash, decision, (price, slippage));
                }
                Ok(true)
            }
            (_, None) => Ok(false),
        }
    }

    fn try_pending(&mut self, row: usize, cash: &mut Cash) {
        let bar = self.range(row);
        let Some(pending) = self.pending else { return };
        if let Some(price) = pending.met(bar) {
            self.pending = None;
            self.trade(row, cash, pending.decision, (price, 0.0));
        } else if row >= pending.last_row {
            self.pending = None;
        }
    }

    fn trade(&mut self, row: usize, cash: &mut Cash, decision: Decision, (price, slippage): (f64, f64)) {
        let order = OrderRequest {
            size: decision.size,
            size_type: decision.size_type,
            price,
            allowed: decision.allowed,
            value: f64::NAN,
            value_price: self.value_price(row),
            slippage,
        };
        self.place(row, cash, &order);
    }

    /// Fills an order as far as it goes and books it.
    pub(crate) fn place(&mut self, row: usize, cash: &mut Cash, order: &OrderRequest) {
        let before = self.holding.position;
        let terms = &self.plan.terms;
        let filled = match self.plan.margin {
            Some(margin) => margin.execute(terms, cash, &mut self.holding, order),
            None => execute(terms, cash, &mut self.holding, order),
        };
        let Some(filled) = filled else { return };
        let after = self.holding.position;
        self.fees += filled.fees;
        let Filled { size, price, fees, side } = filled;
        self.orders.push(Order { row, size, price, fees, side });
        self.book.fill(row, filled, before, after);
        if after == 0.0 {
            self.stops = None;
        } else if self.plan.stops.active() && (before * after <= 0.0 || after.abs() > before.abs()) {
            let reference = match self.plan.stops.entry_price {
                StopEntryPrice::Close => self.last_close,
                StopEntryPrice::Price => order.price,
                StopEntryPrice::FillPrice => filled.price,
            };
            self.stops = Some(StopState::new(reference));
        }
    }

    /// Orders and trades, the open one marked at the last close.
    pub(crate) fn finish(self) -> Finished {
        let last = self.prices.len() - 1;
        Finished {
            orders: self.orders,
            trades: self.book.finish(last, self.last_close),
            fees: self.fees,
            liquidations: self.liquidations,
        }
    }
}
