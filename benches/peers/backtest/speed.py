#!/usr/bin/env python3
"""Speed of backtests beside vectorbt, on the same bars and signals, in one run.

    speed.py prepare DIRECTORY     writes bars and signals
    speed.py compare DIRECTORY     runs vectorbt, compares its metrics with ours and prints the ratios

Between the two, `TIDEMILL_BENCH_PEERS=DIRECTORY cargo bench --bench backtest` does our side.
"""

import csv
import json
import os
import sys
import time
from itertools import combinations

import numpy as np

BARS = 10_000
COLUMNS = 1_000
WINDOWS = np.arange(2, 102)


def prepare(directory):
    random = np.random.default_rng(20261129)
    close = 100 * np.cumprod(1 + random.normal(0.0001, 0.01, BARS))
    close.astype("<f8").tofile(os.path.join(directory, "close.f64"))
    # One column after the other.
    for name in ("entries", "exits"):
        (random.random((COLUMNS, BARS)) < 0.05).astype("u1").tofile(os.path.join(directory, f"{name}.u8"))


def ours(directory, name):
    with open(os.path.join(directory, f"{name}.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    return {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}


def furthest(ours, theirs):
    """Largest difference, relative to the larger of both or to 1."""
    return max(
        float(np.nanmax(np.abs(ours[name] - values) / np.maximum(1, np.maximum(np.abs(ours[name]), np.abs(values)))))
        for name, values in theirs.items()
    )


def metrics(portfolio):
    return {
        "total_return": portfolio.total_return().to_numpy(),
        "sharpe_ratio": portfolio.sharpe_ratio().to_numpy(),
        "max_drawdown": portfolio.max_drawdown().to_numpy(),
    }


def crossovers(vbt, close, windows):
    fast, slow = vbt.MA.run_combs(close, windows, r=2, short_names=["fast", "slow"])
    portfolio = vbt.Portfolio.from_signals(
        close, fast.ma_crossed_above(slow), fast.ma_crossed_below(slow), fees=0.001, freq="1d"
    )
    return metrics(portfolio)


def columns(vbt, close, entries, exits):
    return metrics(vbt.Portfolio.from_signals(close, entries, exits, fees=0.001, freq="1d"))


def timed(work):
    """Seconds by the clock, of processors, and the result."""
    started, busy = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - started, time.process_time() - busy, result


def compare(directory):
    import pandas as pd
    import vectorbt as vbt

    read = lambda name, kind: np.fromfile(os.path.join(directory, name), dtype=kind)
    index = pd.date_range("2000-01-01", periods=BARS, freq="1D")
    close = pd.Series(read("close.f64", "<f8"), index=index)
    given = [
        pd.DataFrame(read(f"{name}.u8", "u1").reshape(COLUMNS, BARS).T.astype(bool), index=index)
        for name in ("entries", "exits")
    ]
    # The first run compiles.
    crossovers(vbt, close[:500], WINDOWS[:4])
    columns(vbt, close[:500], given[0].iloc[:500, :3], given[1].iloc[:500, :3])
    with open(os.path.join(directory, "times.json")) as file:
        times = json.load(file)
    print(f"vectorbt {vbt.__version__}")
    print("| work | vectorbt s (processor s) | tidemill s (processor s) | ratio (of processor s) | largest difference |")
    print("|---|---|---|---|---|")
    pairs = len(list(combinations(WINDOWS, 2)))
    for name, title, work in (
        ("crossovers", f"{pairs} crossovers x {BARS} bars", lambda: crossovers(vbt, close, WINDOWS)),
        ("columns", f"{COLUMNS} columns of signals x {BARS} bars", lambda: columns(vbt, close, *given)),
    ):
        wall, processor, theirs = timed(work)
        own = times[name]
        print(
            f"| {title} | {wall:.2f} ({processor:.2f}) | {own['wall']:.4f} ({own['processor']:.4f})"
            f" | {wall / own['wall']:.0f} ({processor / own['processor']:.0f})"
            f" | {furthest(ours(directory, name), theirs):.1e} |",
            flush=True,
        )


{"prepare": prepare, "compare": compare}[sys.argv[1]](sys.argv[2])
