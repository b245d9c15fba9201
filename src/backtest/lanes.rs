//! Many parameter sets at once on the CPU: one set per `f64` lane, all sets of a block through the bars together.
//!
//! The kernel is written once over [`Vector`](vector::Vector) and compiled for AVX-512 (8 lanes), AVX2 (4 lanes) and any
//! processor; which one runs is found at run time, and all give the same bits. A block has 64 sets. Its signals come
//! from comparisons of shared rows or from given columns, chunk of bars by chunk, so that neither signals nor returns
//! of sets × bars are ever held.
//!
//! What the lanes do: entries with all cash and exits of the whole position, long, short or both, at the close or the
//! price handed in, with relative and fixed fees, slippage, stop loss (also trailing) and take profit. Sets that come to
//! owe more than they own are marked [`odd`](Totals::odd) and belong to the engine for one set.

#![expect(
    clippy::inline_always,
    reason = "a kernel is compiled for a processor's features only where its body is inlined into the function that has them"
)]

mod account;
mod kernel;
pub mod signals;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

use account::LaneTerms;
use rayon::prelude::*;
use signals::Source;

/// Sets that go through the bars together.
pub const BLOCK: usize = 64;

/// Bars whose signals are made at once.
pub const CHUNK: usize = 512;

/// Bars as the kernel reads them; all columns have one length.
#[derive(Debug, Clone, Copy)]
pub struct Market<'a> {
    /// What positions are worth; finite and positive at every bar.
    pub close: &'a [f64],
    /// What orders are filled at; finite and positive at every bar.
    pub fill: &'a [f64],
    /// First price; looked at only where there are stops. At a bar that cannot trade the high is −∞ and the low +∞, so
    /// that no stop is met and none follows.
    pub open: &'a [f64],
    /// Highest price; as `open`.
    pub high: &'a [f64],
    /// Lowest price; as `open`.
    pub low: &'a [f64],
    /// Bars that can trade, 64 to a word, lowest bit first, whole chunks.
    pub tradable: &'a [u64],
}

/// Bits packed 64 to a word, whole chunks: what [`Market::tradable`] wants.
pub fn words_of(bits: impl ExactSizeIterator<Item = bool>) -> Vec<u64> {
    let mut words = vec![0; bits.len().div_ceil(CHUNK) * CHUNK / 64];
    for (bar, _) in bits.enumerate().filter(|(_, set)| *set) {
        words[bar / 64] |= 1 << (bar % 64);
    }
    words
}

/// What one set trades under.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Terms {
    /// Fraction of an order's value.
    pub fees: f64,
    /// Cash per order.
    pub fixed_fees: f64,
    /// Fraction by which an order's price is worse.
    pub slippage: f64,
    /// Stop loss as a fraction of the entry bar's close.
    pub stop_loss: Option<f64>,
    /// Whether the stop loss follows the best price since.
    pub trailing: bool,
    /// Take profit as a fraction of the entry bar's close.
    pub take_profit: Option<f64>,
}

/// Which way entries and exits trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// Entries buy, exits sell.
    #[default]
    Long,
    /// Entries sell short, exits cover.
    Short,
    /// Entries buy, exits sell and go short.
    Both,
    /// The four signals stand for themselves.
    Four,
}

impl Way {
    /// Which of long entry, long exit, short entry and short exit each of the four given signals is.
    pub(super) const fn places(self) -> [usize; 4] {
        match self {
            Self::Long | Self::Four => [0, 1, 2, 3],
            Self::Short => [2, 3, 0, 1],
            Self::Both => [0, 2, 1, 3],
        }
    }

    /// Whether positions may be short.
    pub(super) const fn shorts(self) -> bool {
        !matches!(self, Self::Long)
    }
}

/// What all sets of a run share.
#[derive(Debug, Clone, Copy)]
pub struct Common {
    /// Cash before the first bar.
    pub init_cash: f64,
    /// Which way signals trade.
    pub way: Way,
    /// Smallest order, in units of the asset.
    pub min_size: f64,
    /// Whether signals trade one bar later.
    pub delayed: bool,
    /// Return per bar that the downside is measured from.
    pub required_return: f64,
    /// Return per bar that gains and losses of the omega ratio are measured from.
    pub threshold: f64,
}

/// What the metrics of one set are made of.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Totals {
    /// Value after the last bar.
    pub final_value: f64,
    /// Lowest value ÷ highest value before it.
    pub worst: f64,
    /// Lowest value.
    pub lowest: f64,
    /// Sum of returns.
    pub sum: f64,
    /// Sum of their squares.
    pub squares: f64,
    /// Sum of what returns lie above the threshold.
    pub gains: f64,
    /// Sum of what returns lie below the threshold, negative.
    pub losses: f64,
    /// Sum of the squares of what returns lie below the required one.
    pub downside: f64,
    /// Trades that have ended.
    pub closed: f64,
    /// Those with a profit.
    pub wins: f64,
    /// Those with a loss.
    pub losing: f64,
    /// Sum of the profits.
    pub won: f64,
    /// Sum of the losses, negative.
    pub lost: f64,
    /// Fees paid.
    pub fees: f64,
    /// Whether a trade is still open.
    pub open: bool,
    /// Whether only the engine for one set can say what became of this one.
    pub odd: bool,
}

