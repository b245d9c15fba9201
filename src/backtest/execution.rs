//! One order against one account: what is filled, at which price, for which fees.

use super::error::BacktestError;
use super::request::{BacktestRequest, Compat, SizeType};
use super::result::Side;
use super::tolerance::{add, at_most, less};

/// What every order of a simulation has in common; checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// Fraction of an order's value.
    pub fees: f64,
    /// Cash per order.
    pub fixed_fees: f64,
    /// Fraction by which the price is worse.
    pub slippage: f64,
    /// Smallest order.
    pub min_size: f64,
    /// Largest order; infinite when unbounded.
    pub max_size: f64,
    /// Orders are multiples of it; 0 when any size goes.
    pub granularity: f64,
    /// Whether a multiple that rounding has put below itself is none, as vectorbt has it.
    pub exact_multiples: bool,
    /// Whether cash tied to short positions is out of reach.
    pub lock_cash: bool,
    /// Whether an order may be filled in part.
    pub allow_partial: bool,
}

impl Terms {
    /// The terms of a request.
    ///
    /// # Errors
    /// When a field is out of range.
    pub fn new(request: &BacktestRequest) -> Result<Self, BacktestError> {
        let terms = Self {
            fees: request.fees,
            fixed_fees: request.fixed_fees,
            slippage: request.slippage,
            min_size: request.min_size,
            max_size: request.max_size.unwrap_or(f64::INFINITY),
            granularity: request.size_granularity.unwrap_or(0.0),
            exact_multiples: request.compat == Compat::VectorBt,
            lock_cash: request.lock_cash,
            allow_partial: request.allow_partial,
        };
        let share = |field, value: f64| {
            if (0.0..=1.0).contains(&value) {
                Ok(())
            } else {
                Err(BacktestError::parameter(field, value, "a fraction from 0 to 1"))
            }
        };
        share("fees", terms.fees)?;
        share("slippage", terms.slippage)?;
        if !(terms.fixed_fees >= 0.0 && terms.fixed_fees.is_finite()) {
            return Err(BacktestError::parameter("fixed_fees", terms.fixed_fees, "finite and not negative"));
        }
        if !(terms.min_size >= 0.0 && terms.min_size.is_finite()) {
            return Err(BacktestError::parameter("min_size", terms.min_size, "finite and not negative"));
        }
        if terms.max_size.is_nan() || terms.max_size <= 0.0 {
            return Err(BacktestError::parameter("max_size", terms.max_size, "above 0"));
        }
        if !(terms.granularity >= 0.0 && terms.granularity.is_finite()) {
            return Err(BacktestError::parameter("size_granularity", terms.granularity, "finite and not negative"));
        }
        Ok(terms)
    }

    /// The largest multiple of the granularity that is not above `size`.
    pub(crate) fn round_down(&self, size: f64) -> f64 {
        let step = self.granularity;
        if step <= 0.0 || size.is_infinite() {
            return size;
        }
        if self.exact_multiples {
            return ((size - size % step) / step).round() * step;
        }
        let steps = size / step;
        let nearest = steps.round();
        if (steps - nearest).abs() <= 1e-9 * nearest.max(1.0) { nearest * step } else { steps.floor() * step }
    }
}

/// Cash of an account, or of a group of columns that share it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cash {
    /// All of it, proceeds of short sales included.
    pub total: f64,
    /// What is not tied to short positions: their proceeds and the same amount again are.
    pub free: f64,
}

impl Cash {
    /// An account that begins.
    pub fn new(amount: f64) -> Self {
        Self { total: amount, free: amount }
    }
}

/// What is held of one asset.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Holding {
    /// Units; negative when short.
    pub position: f64,
    /// What the short position was sold for.
    pub debt: f64,
}

/// Which positions an order may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Long ones: a sell stops at nothing held.
    LongOnly,
    /// Short ones: a buy stops at nothing owed.
    ShortOnly,
    /// Both.
    Both,
}

/// One order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OrderRequest {
    /// Signed size; infinite for everything.
    pub size: f64,
    /// What the size counts.
    pub size_type: SizeType,
    /// Price before slippage.
    pub price: f64,
    /// Which positions it may lead to.
    pub allowed: Allowed,
    /// The portfolio's worth before it, for target percentages.
    pub value: f64,
    /// Price at which holdings are valued, for values and targets.
    pub value_price: f64,
    /// Slippage instead of the terms'.
    pub slippage: f64,
}

/// A filled order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Filled {
    /// Units, above 0.
    pub size: f64,
    /// Price after slippage.
    pub price: f64,
    /// Fees paid.
    pub fees: f64,
    /// Which way.
    pub side: Side,
}

/// Fills an order as far as it goes; `None` when it is ignored (no size or price) or rejected.
pub(crate) fn execute(terms: &Terms, cash: &mut Cash, holding: &mut Holding, order: &OrderRequest) -> Option<Filled> {
    if order.size.is_nan() || order.price.is_nan() {
        return None;
    }
    let (size, percent) = units(order, *holding)?;
    if size == 0.0 {
        return None;
    }
    if size > 0.0 {
        buy(terms, cash, holding, order, (size, percent))
    } else {
        sell(terms, cash, holding, order, (-size, percent))
    }
}

