//! Bars of the running daemon's store, page by page.

use anyhow::bail;
use chrono::SecondsFormat;
use serde::Deserialize;

use crate::actors::backtester::inputs::StoredBars;
use crate::backtest::source::SignalSource;
use crate::backtest::{BacktestRequest, Prices};
use crate::cli::client::{Client, block_on};
use crate::messages::bar::Bar;
use crate::stores::bars::MAX_BARS;

#[derive(Deserialize)]
struct Page {
    items: Vec<Bar>,
    next_cursor: Option<String>,
}

/// The bars a request asks for; `None` where no daemon answers, unless it was `named`, or where its documents are asked
/// for too.
pub(super) fn bars(
    client: &Client,
    named: bool,
    request: &BacktestRequest,
    most: u64,
) -> anyhow::Result<Option<Prices>> {
    let (Some(symbol), Some(interval)) = (&request.symbol, request.interval) else { return Ok(None) };
    if matches!(request.signals, SignalSource::Sentiment(_)) {
        return Ok(None);
    }
    let mut query =
        vec![("symbol", symbol.clone()), ("interval", interval.to_string()), ("limit", MAX_BARS.to_string())];
    for (name, time) in [("from", request.from), ("to", request.to)] {
        query.extend(time.map(|time| (name, time.to_rfc3339_opts(SecondsFormat::AutoSi, true))));
    }
    let mut bars = StoredBars::default();
    loop {
        let asked = block_on(async { Ok(client.get::<Page>(&["v1", "bars"], &query).await) })?;
        let page = match asked {
            Err(error) if error.is_away() && !named => return Ok(None),
            answer => answer?,
        };
        page.items.iter().for_each(|bar| bars.push(bar));
        if bars.len() > most {
            bail!("there are more than {most} bars (backtest.max_bars): ask for less with from and to");
        }
        query.retain(|(name, _)| *name != "cursor");
        match page.next_cursor {
            Some(cursor) => query.push(("cursor", cursor)),
            None if bars.is_empty() => bail!("there are no bars of {symbol} at {interval} in that time"),
            None => return Ok(Some(bars.into_prices()?)),
        }
    }
}
