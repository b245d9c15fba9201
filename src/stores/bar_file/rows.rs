//! Rows of a file become bars: which value goes where is the same for every format.

use std::path::Path;

use super::{BarFileError, BarFileRequest, Role, roles};
use crate::backtest::error::BacktestError;
use crate::backtest::prices::{PriceColumns, Prices};

/// A value of a file, whatever its format.
pub(super) trait Cell {
    /// The value as milliseconds since 1970.
    fn time(&self) -> Result<i64, String>;
    /// The value as a text.
    fn text(&self) -> Result<&str, String>;
    /// The value as a number, NaN where it is missing.
    fn number(&self) -> Result<f64, String>;
}

/// Takes a file's rows.
pub(super) struct Rows<'a> {
    path: &'a Path,
    request: &'a BarFileRequest<'a>,
    head: Vec<String>,
    /// Which columns are read, in the order of the file.
    pub(super) roles: Vec<(usize, Role)>,
    collected: Collected,
    /// Rows so far.
    row: u64,
}

impl<'a> Rows<'a> {
    /// None yet, of a file with these columns.
    pub(super) fn new(
        path: &'a Path,
        request: &'a BarFileRequest<'a>,
        head: Vec<String>,
    ) -> Result<Self, BarFileError> {
        let failed = |reason| BarFileError::File { path: path.to_owned(), reason };
        let roles = roles(&head, &request.columns).map_err(failed)?;
        let collected = Collected::new(&roles);
        Ok(Self { path, request, head, roles, collected, row: 0 })
    }

    /// Takes a row: `cell` gives what stands in a column, by its place among those read and in the file.
    pub(super) fn take<C: Cell>(&mut self, cell: impl Fn(usize, usize) -> C) -> Result<(), BarFileError> {
        self.row += 1;
        let mut bar = Parts::default();
        for (place, (column, role)) in self.roles.iter().enumerate() {
            bar.set(*role, &cell(place, *column), self.request.symbol).map_err(|reason| BarFileError::Value {
                path: self.path.to_owned(),
                row: self.row,
                column: self.head[*column].clone(),
                reason,
            })?;
        }
        let failed = |reason| BarFileError::File { path: self.path.to_owned(), reason };
        self.collected.push(&bar, self.request).map_err(failed)
    }

    /// All rows.
    pub(super) fn finish(self) -> Collected {
        self.collected
    }
}

/// Bars as they are read, column by column.
pub(super) struct Collected {
    times: Option<Vec<i64>>,
    open: Option<Vec<f64>>,
    high: Option<Vec<f64>>,
    low: Option<Vec<f64>>,
    close: Vec<f64>,
    volume: Option<Vec<f64>>,
}

/// One bar as it is read.
#[derive(Default)]
struct Parts {
    time: Option<i64>,
    symbol_differs: bool,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
}

impl Parts {
    fn set(&mut self, role: Role, cell: &impl Cell, symbol: Option<&str>) -> Result<(), String> {
        match role {
            Role::Time => self.time = Some(cell.time()?),
            Role::Symbol => {
                let text = cell.text()?;
                self.symbol_differs = symbol.is_some_and(|symbol| !symbol.eq_ignore_ascii_case(text));
            }
            Role::Open => self.open = cell.number()?,
            Role::High => self.high = cell.number()?,
            Role::Low => self.low = cell.number()?,
            Role::Close => self.close = cell.number()?,
            Role::Volume => self.volume = cell.number()?,
        }
        Ok(())
    }
}

impl Collected {
    fn new(roles: &[(usize, Role)]) -> Self {
        let has = |wanted: Role| roles.iter().any(|(_, role)| *role == wanted);
        let column = |role| has(role).then(Vec::new);
        Self {
            times: has(Role::Time).then(Vec::new),
            open: column(Role::Open),
            high: column(Role::High),
            low: column(Role::Low),
            close: Vec::new(),
            volume: column(Role::Volume),
        }
    }

    /// Takes a bar, if it is asked for.
    fn push(&mut self, bar: &Parts, request: &BarFileRequest<'_>) -> Result<(), String> {
        let before = |limit: Option<i64>| matches!((bar.time, limit), (Some(time), Some(limit)) if time < limit);
        let after = matches!((bar.time, request.to_ms), (Some(time), Some(limit)) if time >= limit);
        if bar.symbol_differs || before(request.from_ms) || after {
            return Ok(());
        }
        if self.close.len() as u64 >= request.max_bars {
            return Err(format!("there are more than {} bars (backtest.max_bars)", request.max_bars));
        }
        let set = |column: &mut Option<Vec<f64>>, value: f64| {
            if let Some(column) = column {
                column.push(value);
            }
        };
        set(&mut self.open, bar.open);
        set(&mut self.high, bar.high);
        set(&mut self.low, bar.low);
        set(&mut self.volume, bar.volume);
        self.close.push(bar.close);
        if let (Some(times), Some(time)) = (&mut self.times, bar.time) {
            times.push(time);
        }
        Ok(())
    }

    /// Checks them.
    pub(super) fn into_prices(self) -> Result<Prices, BacktestError> {
        let columns = PriceColumns {
            ts: None,
            open: self.open,
            high: self.high,
            low: self.low,
            close: self.close,
            volume: self.volume,
        };
        match self.times {
            Some(times) => Prices::with_times(times, columns),
            None => Prices::new(columns),
        }
    }
}
