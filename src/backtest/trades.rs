//! Trades out of orders: every exit closes a share of the position at the mean price of its entries.

use super::execution::Filled;
use super::result::{Trade, TradeDirection, TradeStatus};

/// The position that entries built and exits have left.
#[derive(Debug, Clone, Copy)]
struct Lot {
    direction: TradeDirection,
    first_row: usize,
    size: f64,
    /// Sum of size times price of the entries.
    gross: f64,
    fees: f64,
}

/// Collects trades as orders are filled.
#[derive(Debug, Default)]
pub(crate) struct TradeBook {
    trades: Vec<Trade>,
    lot: Option<Lot>,
}

impl TradeBook {
    /// An order that took the position from `before` to `after`.
    pub(crate) fn fill(&mut self, row: usize, filled: Filled, before: f64, after: f64) {
        let turned = before * after < 0.0;
        let shrunk = before != 0.0 && (turned || after.abs() < before.abs());
        let mut opens = filled.size;
        let mut fees = filled.fees;
        if shrunk {
            let closes = if turned || after == 0.0 { before.abs() } else { filled.size };
            let share = if turned { fees * (closes / filled.size) } else { fees };
            let whole = turned || after == 0.0;
            self.exit(row, (closes, filled.price, share), whole, TradeStatus::Closed);
            opens = if turned { after.abs() } else { 0.0 };
            fees -= share;
        }
        if opens > 0.0 {
            let direction = if after > 0.0 { TradeDirection::Long } else { TradeDirection::Short };
            let lot = self.lot.get_or_insert(Lot { direction, first_row: row, size: 0.0, gross: 0.0, fees: 0.0 });
            lot.size += opens;
            lot.gross += opens * filled.price;
            lot.fees += fees;
        }
    }

    fn exit(&mut self, row: usize, (size, price, fees): (f64, f64, f64), whole: bool, status: TradeStatus) {
        let Some(lot) = self.lot.as_mut() else { return };
        let entry_price = lot.gross / lot.size;
        let share = if whole { 1.0 } else { size / lot.size };
        let size = if whole { lot.size } else { size };
        let entry_fees = lot.fees * share;
        let gain = match lot.direction {
            TradeDirection::Long => price * size - entry_price * size,
            TradeDirection::Short => entry_price * size - price * size,
        };
        let pnl = gain - entry_fees - fees;
        self.trades.push(Trade {
            size,
            entry_row: lot.first_row,
            entry_price,
            entry_fees,
            exit_row: row,
            exit_price: price,
            exit_fees: fees,
            pnl,
            return_ratio: pnl / (entry_price * size),
            direction: lot.direction,
            status,
        });
        if whole {
            self.lot = None;
        } else {
            lot.size -= size;
            lot.gross *= 1.0 - share;
            lot.fees *= 1.0 - share;
        }
    }

    /// All trades; what is still held is marked at the last close.
    pub(crate) fn finish(mut self, last_row: usize, last_close: f64) -> Vec<Trade> {
        self.exit(last_row, (0.0, last_close, 0.0), true, TradeStatus::Open);
        self.trades
    }
}
