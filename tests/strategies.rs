//! `tidemill backtest` and `sweep` on files: the examples that come along, every form of bars, and what is wrong with
//! them. No daemon runs.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use parquet::data_type::{DoubleType, Int64Type};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::RowAccessor as _;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};

fn tidemill(arguments: &[&str], directory: &Path) -> Output {
    command(arguments, directory).output().unwrap()
}

fn command(arguments: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    let outside = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEMILL"));
    outside.for_each(|(name, _)| {
        command.env_remove(name);
    });
    // nobody listens there, whatever else runs on this machine
    command.env("TIDEMILL__HTTP__LISTEN", "127.0.0.1:1").env("TIDEMILL_DATA_DIR", directory.join("data"));
    command.args(arguments).current_dir(directory);
    command
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/strategies")
}

/// Runs a strategy file with these bars beside it; standard output as JSON, or what it complained of.
fn backtest(strategy: &str, bars: Option<(&str, &[u8])>) -> Result<Value, String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("strategy.toml");
    std::fs::write(&file, strategy).unwrap();
    if let Some((name, bytes)) = bars {
        std::fs::write(directory.path().join(name), bytes).unwrap();
    }
    let output = tidemill(&["backtest", "strategy.toml", "--json"], directory.path());
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).unwrap());
    }
    Err(String::from_utf8(output.stderr).unwrap())
}

#[test]
fn every_example_runs() {
    let directory = tempfile::tempdir().unwrap();
    let mut ran = 0;
    for entry in std::fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // the bars and documents of this one come from a running daemon
        if path.extension().is_none_or(|extension| extension != "toml")
            || name == "sentiment.toml"
            || name.contains("sweep")
        {
            continue;
        }
        let output = tidemill(&["backtest", path.to_str().unwrap(), "--json"], directory.path());
        assert!(output.status.success(), "{name}: {output:?}");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result["bars"], 756, "{name}");
        assert!(result["trades_count"].as_u64().unwrap() > 0, "{name} trades: {result}");
        let table = tidemill(&["backtest", path.to_str().unwrap(), "--svg", "equity.svg"], directory.path());
        assert!(std::fs::read_to_string(directory.path().join("equity.svg")).unwrap().contains("<polyline"), "{name}");
        assert!(String::from_utf8(table.stdout).unwrap().contains("sharpe_ratio"), "{name}");
        ran += 1;
    }
    assert!(ran >= 4, "only {ran} examples");
}

#[test]
fn example_sweep_writes_its_rows_in_both_formats() {
    let directory = tempfile::tempdir().unwrap();
    let sweep = examples().join("ma_sweep.toml");
    let run = |out: &str| {
        let output = tidemill(&["sweep", sweep.to_str().unwrap(), "--json", "--out", out], directory.path());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let result = run("rows.csv");
    assert_eq!((&result["tried"], result["rows"].as_array().unwrap().len()), (&json!(1128), 100));
    let text = std::fs::read_to_string(directory.path().join("rows.csv")).unwrap();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("fast,slow,total_return,"), "{text}");
    let best: Vec<f64> = lines.next().unwrap().split(',').map(|cell| cell.parse().unwrap_or(f64::NAN)).collect();
    assert_eq!(Some(best[0]), result["rows"][0]["fast"].as_f64());
    assert_eq!(Some(best[2].to_bits()), result["rows"][0]["total_return"].as_f64().map(f64::to_bits));
    assert_eq!(text.lines().count(), 101);
    run("rows.parquet");
    let reader = SerializedFileReader::new(File::open(directory.path().join("rows.parquet")).unwrap()).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows(), 100);
    let row = reader.get_row_iter(None).unwrap().next().unwrap().unwrap();
    assert_eq!(row.get_double(2).ok(), result["rows"][0]["total_return"].as_f64());
    let drawn = tidemill(&["sweep", sweep.to_str().unwrap(), "--svg", "map.svg"], directory.path());
    assert!(drawn.status.success(), "{drawn:?}");
    assert!(std::fs::read_to_string(directory.path().join("map.svg")).unwrap().starts_with("<svg"));
    let wrong = tidemill(&["sweep", sweep.to_str().unwrap(), "--out", "rows.xls"], directory.path());
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("xls"));
}

const HOLD: &str = "bars = \"bars.csv\"\nsignals = \"holding\"\n";

