//! Speed of backtests and sweeps. Run: `cargo bench --bench backtest`.
//!
//! With `TIDEMILL_BENCH_PEERS=DIRECTORY` it takes the peers' side instead: reads the bars and signals that
//! `benches/peers/backtest/speed.py` wrote there, runs the same work, and writes its times and metrics beside them.
//! With `TIDEMILL_BENCH_SETS=N` it runs one sweep of N sets and says how fast, how busy and how large it was.
#![expect(clippy::print_stdout, reason = "a benchmark says what it measured")]

use std::path::Path;
use std::time::Instant;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use tidemill::backtest::lanes::signals::{Condition, Operand, Rows, Rule, Source};
use tidemill::backtest::lanes::{BLOCK, Common, Market, Sets, Terms, Totals, Way, Width, run_block, words_of};
use tidemill::backtest::request::Part;
use tidemill::backtest::sweep::{
    SWEEP_METRICS, SetMetrics, SweepOptions, SweepRequest, SweepRow, SweepWatch, Unwatched, run as run_sweep,
    sweep_columns,
};
use tidemill::backtest::{BacktestRequest, Prices, SignalSource, Signals, evaluate};

/// Bars of a series.
const BARS: usize = 10_000;

fn main() {
    if let Some(directory) = std::env::var_os("TIDEMILL_BENCH_PEERS") {
        return beside_peers(Path::new(&directory));
    }
    if let Some(sets) = std::env::var("TIDEMILL_BENCH_SETS").ok().and_then(|sets| sets.parse().ok()) {
        return large_sweep(sets);
    }
    divan::main();
}

/// A random walk.
fn closes(bars: usize) -> Vec<f64> {
    let mut random = fastrand::Rng::with_seed(5);
    let mut price = 100.0;
    (0..bars)
        .map(|_| {
            price *= 1.0 + 0.01 * (random.f64() + random.f64() + random.f64() - 1.5);
            price
        })
        .collect()
}

fn mean(closes: &[f64], window: usize) -> Vec<f64> {
    let count = f64::from(u32::try_from(window).unwrap_or(u32::MAX));
    let sums = closes.windows(window).map(|window| window.iter().sum::<f64>() / count);
    std::iter::repeat_n(f64::NAN, window - 1).chain(sums).collect()
}

/// One block of crossovers on one core, by each width: the inner loop with its signals, without the means.
#[divan::bench(args = [Width::Portable, Width::Avx2, Width::Avx512], consts = [0, 1, 2, 3])]
fn bar_steps_of_one_core<const KIND: usize>(bencher: Bencher, width: Width) {
    if !Width::available().contains(&width) {
        return;
    }
    let closes = closes(BARS);
    let mut rows = Rows::new(BARS);
    (2..=BLOCK + 2).for_each(|window| {
        rows.push(&mean(&closes, window));
    });
    let rules: Vec<Rule> = (1..=u32::try_from(BLOCK).unwrap_or_default())
        .map(|slow| {
            let (fast, slow) = (Operand::Row(0), Operand::Row(slow));
            Rule { entry: Condition::Crosses(fast, slow), exit: Condition::Crosses(slow, fast) }
        })
        .collect();
    let terms = Terms { fees: 0.001, stop_loss: (KIND & 1 == 1).then_some(0.05), ..Terms::default() };
    let terms = vec![terms; rules.len()];
    let tradable = words_of(closes.iter().map(|_| true));
    let column = &closes[..];
    let market = Market { close: column, fill: column, open: column, high: column, low: column, tradable: &tradable };
    let common = Common {
        init_cash: 100.0,
        way: if KIND & 2 == 2 { Way::Both } else { Way::Long },
        min_size: 1e-8,
        delayed: false,
        required_return: 0.0,
        threshold: 0.0,
    };
    let mut totals = vec![Totals::default(); rules.len()];
    bencher.counter(ItemsCount::new(rules.len() * BARS)).bench_local(|| {
        let sets = Sets { terms: &terms, source: Source::Rules(&rows, &rules) };
        run_block(width, &market, &common, sets, black_box(&mut totals));
    });
}

fn crossovers(windows: usize) -> SweepRequest {
    let text = format!(
        r#"{{"signals": {{"strategy": "ma_crossover"}}, "fees": 0.001, "device": "cpu", "combine": "combinations",
            "params": {{"fast": {{"range": [2, {windows}]}}, "slow": {{"range": [2, {windows}]}}}},
            "keep": {{"top": 100, "by": "sharpe_ratio"}}}}"#
    );
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("the sweep is none: {error}"))
}

/// 4,950 crossovers with everything: means, signals, accounts, metrics, the best hundred.
#[divan::bench]
fn crossovers_of_100_windows(bencher: Bencher) {
    let prices = checked(closes(BARS));
    let request = crossovers(101);
    bencher.counter(ItemsCount::new(4950 * BARS)).bench_local(|| {
        run_sweep(&request, &prices, &SweepOptions::default(), &mut Unwatched).map(|result| result.rows.len())
    });
}

/// One backtest of a million bars with all metrics.
#[divan::bench]
fn one_backtest_of_a_million_bars(bencher: Bencher) {
    let prices = checked(closes(1_000_000));
    let mut random = fastrand::Rng::with_seed(6);
    let mut column = || (0..1_000_000).map(|_| random.u8(..) < 8).collect::<Vec<_>>();
    let mut request = BacktestRequest::new(SignalSource::Columns(Signals::new(column(), column())));
    request.fees = 0.001;
    request.parts = vec![Part::Metrics];
    bencher.counter(ItemsCount::new(1_000_000_usize)).bench_local(|| evaluate(&request, &prices, None));
}