/// Which instructions the kernel is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// Whatever the target has.
    Portable,
    /// AVX2: 4 lanes.
    Avx2,
    /// AVX-512: 8 lanes.
    Avx512,
}

impl Width {
    /// The widest that this processor has.
    pub fn widest() -> Self {
        Self::available().last().copied().unwrap_or(Self::Portable)
    }

    /// All that this processor has, narrowest first.
    pub fn available() -> Vec<Self> {
        let mut widths = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2") {
                widths.push(Self::Avx2);
            }
            if has_avx512() {
                widths.push(Self::Avx512);
            }
        }
        widths
    }
}

/// Sets to run: their terms and signals, side by side.
#[derive(Debug, Clone, Copy)]
pub struct Sets<'a> {
    /// Terms of each set.
    pub terms: &'a [Terms],
    /// Signals of each set.
    pub source: Source<'a>,
}

/// Runs all sets on all cores of the calling rayon pool, at the processor's widest.
///
/// # Panics
/// If columns, terms and results differ in length.
pub fn run(market: &Market<'_>, common: &Common, sets: Sets<'_>, out: &mut [Totals]) {
    let width = Width::widest();
    // Few sets on many bars: smaller blocks, so that every core has one.
    let block_size = out.len().div_ceil(rayon::current_num_threads()).next_multiple_of(8).clamp(8, BLOCK);
    out.par_chunks_mut(block_size).enumerate().for_each(|(block, out)| {
        let (from, to) = (block * block_size, block * block_size + out.len());
        let part = Sets { terms: &sets.terms[from..to], source: sets.source.part(from, to) };
        run_block(width, market, common, part, out);
    });
}

/// Runs up to [`BLOCK`] sets on this thread. A width that this processor lacks is replaced by the portable one.
///
/// # Panics
/// If there are more sets than a block holds, or columns, terms and results differ in length.
pub fn run_block(width: Width, market: &Market<'_>, common: &Common, sets: Sets<'_>, out: &mut [Totals]) {
    let count = sets.terms.len();
    assert!(count <= BLOCK && out.len() == count && sets.source.len() == count, "a block's sets must agree in number");
    let bars = market.close.len();
    assert!(market.tradable.len() * 64 >= bars.next_multiple_of(CHUNK), "every bar can trade or not");
    if count == 0 {
        return;
    }
    let stops = sets.terms.iter().any(|set| set.stop_loss.is_some() || set.take_profit.is_some());
    assert_eq!(market.fill.len(), bars, "every bar has a price to fill at");
    let columns = [market.open, market.high, market.low];
    assert!(!stops || columns.iter().all(|column| column.len() == bars), "stops need whole bars");
    let terms = LaneTerms::new(sets.terms);
    let shorts = common.way.shorts();
    match width {
        #[cfg(target_arch = "x86_64")]
        Width::Avx512 if has_avx512() => {
            // SAFETY: the processor has the features, as found in the line above.
            unsafe { avx512((shorts, stops), market, common, (&terms, sets.source), out) }
        }
        #[cfg(target_arch = "x86_64")]
        Width::Avx2 if std::arch::is_x86_feature_detected!("avx2") => {
            // SAFETY: the processor has the feature, as found in the line above.
            unsafe { avx2((shorts, stops), market, common, (&terms, sets.source), out) }
        }
        _ => dispatch::<vector::Portable<4>>((shorts, stops), market, common, (&terms, sets.source), out),
    }
}

/// Whether the processor has all of AVX-512 that the kernel is compiled for.
#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512dq")
        && std::arch::is_x86_feature_detected!("avx512vl")
        && std::arch::is_x86_feature_detected!("avx512bw")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
fn avx512(
    kind: (bool, bool),
    market: &Market<'_>,
    common: &Common,
    sets: (&LaneTerms, Source<'_>),
    out: &mut [Totals],
) {
    dispatch::<x86::Avx512>(kind, market, common, sets, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(kind: (bool, bool), market: &Market<'_>, common: &Common, sets: (&LaneTerms, Source<'_>), out: &mut [Totals]) {
    dispatch::<x86::Avx2>(kind, market, common, sets, out);
}

/// Chooses the kernel without what no set of the block needs.
#[inline(always)]
fn dispatch<V: vector::Vector>(
    kind: (bool, bool),
    market: &Market<'_>,
    common: &Common,
    (terms, source): (&LaneTerms, Source<'_>),
    out: &mut [Totals],
) {
    match kind {
        (false, false) => kernel::block::<V, false, false>(market, common, terms, source, out),
        (false, true) => kernel::block::<V, false, true>(market, common, terms, source, out),
        (true, false) => kernel::block::<V, true, false>(market, common, terms, source, out),
        (true, true) => kernel::block::<V, true, true>(market, common, terms, source, out),
    }
}