/// Signed units of the order and, when it is a share of everything, that share.
fn units(order: &OrderRequest, holding: Holding) -> Option<(f64, f64)> {
    let size = order.size;
    let by_value = |value: f64| if order.value_price.is_nan() { None } else { Some(value / order.value_price) };
    match order.size_type {
        SizeType::Amount => Some((size, f64::NAN)),
        SizeType::Value => Some((by_value(size)?, f64::NAN)),
        SizeType::Percent => Some((f64::INFINITY.copysign(size), size.abs())),
        SizeType::TargetAmount => Some((add(size, -holding.position), f64::NAN)),
        SizeType::TargetValue => Some((add(by_value(size)?, -holding.position), f64::NAN)),
        SizeType::TargetPercent => {
            if order.value.is_nan() || order.value <= 0.0 {
                return None;
            }
            Some((add(by_value(size * order.value)?, -holding.position), f64::NAN))
        }
    }
}

/// The size after maximum, granularity and minimum; `None` when too small or not allowed to shrink.
fn fit(terms: &Terms, wanted: f64, possible: f64) -> Option<f64> {
    let mut size = possible;
    if size > terms.max_size {
        if !terms.allow_partial {
            return None;
        }
        size = terms.max_size;
    }
    size = terms.round_down(size);
    if size <= 0.0 || less(size, terms.min_size) {
        return None;
    }
    if wanted.is_finite() && less(size, wanted) && !terms.allow_partial {
        return None;
    }
    Some(size)
}

fn buy(
    terms: &Terms,
    cash: &mut Cash,
    holding: &mut Holding,
    order: &OrderRequest,
    (wanted, percent): (f64, f64),
) -> Option<Filled> {
    // Covering a short position sets free what is tied to it.
    let mut limit = if terms.lock_cash { cash.total.min(cash.free + 2.0 * holding.debt) } else { cash.total };
    if !percent.is_nan() {
        limit = limit.min(percent * limit);
    }
    let needed = if order.allowed == Allowed::ShortOnly { wanted.min(-holding.position) } else { wanted };
    let too_large = !terms.allow_partial && needed > terms.max_size;
    if limit <= 0.0 || needed <= 0.0 || too_large {
        return None;
    }
    let price = order.price * (1.0 + order.slippage);
    let capped = if terms.allow_partial { needed.min(terms.max_size) } else { needed };
    let spend = |size: f64| {
        let fees = size * price * terms.fees + terms.fixed_fees;
        (size * price + fees, fees)
    };
    let affordable = capped.is_finite() && at_most(spend(capped).0, limit);
    let possible = if affordable { capped } else { (limit - terms.fixed_fees) / (1.0 + terms.fees) / price };
    if possible <= 0.0 {
        return None;
    }
    let size = fit(terms, wanted, possible)?;
    let (spent, fees) = if affordable || less(size, possible) {
        spend(size)
    } else {
        (limit, limit - (limit - terms.fixed_fees) / (1.0 + terms.fees))
    };
    if holding.position < 0.0 {
        let covered = size.min(-holding.position);
        let repaid = covered * (holding.debt / -holding.position);
        holding.debt = add(holding.debt, -repaid);
        cash.free = add(cash.free + 2.0 * repaid, -spent);
    } else {
        cash.free = add(cash.free, -spent);
    }
    cash.total = add(cash.total, -spent);
    holding.position = add(holding.position, size);
    Some(Filled { size, price, fees, side: Side::Buy })
}

fn sell(
    terms: &Terms,
    cash: &mut Cash,
    holding: &mut Holding,
    order: &OrderRequest,
    (wanted, percent): (f64, f64),
) -> Option<Filled> {
    let price = order.price * (1.0 - order.slippage);
    let possible = sellable(terms, *cash, *holding, (order.allowed, wanted, percent, price))?;
    let size = fit(terms, wanted, possible.min(wanted))?;
    let fees = size * price * terms.fees + terms.fixed_fees;
    let proceeds = add(size * price, -fees);
    if proceeds < 0.0 {
        return None;
    }
    let after = add(holding.position, -size);
    if after < 0.0 {
        let short = if holding.position < 0.0 { size } else { -after };
        let value = short * price;
        holding.debt += value;
        cash.free = add(cash.free, proceeds - 2.0 * value);
    } else {
        cash.free += proceeds;
    }
    cash.total += proceeds;
    holding.position = after;
    Some(Filled { size, price, fees, side: Side::Sell })
}

/// How much may be sold at `price`.
fn sellable(
    terms: &Terms,
    cash: Cash,
    holding: Holding,
    (allowed, wanted, percent, price): (Allowed, f64, f64, f64),
) -> Option<f64> {
    let share = if percent.is_nan() { 1.0 } else { percent };
    if allowed == Allowed::LongOnly {
        let held = holding.position.max(0.0);
        return Some(held.min(held * share));
    }
    if wanted.is_finite() && !terms.lock_cash {
        return Some(wanted);
    }
    let held = holding.position.max(0.0);
    let free = cash.free + held * price * (1.0 - terms.fees);
    if free <= 0.0 {
        return (held > 0.0).then_some(held);
    }
    let limit = held + (free - terms.fixed_fees) / (price * (1.0 + terms.fees));
    Some(limit * share)
}
