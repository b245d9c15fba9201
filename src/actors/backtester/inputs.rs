//! What a simulation works on: bars from the request or the store, and what documents said of their symbol.

use chrono::{DateTime, Utc};

use crate::actors::services::Market;
use crate::backtest::device::DeviceChoice;
use crate::backtest::error::BacktestError;
use crate::backtest::sentiment_signals::{SentimentEvent, SentimentSettings, decision_times, scores, thresholds};
use crate::backtest::source::SignalSource;
use crate::backtest::strategies::SentimentParams;
use crate::backtest::{BacktestRequest, PriceColumns, Prices, Signals, frequency};
use crate::config::backtest::BacktestConfig;
use crate::jobs::JobContext;
use crate::messages::bar::{self, Bar};
use crate::messages::code::{ErrorCode, Rejection};
use crate::messages::signal::Signal;
use crate::stores::bars::{BarFilter, MAX_BARS};
use crate::stores::signals::{MAX_SIGNALS, SignalFilter};
use crate::web::state::RunError;

/// Checked bars, and signals where the request asks for sentiment.
pub struct Inputs {
    /// The bars.
    pub prices: Prices,
    /// What documents said, as entries and exits.
    pub sentiment: Option<Signals>,
}

/// Bars of a store as columns.
#[derive(Default)]
pub struct StoredBars {
    times: Vec<i64>,
    open: Vec<f64>,
    high: Vec<f64>,
    low: Vec<f64>,
    close: Vec<f64>,
    volume: Vec<f64>,
}

impl StoredBars {
    /// Adds the bar after those before.
    pub fn push(&mut self, bar: &Bar) {
        self.times.push(bar.ts.timestamp_millis());
        self.open.push(bar.open);
        self.high.push(bar.high);
        self.low.push(bar.low);
        self.close.push(bar.close);
        self.volume.push(bar.volume.unwrap_or(f64::NAN));
    }

    /// How many.
    pub fn len(&self) -> u64 {
        self.times.len() as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Checks them.
    ///
    /// # Errors
    /// As [`Prices::new`].
    pub fn into_prices(self) -> Result<Prices, BacktestError> {
        let Self { times, open, high, low, close, volume } = self;
        let [open, high, low, volume] = [open, high, low, volume].map(Some);
        Prices::with_times(times, PriceColumns { ts: None, open, high, low, close, volume })
    }
}

/// Where inputs come from, and the limits.
pub struct Source<'a> {
    /// The stores.
    pub market: &'a Market,
    /// Most bars and signals, and how sentiment is read.
    pub limits: &'a BacktestConfig,
    /// Asked between pages whether to stop.
    pub job: Option<&'a JobContext>,
}

