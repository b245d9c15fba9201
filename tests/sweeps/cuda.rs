//! The GPU's kernels without a GPU: compiled for the architectures in use, and run on the CPU against the lanes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use tidemill::backtest::cuda::pack::{PackedSets, Shared, pack_columns, pack_market, pack_rows, pack_sets, unpack};
use tidemill::backtest::cuda::{Gpu, KERNEL_OPTIONS};
use tidemill::backtest::device::DeviceChoice;
use tidemill::backtest::lanes::signals::{Column, Columns, Condition, Operand, Rows, Rule, Source};
use tidemill::backtest::lanes::{Common, Market, Sets, Terms, Totals, Way, run, words_of};

use crate::market::{prices, signals};

/// Kernels in the order of `host.cpp`.
const NAMES: [&str; 4] = ["sweep_long", "sweep_long_stops", "sweep_both", "sweep_both_stops"];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/backtest/cuda")
}

/// The kernels as a program for this machine, compiled once; `Err` says why there is none.
static HOST: LazyLock<Result<(tempfile::TempDir, PathBuf), String>> = LazyLock::new(|| {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let program = directory.path().join("host");
    let shim = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sweeps/host.cpp");
    let compiled = Command::new("g++")
        .args(["-std=c++17", "-O1", "-ffp-contract=off", "-I"])
        .arg(source())
        .args(["-include", "cstddef", "-o"])
        .arg(&program)
        .arg(shim)
        .output()
        .map_err(|error| format!("g++: {error}"))?;
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    Ok((directory, program))
});

/// Runs packed sets by the program.
fn on_host(program: &Path, packed: &PackedSets, arrays: (&[f64], &[u8], &[f64], &[u8])) -> Vec<Totals> {
    let mut input = Vec::new();
    let kernel = NAMES.iter().position(|name| *name == packed.kernel).unwrap();
    input.extend(i32::try_from(kernel).unwrap().to_ne_bytes());
    shared_bytes(&packed.shared, &mut input);
    let mut put = |bytes: Vec<u8>, length: usize| {
        input.extend((length as u64).to_ne_bytes());
        input.extend(bytes);
    };
    let doubles = |values: &[f64]| values.iter().flat_map(|value| value.to_ne_bytes()).collect::<Vec<_>>();
    put(doubles(arrays.0), arrays.0.len());
    put(arrays.1.to_vec(), arrays.1.len());
    put(doubles(arrays.2), arrays.2.len());
    put(arrays.3.to_vec(), arrays.3.len());
    put(packed.kinds.iter().flat_map(|kind| kind.to_ne_bytes()).collect(), packed.kinds.len());
    put(doubles(&packed.factors), packed.factors.len());
    put(doubles(&packed.terms), packed.terms.len());
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // All input is read before anything is written, so neither side waits for the other.
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let values: Vec<f64> =
        output.stdout.chunks_exact(8).map(|bytes| f64::from_ne_bytes(bytes.try_into().unwrap())).collect();
    unpack(&values)
}

/// The bytes of the kernel's struct: it has no padding.
fn shared_bytes(shared: &Shared, to: &mut Vec<u8>) {
    for value in [shared.init_cash, shared.min_size, shared.required, shared.threshold] {
        to.extend(value.to_ne_bytes());
    }
    let [a, b, c, d] = shared.place;
    for value in [shared.bars, shared.sets, shared.rows, shared.columns, a, b, c, d, shared.delayed, shared.given] {
        to.extend(value.to_ne_bytes());
    }
    assert_eq!(to.len(), 4 + size_of::<Shared>());
}

/// Rules of all kinds over drawn rows.
fn rules(random: &mut fastrand::Rng, rows: u32, sets: usize) -> Vec<Rule> {
    let condition = |random: &mut fastrand::Rng| {
        let operand = |random: &mut fastrand::Rng| match random.u8(0..4) {
            0 => Operand::Constant(90.0 + 20.0 * random.f64()),
            1 => Operand::Band(random.u32(0..rows), random.u32(0..rows), random.f64() - 0.5),
            _ => Operand::Row(random.u32(0..rows)),
        };
        let (left, right) = (operand(random), operand(random));
        if random.bool() { Condition::Crosses(left, right) } else { Condition::Exceeds(left, right) }
    };
    (0..sets)
        .map(|_| {
            let entry = condition(random);
            let mirrored = Condition::Crosses(entry.operands().1, entry.operands().0);
            Rule { entry, exit: if random.bool() { mirrored } else { condition(random) } }
        })
        .collect()
}

