//! Borrowing beyond the cash, and liquidation where the equity no longer covers it.
//!
//! The equity is cash and position at the current price. An order may take the position up to `leverage` times the equity
//! that is left after its fees. When a bar's prices take the equity below `maintenance` of the position's worth, the
//! position is closed at that very price, or at the open if the bar began beyond it; a gap may leave a debt, with which
//! nothing more can be bought.

use super::error::BacktestError;
use super::execution::{Allowed, Cash, Filled, Holding, OrderRequest, Terms};
use super::request::{Margin, SizeType};
use super::result::Side;
use super::stops::BarRange;
use super::tolerance::{add, less};

impl Margin {
    /// Checks the ranges.
    pub(crate) fn check(self) -> Result<Self, BacktestError> {
        if !(self.leverage >= 1.0 && self.leverage <= 1000.0) {
            return Err(BacktestError::parameter("margin.leverage", self.leverage, "from 1 to 1000"));
        }
        if !(self.maintenance >= 0.0 && self.maintenance * self.leverage < 1.0) {
            let allowed = "not negative and below 1 / leverage, or every position would be liquidated at once";
            return Err(BacktestError::parameter("margin.maintenance", self.maintenance, allowed));
        }
        Ok(self)
    }

    /// Price at which a bar liquidates the position, and whether the bar reaches it.
    pub(crate) fn liquidation(self, cash: f64, position: f64, bar: BarRange) -> Option<f64> {
        if position > 0.0 {
            let level = -cash / (position * (1.0 - self.maintenance));
            if level > 0.0 { bar.falls_to(level) } else { None }
        } else {
            let level = cash / (-position * (1.0 + self.maintenance));
            bar.rises_to(level)
        }
    }

    /// Fills an order within the leverage; `None` when nothing can be filled.
    pub(crate) fn execute(
        self,
        terms: &Terms,
        cash: &mut Cash,
        holding: &mut Holding,
        order: &OrderRequest,
    ) -> Option<Filled> {
        if order.size.is_nan() || order.price.is_nan() {
            return None;
        }
        let sign = 1.0_f64.copysign(order.size);
        let price = order.price * (1.0 + sign * order.slippage);
        let position = holding.position;
        let equity = cash.total + position * price;
        // What lies against the position is closed first, whatever the equity.
        let closes = if position * sign < 0.0 { position.abs() } else { 0.0 };
        let held = if closes > 0.0 { 0.0 } else { position.abs() };
        let closing_fees = closes * price * terms.fees;
        let power = self.leverage * (equity - terms.fixed_fees - closing_fees) - held * price;
        let opens = match order.allowed {
            Allowed::LongOnly if sign < 0.0 => 0.0,
            Allowed::ShortOnly if sign > 0.0 => 0.0,
            Allowed::LongOnly | Allowed::ShortOnly | Allowed::Both => {
                (power / (price * (1.0 + self.leverage * terms.fees))).max(0.0)
            }
        };
        let most = closes + opens;
        let wanted = match order.size_type {
            SizeType::Amount => order.size.abs(),
            SizeType::Value => order.size.abs() / order.value_price,
            SizeType::Percent => closes + opens * order.size.abs(),
            SizeType::TargetAmount | SizeType::TargetValue | SizeType::TargetPercent => return None,
        };
        let size = fit(terms, wanted, most)?;
        let fees = size * price * terms.fees + terms.fixed_fees;
        cash.total = add(cash.total, -sign * size * price) - fees;
        holding.position = add(position, sign * size);
        cash.free = cash.total + (holding.position - holding.position.abs()) * price;
        Some(Filled { size, price, fees, side: if sign > 0.0 { Side::Buy } else { Side::Sell } })
    }
}

fn fit(terms: &Terms, wanted: f64, most: f64) -> Option<f64> {
    let size = terms.round_down(wanted.min(most).min(terms.max_size));
    let too_small = size <= 0.0 || less(size, terms.min_size);
    let partial = wanted.is_finite() && less(size, wanted) && !terms.allow_partial;
    (!too_small && !partial).then_some(size)
}
