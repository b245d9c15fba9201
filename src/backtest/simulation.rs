//! One asset through all its bars.

use super::column::{Column, Finished, Plan};
use super::error::BacktestError;
use super::execution::{Allowed, Cash, OrderRequest};
use super::orders::Orders;
use super::prices::Prices;
use super::request::{BacktestRequest, Direction, Fill, SizeType};
use super::signals::Signals;

/// Values of an account bar by bar, and what it did.
pub(crate) struct Simulation {
    /// Cash and position at each close.
    pub(crate) values: Vec<f64>,
    /// Largest share of positions in positions and free cash.
    pub(crate) max_gross_exposure: f64,
    pub(crate) finished: Finished,
}

/// Follows value and exposure.
pub(crate) struct Valuation {
    pub(crate) values: Vec<f64>,
    pub(crate) max_gross_exposure: f64,
}

impl Valuation {
    pub(crate) fn new(bars: usize) -> Self {
        Self { values: Vec::with_capacity(bars), max_gross_exposure: 0.0 }
    }

    /// A bar ends with `worth` in positions, `gross` without their signs.
    pub(crate) fn push(&mut self, cash: Cash, worth: f64, gross: f64) {
        self.values.push(cash.total + worth);
        // Most bars of most strategies hold nothing, and nothing needs no division.
        if gross > 0.0 {
            self.max_gross_exposure = self.max_gross_exposure.max(gross / (gross + cash.free));
        }
    }

    /// Bars end with these closes and nothing is done at them.
    fn hold(&mut self, cash: Cash, position: f64, closes: &[f64]) {
        if position == 0.0 {
            self.values.resize(self.values.len() + closes.len(), cash.total + 0.0);
        } else if cash.free < 0.0 {
            // Whose free cash is a debt is the more exposed the less there is.
            closes.iter().for_each(|close| self.push(cash, position * close, (position * close).abs()));
        } else {
            self.values.extend(closes.iter().map(|close| cash.total + position * close));
            let gross = largest_worth(position, closes);
            self.max_gross_exposure = self.max_gross_exposure.max(gross / (gross + cash.free));
        }
    }
}

/// The largest product of `position` and a price, without its sign.
fn largest_worth(position: f64, prices: &[f64]) -> f64 {
    let mut lanes = [0.0_f64; 4];
    let (chunks, rest) = prices.as_chunks::<4>();
    for chunk in chunks {
        for (lane, price) in lanes.iter_mut().zip(chunk) {
            let worth = (position * price).abs();
            *lane = if worth > *lane { worth } else { *lane };
        }
    }
    let rest = rest.iter().map(|price| (position * price).abs());
    lanes.into_iter().chain(rest).fold(0.0, f64::max)
}

/// Checks the cash.
pub(crate) fn initial_cash(request: &BacktestRequest) -> Result<Cash, BacktestError> {
    if !(request.init_cash > 0.0 && request.init_cash.is_finite()) {
        return Err(BacktestError::parameter("init_cash", request.init_cash, "finite and above 0"));
    }
    Ok(Cash::new(request.init_cash))
}

/// Trades signals.
pub(crate) fn from_signals(
    request: &BacktestRequest,
    prices: &Prices,
    signals: &Signals,
) -> Result<Simulation, BacktestError> {
    let plan = Plan::new(request)?;
    let mut cash = initial_cash(request)?;
    signals.check(prices.len())?;
    let delayed = (plan.fill == Fill::NextOpen).then(|| signals.delayed());
    let mut column = Column::new(&plan, prices, delayed.as_ref().unwrap_or(signals))?;
    let mut valuation = Valuation::new(prices.len());
    let closes = prices.filled();
    let mut row = 0;
    while row < closes.len() {
        let next = column.next_busy(row);
        if next > row {
            valuation.hold(cash, column.holding.position, &closes[row..next]);
            column.pass(closes[next - 1]);
            row = next;
            continue;
        }
        column.step(row, &mut cash)?;
        let worth = column.worth();
        valuation.push(cash, worth, worth.abs());
        row += 1;
    }
    Ok(Simulation {
        values: valuation.values,
        max_gross_exposure: valuation.max_gross_exposure,
        finished: column.finish(),
    })
}

/// Places orders.
pub(crate) fn from_orders(
    request: &BacktestRequest,
    prices: &Prices,
    orders: &Orders,
) -> Result<Simulation, BacktestError> {
    orders.check(prices.len())?;
    check_orders(request)?;
    // Sizes come from the orders; the request's own would only have to be one that signals may have.
    let plan = Plan::new(&BacktestRequest { size: None, size_type: SizeType::Amount, ..request.clone() })?;
    let mut cash = initial_cash(request)?;
    let fills = orders.price.as_deref().unwrap_or(prices.close());
    let mut column = Column::without_signals(&plan, prices, fills);
    let mut valuation = Valuation::new(prices.len());
    for (row, (size, price)) in orders.size.iter().zip(fills).enumerate() {
        if column.begin(row) {
            let value_price = column.value_price(row);
            let value = cash.total + column.holding.position * value_price;
            let order = order_of(request, &plan, (*size, *price), (value, value_price));
            column.place(row, &mut cash, &order);
        }
        let worth = column.worth();
        valuation.push(cash, worth, worth.abs());
    }
    Ok(Simulation {
        values: valuation.values,
        max_gross_exposure: valuation.max_gross_exposure,
        finished: column.finish(),
    })
}

/// What orders cannot be combined with.
fn check_orders(request: &BacktestRequest) -> Result<(), BacktestError> {
    let only_signals = [
        ("sl_stop", request.sl_stop.is_some()),
        ("tp_stop", request.tp_stop.is_some()),
        ("limit", request.limit.is_some()),
        ("margin", request.margin.is_some()),
        ("size", request.size.is_some()),
        ("fill", request.fill != Fill::Close),
    ];
    match only_signals.iter().find(|(_, set)| *set) {
        Some((field, _)) => Err(BacktestError::combination(field, "goes with signals, not with orders")),
        None => Ok(()),
    }
}

/// The order of a bar. In a short-only account sizes count what is sold.
pub(crate) fn order_of(
    request: &BacktestRequest,
    plan: &Plan,
    (size, price): (f64, f64),
    (value, value_price): (f64, f64),
) -> OrderRequest {
    let (size, allowed) = match request.direction {
        Direction::Long => (size, Allowed::LongOnly),
        Direction::Short => (-size, Allowed::ShortOnly),
        Direction::Both => (size, Allowed::Both),
    };
    OrderRequest {
        size,
        size_type: request.size_type,
        price,
        allowed,
        value,
        value_price,
        slippage: plan.terms.slippage,
    }
}
