//! Where a sweep stands, so that it can go on later.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::super::prices::Prices;
use super::super::signals::Signals;
use super::request::SweepRequest;

/// Where a sweep stands. It belongs to one request on one series of bars and is refused by any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Hash of request, bars and given signals.
    pub fingerprint: u64,
    /// Sets done, in the order in which they are tried. Rows of later ones come again.
    pub next: u64,
    /// Numbers of the best sets so far; they are computed again.
    pub best: Vec<u64>,
    /// Spread of the Sharpe ratios so far, as bits.
    pub spread: [u64; 3],
    /// Cells of the surface so far, as bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surface: Option<Vec<Option<u64>>>,
}

/// What a checkpoint is tied to.
pub(super) fn fingerprint(request: &SweepRequest, prices: &Prices, given: Option<&Signals>) -> u64 {
    let mut hash = Xxh3::new();
    let mut named = request.clone();
    named.base.portfolio_id = None;
    named.base.prices = None;
    hash.update(serde_json::json!(named).to_string().as_bytes());
    let columns = [Some(prices.close()), prices.open(), prices.high(), prices.low(), prices.volume()];
    for column in columns {
        hash.update(&[u8::from(column.is_some())]);
        for price in column.unwrap_or_default() {
            hash.update(&price.to_bits().to_le_bytes());
        }
    }
    if let Some(signals) = given {
        let short = [&signals.short_entries, &signals.short_exits].map(|column| column.as_deref().unwrap_or_default());
        for column in [&signals.entries[..], &signals.exits[..], short[0], short[1]] {
            let bytes: Vec<u8> = column.iter().map(|signal| u8::from(*signal)).collect();
            hash.update(&bytes);
        }
    }
    hash.digest()
}
