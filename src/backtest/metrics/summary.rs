//! Statistics of trades, and what the account was put to.

use super::super::result::{Trade, TradeStatus};

/// Statistics of trades. Rates, means and the ratio count closed trades only.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TradeStatistics {
    /// All trades, the open one included.
    pub trades_count: f64,
    /// Closed trades.
    pub closed_trades_count: f64,
    /// Open trades.
    pub open_trades_count: f64,
    /// Gain of the open trades at the last close.
    pub open_trade_pnl: f64,
    /// Fraction of trades that gained.
    pub win_rate: f64,
    /// Largest return.
    pub best_trade: f64,
    /// Smallest return.
    pub worst_trade: f64,
    /// Mean return of those that gained.
    pub avg_winning_trade: f64,
    /// Mean return of those that lost.
    pub avg_losing_trade: f64,
    /// Mean bars of those that gained.
    pub avg_winning_trade_duration: f64,
    /// Mean bars of those that lost.
    pub avg_losing_trade_duration: f64,
    /// Gains over losses.
    pub profit_factor: f64,
    /// Expected gain of a trade in cash.
    pub expectancy: f64,
    /// System quality number: root of the count times mean gain over deviation of gains.
    pub sqn: f64,
}

/// Sums over one side of the closed trades.
#[derive(Default)]
struct Half {
    count: f64,
    pnl: f64,
    returns: f64,
    bars: f64,
}

impl Half {
    #[expect(clippy::cast_precision_loss, reason = "no series has 2^53 bars")]
    fn add(&mut self, trade: &Trade) {
        self.count += 1.0;
        self.pnl += trade.pnl;
        self.returns += trade.return_ratio;
        self.bars += (trade.exit_row - trade.entry_row) as f64;
    }
}

impl TradeStatistics {
    /// Statistics of `trades`.
    pub fn new(trades: &[Trade]) -> Self {
        let (mut winners, mut losers) = (Half::default(), Half::default());
        let (mut closed, mut open, mut open_pnl) = (0.0, 0.0, 0.0);
        let (mut best, mut worst) = (f64::NAN, f64::NAN);
        let (mut mean, mut square) = (0.0, 0.0);
        for trade in trades {
            if trade.status == TradeStatus::Open {
                open += 1.0;
                open_pnl += trade.pnl;
                continue;
            }
            closed += 1.0;
            best = trade.return_ratio.max(best);
            worst = trade.return_ratio.min(worst);
            // Welford's recurrence.
            let before = trade.pnl - mean;
            mean += before / closed;
            square += before * (trade.pnl - mean);
            if trade.pnl > 0.0 {
                winners.add(trade);
            } else if trade.pnl < 0.0 {
                losers.add(trade);
            }
        }
        let win_rate = winners.count / closed;
        Self {
            trades_count: closed + open,
            closed_trades_count: closed,
            open_trades_count: open,
            open_trade_pnl: open_pnl,
            win_rate,
            best_trade: best,
            worst_trade: worst,
            avg_winning_trade: winners.returns / winners.count,
            avg_losing_trade: losers.returns / losers.count,
            avg_winning_trade_duration: winners.bars / winners.count,
            avg_losing_trade_duration: losers.bars / losers.count,
            profit_factor: if closed > 0.0 { winners.pnl / losers.pnl.abs() } else { f64::NAN },
            expectancy: (winners.pnl + losers.pnl) / closed,
            sqn: closed.sqrt() * mean / (square / (closed - 1.0)).sqrt(),
        }
    }
}

/// What the account was put to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Filled orders.
    pub orders_count: f64,
    /// Positions that were liquidated.
    pub liquidations_count: f64,
    /// Fees of all orders.
    pub total_fees_paid: f64,
    /// Largest share that positions had of positions and free cash together.
    pub max_gross_exposure: f64,
    /// Bars of the longest time below a peak; NaN if there was none.
    pub max_drawdown_duration: f64,
}