#[test]
fn the_kernel_gives_what_the_lanes_give() {
    let host = match &*HOST {
        Ok((_, program)) => program,
        Err(why) => return println!("skipped: {why}"),
    };
    let mut random = fastrand::Rng::with_seed(41);
    let mut kernels = std::collections::HashSet::new();
    for case in 0..40 {
        let bars = random.usize(1..1300);
        let market = prices(&mut random, bars, false);
        let sets = random.usize(1..200);
        let tradable = words_of(market.close().iter().map(|_| random.u8(..) > 10));
        let seen = Market {
            close: market.close(),
            fill: market.open().unwrap(),
            open: market.open().unwrap(),
            high: market.high().unwrap(),
            low: market.low().unwrap(),
            tradable: &tradable,
        };
        let stops = random.bool();
        let terms: Vec<Terms> = (0..sets)
            .map(|_| Terms {
                fees: 0.002 * random.f64(),
                fixed_fees: 0.01 * random.f64(),
                slippage: 0.001 * random.f64(),
                stop_loss: (stops && random.bool()).then(|| 0.02 + 0.05 * random.f64()),
                take_profit: (stops && random.bool()).then(|| 0.02 + 0.05 * random.f64()),
                trailing: random.bool(),
            })
            .collect();
        let common = Common {
            init_cash: 100.0,
            way: [Way::Long, Way::Short, Way::Both, Way::Four][random.usize(0..4)],
            min_size: 1e-8,
            delayed: random.bool(),
            required_return: 0.0001,
            threshold: 0.0002,
        };
        let mut rows = Rows::new(bars);
        for _ in 0..6 {
            let scale = 0.95 + 0.1 * random.f64();
            let row: Vec<f64> = market
                .close()
                .iter()
                .map(|close| match random.u8(..) {
                    0..4 => f64::NAN,
                    4..12 => 100.0,
                    _ => (close * scale).round(),
                })
                .collect();
            rows.push(&row);
        }
        let rules = rules(&mut random, 6, sets);
        let mut columns = Columns::new(bars);
        for _ in 0..3 {
            let given = signals(&mut random, bars, 15, true);
            columns.push(Column {
                entries: &given.entries,
                exits: &given.exits,
                short_entries: given.short_entries.as_deref().unwrap(),
                short_exits: given.short_exits.as_deref().unwrap(),
            });
        }
        let indices: Vec<u32> = (0..sets).map(|_| random.u32(0..3)).collect();
        let given = random.bool();
        let source = if given { Source::Columns(&columns, &indices) } else { Source::Rules(&rows, &rules) };
        let sets = Sets { terms: &terms, source };
        let mut expected = vec![Totals::default(); terms.len()];
        run(&seen, &common, sets, &mut expected);
        let packed = pack_sets(bars, &common, sets).unwrap();
        let of_market = pack_market(&seen);
        let (packed_rows, packed_columns) =
            if given { (Vec::new(), pack_columns(&columns, bars)) } else { (pack_rows(&rows), Vec::new()) };
        let arrays = (&of_market.prices[..], &of_market.tradable[..], &packed_rows[..], &packed_columns[..]);
        let totals = on_host(host, &packed, arrays);
        for (set, (ours, theirs)) in totals.iter().zip(&expected).enumerate() {
            assert!(
                ours == theirs || (ours.odd && theirs.odd),
                "case {case}, set {set}, {:?}: {ours:?} or {theirs:?}, {:?}",
                common.way,
                terms[set]
            );
        }
        let odd = expected.iter().filter(|totals| totals.odd).count();
        assert!(
            odd * 5 <= expected.len(),
            "case {case}: {odd} of {} sets are left to the other engine",
            expected.len()
        );
        kernels.insert(packed.kernel);
    }
    assert_eq!(kernels.len(), NAMES.len(), "every kernel had its turn: {kernels:?}");
}

#[test]
fn the_kernels_compile_for_gpus_without_spills() {
    let cache = std::env::var("TIDEMILL_CACHE")
        .map(PathBuf::from)
        .or_else(|_| std::env::var("HOME").map(|home| Path::new(&home).join(".cache/tidemill")));
    let Some(directory) = cache.ok().map(|cache| cache.join("services/cuda-12.9")).filter(|path| path.is_dir()) else {
        return println!("skipped: NVRTC is not there; deploy/testenv/cuda.sh fetches it");
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/testenv/nvrtc.py");
    for architecture in ["80", "90"] {
        let output = Command::new("python3")
            .arg(&script)
            .arg(&directory)
            .arg(source().join("kernels.cu"))
            .arg(architecture)
            .args(KERNEL_OPTIONS)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        for name in NAMES {
            let about = said.split(&format!("Compiling entry function '{name}' ")).nth(1).expect(&said);
            assert!(
                about.contains(" 0 bytes spill stores, 0 bytes spill loads"),
                "{name} for sm_{architecture}: {about}"
            );
            let used = about.split("Used ").nth(1).and_then(|rest| rest.split(' ').next()).expect(about);
            println!("sm_{architecture} {name}: {used} registers");
        }
    }
}

#[test]
fn without_a_gpu_auto_is_the_cpu_and_a_number_an_error() {
    assert!(Gpu::choose(DeviceChoice::Cpu, u64::MAX).unwrap().is_none());
    assert!(Gpu::choose(DeviceChoice::Auto, 1000).unwrap().is_none(), "too little work to start one");
    if Gpu::open(0).is_ok() {
        return println!("skipped: there is a GPU here");
    }
    assert!(Gpu::choose(DeviceChoice::Auto, u64::MAX).unwrap().is_none());
    let error = Gpu::choose(DeviceChoice::Cuda(0), 1).unwrap_err().to_string();
    assert!(error.contains("libcuda") || error.contains("libnvrtc") || error.contains("device"), "{error}");
}
