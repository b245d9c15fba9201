//! Invented bars, signals and requests; the same for the same seed.

use tidemill::backtest::request::{BacktestRequest, Direction, Fill};
use tidemill::backtest::{PriceColumns, Prices, SignalSource, Signals};

/// Bars of a random walk with gaps between bars and, if asked for, missing closes.
pub fn prices(random: &mut fastrand::Rng, bars: usize, missing: bool) -> Prices {
    let mut columns = PriceColumns::default();
    let (mut open, mut high, mut low) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = 50.0 + 100.0 * random.f64();
    let drift = 0.002 * (random.f64() - 0.4);
    for _ in 0..bars {
        let first = last * (1.0 + 0.01 * (random.f64() - 0.5));
        last = first * (1.0 + drift + 0.04 * (random.f64() - 0.5));
        if missing && random.u8(..) < 8 {
            columns.close.push(f64::NAN);
            [&mut open, &mut high, &mut low].into_iter().for_each(|column| column.push(f64::NAN));
        } else {
            columns.close.push(last);
            open.push(first);
            high.push(first.max(last) * (1.0 + 0.01 * random.f64()));
            low.push(first.min(last) * (1.0 - 0.01 * random.f64()));
        }
    }
    if columns.close.iter().all(|close| close.is_nan()) {
        columns.close[0] = last;
    }
    (columns.open, columns.high, columns.low) = (Some(open), Some(high), Some(low));
    Prices::new(columns).unwrap()
}

/// Signals that come about once in `every` bars.
pub fn signals(random: &mut fastrand::Rng, bars: usize, every: u32, short: bool) -> Signals {
    let mut column = || (0..bars).map(|_| random.u32(0..every) == 0).collect::<Vec<_>>();
    let mut signals = Signals::new(column(), column());
    if short {
        signals.short_entries = Some(column());
        signals.short_exits = Some(column());
    }
    signals
}

/// A request that the lanes can do, everything else drawn.
pub fn request(random: &mut fastrand::Rng, source: SignalSource) -> BacktestRequest {
    let mut request = BacktestRequest::new(source);
    request.direction = [Direction::Long, Direction::Short, Direction::Both][random.usize(0..3)];
    request.init_cash = 1000.0 + 1000.0 * random.f64();
    request.fees = if random.bool() { 0.002 * random.f64() } else { 0.0 };
    request.fixed_fees = if random.bool() { 0.1 * random.f64() } else { 0.0 };
    request.slippage = if random.bool() { 0.002 * random.f64() } else { 0.0 };
    request.risk_free = if random.bool() { 0.0001 } else { 0.0 };
    request.required_return = if random.bool() { 0.0002 } else { 0.0 };
    if random.bool() {
        request.sl_stop = Some(0.01 + 0.1 * random.f64());
        request.sl_trail = random.bool();
    }
    if random.bool() {
        request.tp_stop = Some(0.01 + 0.1 * random.f64());
    }
    if random.bool() {
        request.fill = Fill::NextOpen;
    }
    request
}

/// Whether two numbers agree: to 1e-12 of the larger or, near zero, of `scale`; both without value is agreement too.
pub fn agree(one: f64, other: f64, scale: f64) -> bool {
    if !one.is_finite() || !other.is_finite() {
        return one.to_bits() == other.to_bits() || (one.is_nan() && other.is_nan());
    }
    (one - other).abs() <= 1e-12 * one.abs().max(other.abs()).max(scale)
}