#[test]
fn bars_are_read_whatever_their_separator_and_names() {
    for bars in [
        "date,close\n2026-01-01,10\n2026-01-02,11\n",
        "\u{feff}Timestamp;Open;High;Low;Close;Volume\n1767225600;9;12;9;10;1\n1767312000;10;12;9;11;\n",
        "time\tprice\textra\n2026-01-01T00:00:00Z\t10\tx\n2026-01-02T00:00:00Z\t11\ty\n",
        "close\n10\n11\n",
    ] {
        let result = backtest(HOLD, Some(("bars.csv", bars.as_bytes()))).unwrap();
        assert_eq!((&result["bars"], &result["total_return"]), (&json!(2), &json!(0.1)), "{bars}: {result}");
    }
    let mapped = "bars = \"bars.csv\"\nsignals = \"holding\"\nsymbol = \"B\"\n\
        columns = { ts = \"t\", close = \"last\", symbol = \"name\" }\n";
    let long = "t,name,last\n2026-01-01,A,1\n2026-01-01,b,10\n2026-01-02,A,2\n2026-01-02,b,11\n";
    let result = backtest(mapped, Some(("bars.csv", long.as_bytes()))).unwrap();
    assert_eq!((&result["bars"], &result["final_value"]), (&json!(2), &json!(110.0)), "{result}");
}