fn checked(closes: Vec<f64>) -> Prices {
    Prices::from_close(closes).unwrap_or_else(|error| panic!("the bars are none: {error}"))
}

/// All rows of a sweep.
#[derive(Default)]
struct Collected(Vec<SweepRow>);

impl SweepWatch for Collected {
    fn row(&mut self, row: SweepRow) -> Result<(), String> {
        self.0.push(row);
        Ok(())
    }
}

/// Seconds of one run.
#[derive(Clone, Copy)]
struct Seconds {
    /// By the clock, the median.
    wall: f64,
    /// Of processors, the mean: what a busy machine changes least.
    processor: f64,
}

/// How long `times` runs take, after one that does not count, and what the last gave.
fn timed<T>(times: u32, mut work: impl FnMut() -> T) -> (Seconds, T) {
    let mut result = work();
    let before = cpu_seconds();
    let mut seconds: Vec<f64> = (0..times)
        .map(|_| {
            let started = Instant::now();
            result = work();
            started.elapsed().as_secs_f64()
        })
        .collect();
    let processor = (cpu_seconds() - before) / f64::from(times);
    seconds.sort_by(f64::total_cmp);
    (Seconds { wall: seconds[seconds.len() / 2], processor }, result)
}

/// The same work as the peers', on the same bars and signals.
fn beside_peers(directory: &Path) {
    let read = |name: &str| std::fs::read(directory.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let closes: Vec<f64> = read("close.f64")
        .chunks_exact(8)
        .map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap_or_default()))
        .collect();
    let bars = closes.len();
    let prices = checked(closes);
    let request = crossovers(101);
    let request = SweepRequest { keep: serde_json::from_str("\"all\"").unwrap_or_default(), ..request };
    let (sweep_seconds, rows) = timed(15, || {
        let mut rows = Collected::default();
        let result = run_sweep(&request, &prices, &SweepOptions::default(), &mut rows);
        result.unwrap_or_else(|error| panic!("the sweep: {error}"));
        rows.0
    });
    let table = rows.iter().map(|row| (row.values.clone(), row.metrics));
    write_table(&directory.join("crossovers.csv"), &["fast", "slow"], table);

    let bools = |name: &str| read(name).into_iter().map(|byte| byte != 0).collect::<Vec<_>>();
    let (entries, exits) = (bools("entries.u8"), bools("exits.u8"));
    let columns: Vec<Signals> = entries
        .chunks_exact(bars)
        .zip(exits.chunks_exact(bars))
        .map(|(entries, exits)| Signals::new(entries.to_vec(), exits.to_vec()))
        .collect();
    let mut request = BacktestRequest::new(SignalSource::Holding);
    request.fees = 0.001;
    let (column_seconds, metrics) =
        timed(15, || sweep_columns(&request, &prices, &columns).unwrap_or_else(|error| panic!("the columns: {error}")));
    write_table(&directory.join("columns.csv"), &[], metrics.into_iter().map(|metrics| (Vec::new(), metrics)));
    let of = |seconds: Seconds| serde_json::json!({ "wall": seconds.wall, "processor": seconds.processor });
    let times = serde_json::json!({ "crossovers": of(sweep_seconds), "columns": of(column_seconds) });
    std::fs::write(directory.join("times.json"), times.to_string())
        .unwrap_or_else(|error| panic!("times.json: {error}"));
    println!("{} crossovers and {} columns of {bars} bars: {times}", rows.len(), columns.len());
}

/// Parameters and metrics, one row a set.
fn write_table(path: &Path, names: &[&str], rows: impl Iterator<Item = (Vec<f64>, SetMetrics)>) {
    let mut text = names.iter().chain(&SWEEP_METRICS).copied().collect::<Vec<_>>().join(",") + "\n";
    for (values, metrics) in rows {
        let numbers = values.iter().chain(&metrics.0).map(ToString::to_string).collect::<Vec<_>>();
        text += &(numbers.join(",") + "\n");
    }
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Sweeps of about so many crossovers and of a quarter of them, keeping the best: time, share of the cores' time, largest
/// resident memory, and whether time grows as the sets do.
#[expect(clippy::cast_precision_loss, reason = "a report")]
fn large_sweep(sets: u64) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let prices = checked(closes(BARS));
    let of_one = [sets.div_ceil(4), sets].map(|sets| {
        let request = crossovers(windows_of(sets));
        let before = cpu_seconds();
        let result = run_sweep(&request, &prices, &SweepOptions::default(), &mut Unwatched);
        let result = result.unwrap_or_else(|error| panic!("the sweep: {error}"));
        let (busy, wall) = (cpu_seconds() - before, result.computation_seconds);
        println!(
            "{} sets of {BARS} bars: {wall:.2} s, {:.1} % of {cores} cores busy, {:.0} million bar-steps per processor \
             second, {} MiB resident at most",
            result.tried,
            100.0 * busy / (wall * cores as f64),
            result.tried as f64 * BARS as f64 / busy / 1e6,
            resident_peak_mib(),
        );
        [wall / result.tried as f64, busy / result.tried as f64]
    });
    let [wall, busy] = [0, 1].map(|index| of_one[1][index] / of_one[0][index]);
    println!(
        "a set of the whole takes {wall:.3} times what one of the quarter does, {busy:.3} times its processor time"
    );
}

/// Windows from 2 on of which about so many pairs can be made.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
fn windows_of(pairs: u64) -> usize {
    (0.5 + (0.25 + 2.0 * pairs as f64).sqrt()).round() as usize + 1
}

/// Processor time of this process so far, from `/proc`; 0 where there is none.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    // Both are counted in hundredths of a second on every Linux that Rust runs on.
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Largest resident memory of this process so far, from `/proc`; 0 where there is none.
fn resident_peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() / 1024
}