impl Source<'_> {
    /// How many bars the request is about, counted as far as matters.
    ///
    /// # Errors
    /// If it says neither prices nor symbol and interval, or the store is away.
    pub async fn bars(&self, request: &BacktestRequest) -> Result<u64, RunError> {
        match &request.prices {
            Some(prices) => Ok(prices.close.len() as u64),
            None => Ok(self.market.bars.count_bars(filter(request)?, self.limits.sync_bars.saturating_add(1)).await?),
        }
    }

    /// Loads everything. Takes the prices out of the request and puts the configured device in its place.
    ///
    /// # Errors
    /// If bars or signals are missing, too many or senseless, or the store is away.
    pub async fn load(&self, request: &mut BacktestRequest) -> Result<Inputs, RunError> {
        if let Some(symbol) = &mut request.symbol {
            *symbol = bar::symbol(symbol).map_err(of_field)?;
        }
        if request.device == DeviceChoice::Auto {
            request.device = self.limits.device.parse().unwrap_or_default();
        }
        let prices = match request.prices.take() {
            Some(columns) => self.given(columns)?,
            None => self.stored(request).await?,
        };
        let sentiment = match &request.signals {
            SignalSource::Sentiment(params) => Some(self.sentiment(request, params, &prices).await?),
            SignalSource::Holding | SignalSource::Columns(_) | SignalSource::Orders(_) | SignalSource::Strategy(_) => {
                None
            }
        };
        Ok(Inputs { prices, sentiment })
    }

    fn given(&self, columns: PriceColumns) -> Result<Prices, RunError> {
        let (bars, most) = (columns.close.len() as u64, self.limits.max_bars);
        if bars > most {
            return Err(too_many(
                "prices.close",
                format!("has {bars} bars, at most {most} are taken (backtest.max_bars)"),
            ));
        }
        Ok(Prices::new(columns)?)
    }

    /// Bars of the store, page by page.
    async fn stored(&self, request: &BacktestRequest) -> Result<Prices, RunError> {
        let filter = filter(request)?;
        let mut bars = StoredBars::default();
        let mut cursor = None;
        loop {
            self.may_go_on()?;
            let page = self.market.bars.bars(BarFilter { cursor, ..filter.clone() }).await?;
            page.items.iter().for_each(|bar| bars.push(bar));
            let most = self.limits.max_bars;
            if bars.len() > most {
                return Err(too_many(
                    "from",
                    format!("there are more than {most} bars (backtest.max_bars): ask for less"),
                ));
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        if bars.is_empty() {
            let said = format!("there are no bars of {} at {} in that time", filter.symbol, filter.interval);
            return Err(Rejection::field(ErrorCode::InvalidBacktest, "symbol", said).into());
        }
        Ok(bars.into_prices()?)
    }

    /// What documents said of the symbol, as entries and exits on these bars.
    async fn sentiment(
        &self,
        request: &BacktestRequest,
        params: &SentimentParams,
        prices: &Prices,
    ) -> Result<Signals, RunError> {
        let settings = self.limits.sentiment.with(params)?;
        let Some(symbol) = &request.symbol else {
            return Err(missing("symbol", "sentiment needs to know whose documents to look at"));
        };
        let Some(times) = prices.times() else {
            return Err(missing("prices.ts", "sentiment needs to know when each bar began"));
        };
        let decisions = decision_times(times, frequency(request, prices), settings.decide, request.fill);
        let events = self.events(symbol, decisions.last().copied().unwrap_or(i64::MAX), &settings).await?;
        Ok(thresholds(&scores(&events, &decisions, &settings), &settings, request.direction))
    }

    async fn events(
        &self,
        symbol: &str,
        until_ms: i64,
        settings: &SentimentSettings,
    ) -> Result<Vec<SentimentEvent>, RunError> {
        let to = DateTime::from_timestamp_millis(until_ms.saturating_add(1));
        let filter = SignalFilter { symbol: symbol.to_owned(), from: None, to, limit: MAX_SIGNALS, cursor: None };
        let mut events = Vec::new();
        let mut cursor = None;
        loop {
            self.may_go_on()?;
            let page = self.market.signals.signals(SignalFilter { cursor, ..filter.clone() }).await?;
            events.extend(page.items.iter().map(|signal| event(signal, settings)));
            let most = self.limits.max_signals;
            if events.len() as u64 > most {
                return Err(too_many(
                    "symbol",
                    format!("{symbol} has more than {most} signals (backtest.max_signals)"),
                ));
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(events);
            }
        }
    }

    fn may_go_on(&self) -> Result<(), RunError> {
        if self.job.is_some_and(JobContext::is_stopping) { Err(RunError::Stopped) } else { Ok(()) }
    }
}

fn event(signal: &Signal, settings: &SentimentSettings) -> SentimentEvent {
    let known = settings.known_ms(ceil_ms(signal.ts), ceil_ms(signal.accepted_at), ceil_ms(signal.processed_at));
    SentimentEvent { happened_ms: signal.ts.timestamp_millis(), known_ms: known, score: signal.score.into() }
}

/// Milliseconds since 1970, rounded up: nothing is known before its time.
fn ceil_ms(time: DateTime<Utc>) -> i64 {
    time.timestamp_millis() + i64::from(!time.timestamp_subsec_micros().is_multiple_of(1000))
}

/// The bars a request without prices asks for.
fn filter(request: &BacktestRequest) -> Result<BarFilter, RunError> {
    let lacking = "without prices a backtest needs symbol and interval of stored bars";
    let symbol = request.symbol.as_deref().ok_or_else(|| missing("symbol", lacking))?;
    let interval = request.interval.ok_or_else(|| missing("interval", lacking))?;
    Ok(BarFilter {
        symbol: bar::symbol(symbol).map_err(of_field)?,
        interval: interval.to_string(),
        from: request.from,
        to: request.to,
        limit: MAX_BARS,
        cursor: None,
    })
}

fn of_field(rejection: Rejection) -> RunError {
    Rejection { code: ErrorCode::InvalidBacktest, ..rejection }.into()
}

fn missing(field: &str, reason: &str) -> RunError {
    BacktestError::Combination { field: field.to_owned(), reason: reason.to_owned() }.into()
}

fn too_many(field: &str, said: String) -> RunError {
    Rejection::field(ErrorCode::TooLarge, field, said).into()
}

/// The time, to the microsecond as stores keep it.
pub fn now() -> DateTime<Utc> {
    let now = Utc::now();
    DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
}