#[test]
fn parquet_bars_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bars.parquet");
    let schema =
        "message bars { REQUIRED INT64 ts (TIMESTAMP_MICROS); OPTIONAL DOUBLE close; REQUIRED BYTE_ARRAY note; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(File::create(&path).unwrap(), schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let day = 86_400_000_000;
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[0, day, 2 * day], None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<DoubleType>().write_batch(&[10.0, 12.0], Some(&[1, 0, 1]), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let notes: Vec<parquet::data_type::ByteArray> = ["a", "b", "c"].map(Into::into).into();
    column.typed::<parquet::data_type::ByteArrayType>().write_batch(&notes, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let strategy = HOLD.replace("bars.csv", "bars.parquet");
    let result = backtest(&strategy, Some(("bars.parquet", &bytes))).unwrap();
    assert_eq!(
        (&result["bars"], &result["final_value"]),
        (&json!(3), &json!(120.0)),
        "a missing close is a gap: {result}"
    );
    let noted = format!("{strategy}columns = {{ close = \"note\" }}\n");
    let said = backtest(&noted, Some(("bars.parquet", &bytes))).unwrap_err();
    assert!(said.contains("row 1") && said.contains("note"), "{said}");
    let torn = backtest(&strategy, Some(("bars.parquet", &bytes[..bytes.len() / 2]))).unwrap_err();
    assert!(torn.contains("bars.parquet"), "{torn}");
}

#[test]
fn wrong_files_are_named_with_row_and_column() {
    let csv = |bars: &str| backtest(HOLD, Some(("bars.csv", bars.as_bytes()))).unwrap_err();
    for (bars, words) in [
        ("date,close\n2026-01-01,10\n2026-01-02,ten\n", &["bars.csv", "row 2", "close", "ten"][..]),
        ("date,close\n01/02/2026,10\n", &["row 1", "date", "01/02/2026"]),
        ("date,last\n2026-01-01,10\n", &["columns.close", "last"]),
        ("date,close\n2026-01-02,10\n2026-01-01,10\n", &["bars.csv", "prices.ts[1]"]),
        ("date,close\n2026-01-01,0\n", &["prices.close[0]"]),
        ("date,close\n2026-01-01,1e999\n", &["prices.close[0]"]),
        ("date,low,close\n2026-01-01,11,10\n", &["prices.low[0]"]),
        ("date,close\n2026-01-01,10,11\n", &["bars.csv"]),
        ("date,close\n", &["no bars"]),
        ("", &["bars.csv"]),
    ] {
        let said = csv(bars);
        assert!(words.iter().all(|word| said.contains(word)), "{bars:?}: {said}");
    }
    assert!(backtest(HOLD, None).unwrap_err().contains("bars.csv"), "a missing file");
    let strategy = |text: &str| backtest(text, Some(("bars.csv", b"close\n10\n11\n"))).unwrap_err();
    assert!(strategy(&format!("{HOLD}feez = 1\n")).contains("feez"));
    assert!(strategy(&format!("{HOLD}fees = 2\n")).contains("fees"));
    assert!(strategy("bars = \"bars.csv\"\n").contains("signals"));
    assert!(strategy("bars = \"bars.csv\"\nsignals = { strategy = \"luck\" }\n").contains("luck"));
    assert!(strategy("bars = 3\nsignals = \"holding\"\n").contains("bars"));
    assert!(strategy(&format!("{HOLD}columns = {{ clos = \"x\" }}\n")).contains("clos"));
    assert!(strategy("= 3").contains("strategy.toml"));
    assert!(strategy(&format!("{HOLD}prices = {{ close = [1, 2] }}\n")).contains("exclude"));
    let directory = tempfile::tempdir().unwrap();
    let output = tidemill(&["backtest", "absent.toml"], directory.path());
    assert_eq!(output.status.code(), Some(1));
    std::fs::write(directory.path().join("s.yaml"), "a: 1").unwrap();
    assert_eq!(tidemill(&["backtest", "s.yaml"], directory.path()).status.code(), Some(2));
}

#[test]
fn store_without_such_bars_says_so() {
    let said = backtest("symbol = \"NONE\"\ninterval = \"1d\"\nsignals = \"holding\"\n", None).unwrap_err();
    assert!(said.contains("no bars of NONE"), "{said}");
}

#[test]
fn a_sweep_that_was_killed_goes_on_from_its_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let bars = examples().join("prices.csv");
    let sweep = json!({"bars": bars, "signals": {"strategy": "ma_crossover"}, "device": "cpu", "keep": {"top": 5},
        "params": {"fast": {"range": [2, 201]}, "slow": {"range": [2, 201]}}});
    std::fs::write(directory.path().join("sweep.json"), sweep.to_string()).unwrap();
    let arguments = ["sweep", "sweep.json", "--json", "--checkpoint", "far.json"];
    let far = directory.path().join("far.json");
    let mut first = command(&arguments, directory.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !far.exists() && first.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let rows = |arguments: &[&str]| -> Value {
        let output = tidemill(arguments, directory.path());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["rows"].take()
    };
    let went_on = rows(&arguments);
    assert!(!far.exists(), "nothing is left to go on with");
    assert_eq!(went_on, rows(&arguments[..3]));

    std::fs::write(&far, r#"{"fingerprint": 1, "next": 2, "best": [], "spread": [0, 0, 0]}"#).unwrap();
    let foreign = tidemill(&arguments, directory.path());
    assert!(
        !foreign.status.success() && String::from_utf8_lossy(&foreign.stderr).contains("checkpoint"),
        "{foreign:?}"
    );
    std::fs::write(&far, "{").unwrap();
    let broken = tidemill(&arguments, directory.path());
    assert!(!broken.status.success() && String::from_utf8_lossy(&broken.stderr).contains("far.json"), "{broken:?}");
}

#[test]
fn a_walk_forward_tells_what_was_chosen_and_what_came_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let sweep = json!({"bars": examples().join("prices.csv"), "signals": {"strategy": "ma_crossover"}, "fees": 0.001,
        "params": {"fast": {"range": [2, 9]}, "slow": {"range": [10, 40, 5]}}});
    std::fs::write(directory.path().join("sweep.json"), sweep.to_string()).unwrap();
    let walk = |lengths: &str, more: &[&str]| {
        tidemill(&[&["sweep", "sweep.json", "--walk-forward", lengths], more].concat(), directory.path())
    };
    let output = walk("200,50", &["--json", "--svg", "equity.svg"]);
    assert!(output.status.success(), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let folds = said["folds"].as_array().unwrap();
    assert!(folds.len() > 1 && folds.iter().all(|fold| fold["params"]["slow"].as_f64() >= Some(10.0)), "{said}");
    assert!(folds.windows(2).all(|pair| pair[0]["test"][1].as_str() < pair[1]["test"][0].as_str()), "{said}");
    assert!(said["out_of_sample"]["metrics"]["total_return"].is_number(), "{said}");
    assert!(std::fs::read_to_string(directory.path().join("equity.svg")).unwrap().starts_with("<svg"));
    let anchored: Value = serde_json::from_slice(&walk("200,50", &["--json", "--anchored"]).stdout).unwrap();
    assert!(anchored["folds"].as_array().unwrap().iter().all(|fold| fold["train"][0] == folds[0]["train"][0]));

    let table = walk("200,50", &[]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("chosen on"), "{table:?}");
    assert_eq!(walk("200", &[]).status.code(), Some(2));
    let long = walk("100000,50", &[]);
    assert!(String::from_utf8_lossy(&long.stderr).contains("walk_forward.train"), "{long:?}");
}
