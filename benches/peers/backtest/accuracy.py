"""Random backtests with vectorbt's answers, one JSON object a line: a request as tidemill takes it, and what is expected.

    python accuracy.py OUT.ndjson [--cases 3000] [--seed 7]

Every column of one simulation has its own configuration, so that thousands take seconds.
"""

import argparse
import json
import math
import warnings

import numpy as np
import pandas as pd
import vectorbt as vbt

warnings.filterwarnings("ignore")
vbt.settings.array_wrapper["freq"] = "1d"
vbt.settings.caching["enabled"] = False

SIZE_TYPES = ["amount", "value", "percent", "target_amount", "target_value", "target_percent"]
DIRECTIONS = ["long", "short", "both"]
CONFLICTS = ["ignore", "entry", "exit", "adjacent", "opposite"]
SIDE_CONFLICTS = ["ignore", "long", "short", "adjacent", "opposite"]
OPPOSITE = ["ignore", "close", "close_reduce", "reverse", "reverse_reduce"]
ACCUMULATION = ["disabled", "both", "add_only", "remove_only"]
# vectorbt's numbers of these; 0 (the valuation price) is not offered, it is the order's price here.
STOP_ENTRY = {"price": 1, "fill_price": 2, "close": 3}
STOP_EXIT = {"stop_limit": 0, "stop_market": 1, "close": 3}
STOP_MODE = ["close", "close_reduce", "reverse", "reverse_reduce"]


def plain(value):
    """A number as JSON holds it: null for NaN, text for infinities."""
    value = float(value)
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def column(values):
    return [plain(value) for value in values]


def walk(random, bars, gaps):
    """Open, high, low and close of a random walk; whole bars are missing where there are gaps."""
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.02, bars)))
    open_ = np.concatenate([[close[0]], close[:-1]]) * np.exp(random.normal(0, 0.01, bars))
    high = np.maximum(open_, close) * np.exp(np.abs(random.normal(0, 0.01, bars)))
    low = np.minimum(open_, close) * np.exp(-np.abs(random.normal(0, 0.01, bars)))
    if random.random() < 0.3:
        # Round prices meet stops and each other exactly.
        open_, high, low, close = (np.maximum(np.round(x), 1) for x in (open_, high, low, close))
    missing = random.random(bars) < gaps
    missing[random.integers(bars)] = False
    for prices in (open_, high, low, close):
        prices[missing] = np.nan
    return open_, high, low, close


def pick(random, choices):
    return choices[int(random.integers(len(choices)))]


def common(random):
    """What signals and orders both have."""
    maybe = lambda share, value: value if random.random() < share else None
    return {
        "init_cash": float(pick(random, [50, 100, 1000, 12345.67])),
        "fees": float(pick(random, [0, 0, 0.001, 0.0025, 0.02])),
        "fixed_fees": float(pick(random, [0, 0, 0, 0.5, 3])),
        "slippage": float(pick(random, [0, 0, 0.0005, 0.01])),
        "min_size": float(pick(random, [1e-8, 1e-8, 0.01, 0.5])),
        "max_size": maybe(0.2, float(random.uniform(0.2, 20))),
        "size_granularity": maybe(0.2, float(pick(random, [0.001, 0.1, 1]))),
        "allow_partial": bool(random.random() < 0.9),
        "lock_cash": bool(random.random() < 0.15),
    }


def signal_case(random):
    case = common(random)
    size_type = pick(random, SIZE_TYPES[:3])
    four = random.random() < 0.25
    case.update(
        direction="long" if four else pick(random, DIRECTIONS),
        size_type=size_type,
        accumulate=pick(random, ACCUMULATION) if random.random() < 0.4 else "disabled",
        upon_long_conflict=pick(random, CONFLICTS),
        upon_short_conflict=pick(random, CONFLICTS),
        upon_dir_conflict=pick(random, SIDE_CONFLICTS),
        upon_opposite_entry=pick(random, OPPOSITE),
        stop_entry_price=pick(random, list(STOP_ENTRY)),
        stop_exit_price=pick(random, list(STOP_EXIT)),
        upon_stop_exit=pick(random, STOP_MODE),
    )
    if random.random() < 0.5:
        case["sl_stop"] = float(random.uniform(0.005, 0.15))
        case["sl_trail"] = bool(random.random() < 0.5)
    if random.random() < 0.4:
        case["tp_stop"] = float(random.uniform(0.005, 0.2))
    if size_type == "percent":
        # vectorbt refuses to turn a position round by a percentage.
        case["size"] = float(random.uniform(0.05, 1))
        case["upon_opposite_entry"] = pick(random, OPPOSITE[:3])
        case["upon_stop_exit"] = pick(random, STOP_MODE[:2])
    elif random.random() < 0.5:
        case["size"] = float(random.uniform(0.1, 10) if size_type == "amount" else random.uniform(5, 400))
    else:
        case["size_type"] = "amount"
    case["four"] = four
    return case


def order_case(random):
    case = common(random)
    case.update(direction=pick(random, DIRECTIONS), size_type=pick(random, SIZE_TYPES))
    return case


def sizes(random, bars, size_type):
    scale = {"amount": 3, "value": 100, "percent": 1, "target_amount": 3, "target_value": 100, "target_percent": 1}
    size = random.uniform(-1, 1, bars) * scale[size_type]
    if size_type == "amount":
        size[random.random(bars) < 0.1] = np.inf
        size[random.random(bars) < 0.1] = -np.inf
    size[random.random(bars) < 0.6] = np.nan
    return size


def arguments(cases):
    """One row of arguments, a value a column."""
    each = lambda name, default: [default if case.get(name) is None else case[name] for case in cases]
    return dict(
        init_cash=each("init_cash", 100.0),
        fees=np.array([each("fees", 0.0)]),
        fixed_fees=np.array([each("fixed_fees", 0.0)]),
        slippage=np.array([each("slippage", 0.0)]),
        min_size=np.array([each("min_size", 1e-8)]),
        max_size=np.array([each("max_size", np.inf)]),
        size_granularity=np.array([each("size_granularity", np.nan)]),
        allow_partial=np.array([each("allow_partial", True)]),
        lock_cash=np.array([each("lock_cash", False)]),
        direction=np.array([[DIRECTIONS.index(case["direction"]) for case in cases]]),
        size_type=np.array([[SIZE_TYPES.index(case["size_type"]) for case in cases]]),
    )


def expected(portfolio, count):
    """Orders, values and metrics of every column."""
    orders = portfolio.orders.records
    closed = portfolio.trades.closed
    metrics = {
        "total_return": portfolio.total_return(),
        "final_value": portfolio.final_value(),
        "annualized_return": portfolio.annualized_return(),
        "annualized_volatility": portfolio.annualized_volatility(),
        "sharpe_ratio": portfolio.sharpe_ratio(),
        "sortino_ratio": portfolio.sortino_ratio(),
        "calmar_ratio": portfolio.calmar_ratio(),
        "omega_ratio": portfolio.omega_ratio(),
        "max_drawdown": portfolio.max_drawdown(),
        "downside_risk": portfolio.downside_risk(),
        "value_at_risk": portfolio.value_at_risk(),
        "cond_value_at_risk": portfolio.cond_value_at_risk(),
        "tail_ratio": portfolio.tail_ratio(),
        "information_ratio": portfolio.information_ratio(),
        "alpha": portfolio.alpha(),
        "beta": portfolio.beta(),
        "benchmark_return": portfolio.total_benchmark_return(),
        "max_gross_exposure": portfolio.gross_exposure().max(),
        "total_fees_paid": portfolio.orders.fees.sum(),
        "trades_count": portfolio.trades.count(),
        "closed_trades_count": closed.count(),
        "win_rate": closed.win_rate(),
        "profit_factor": closed.profit_factor(),
        "expectancy": closed.expectancy(),
        "sqn": closed.sqn(),
        "best_trade": closed.returns.max(),
        "worst_trade": closed.returns.min(),
    }
    metrics = {name: np.asarray(values, dtype=float) for name, values in metrics.items()}
    values = portfolio.value().values
    answers = []
    for index in range(count):
        mine = orders[orders["col"] == index]
        answers.append(
            {
                "orders": [
                    [int(order["idx"]), int(order["side"]), *column([order["size"], order["price"], order["fees"]])]
                    for _, order in mine.iterrows()
                ],
                "value": column(values[:, index]),
                "metrics": {name: plain(series[index]) for name, series in metrics.items()},
            }
        )
    return answers


def request(case, prices, signals):
    """The request of a case, as tidemill takes it."""
    hidden = {"four"}
    body = {name: value for name, value in case.items() if value is not None and name not in hidden}
    open_, high, low, close = prices
    body["prices"] = {"open": column(open_), "high": column(high), "low": column(low), "close": column(close)}
    body["signals"] = signals
    body["compat"] = "vectorbt"
    body["return"] = ["metrics", "equity", "orders"]
    return body


def signal_batch(random, count):
    bars = int(random.integers(2, 120))
    gaps = float(pick(random, [0, 0, 0.1]))
    cases = [signal_case(random) for _ in range(count)]
    prices = [walk(random, bars, gaps) for _ in cases]
    density = [float(random.uniform(0.02, 0.4)) for _ in cases]
    marks = lambda: np.array([random.random(bars) < share for share in density]).T
    entries, exits, short_entries, short_exits = marks(), marks(), marks(), marks()
    table = lambda which: np.array([columns[which] for columns in prices]).T
    each = lambda name, names: np.array([[names.index(case[name]) for case in cases]])
    stop = lambda name: np.array([[case.get(name) or np.nan for case in cases]])
    answers = [None] * count
    for four in (False, True):
        chosen = [index for index in range(count) if cases[index]["four"] == four]
        if not chosen:
            continue
        part = [cases[index] for index in chosen]
        keywords = arguments(part)
        if four:
            del keywords["direction"]
            keywords.update(short_entries=short_entries[:, chosen], short_exits=short_exits[:, chosen])
        portfolio = vbt.Portfolio.from_signals(
            pd.DataFrame(table(3)[:, chosen]),
            entries[:, chosen],
            exits[:, chosen],
            open=table(0)[:, chosen],
            high=table(1)[:, chosen],
            low=table(2)[:, chosen],
            size=np.array([[case.get("size") or np.inf for case in part]]),
            accumulate=each("accumulate", ACCUMULATION)[:, chosen],
            upon_long_conflict=each("upon_long_conflict", CONFLICTS)[:, chosen],
            upon_short_conflict=each("upon_short_conflict", CONFLICTS)[:, chosen],
            upon_dir_conflict=each("upon_dir_conflict", SIDE_CONFLICTS)[:, chosen],
            upon_opposite_entry=each("upon_opposite_entry", OPPOSITE)[:, chosen],
            sl_stop=stop("sl_stop")[:, chosen],
            sl_trail=np.array([[case.get("sl_trail", False) for case in part]]),
            tp_stop=stop("tp_stop")[:, chosen],
            stop_entry_price=np.array([[STOP_ENTRY[case["stop_entry_price"]] for case in part]]),
            stop_exit_price=np.array([[STOP_EXIT[case["stop_exit_price"]] for case in part]]),
            upon_stop_exit=each("upon_stop_exit", STOP_MODE)[:, chosen],
            freq="1d",
            **keywords,
        )
        for index, answer in zip(chosen, expected(portfolio, len(chosen))):
            answers[index] = answer
    for index, case in enumerate(cases):
        signals = {"entries": entries[:, index].tolist(), "exits": exits[:, index].tolist()}
        if case["four"]:
            signals.update(
                short_entries=short_entries[:, index].tolist(), short_exits=short_exits[:, index].tolist()
            )
        yield request(case, prices[index], signals), answers[index]


def order_batch(random, count):
    bars = int(random.integers(2, 120))
    cases = [order_case(random) for _ in range(count)]
    prices = [walk(random, bars, float(pick(random, [0, 0, 0.1]))) for _ in cases]
    size = np.array([sizes(random, bars, case["size_type"]) for case in cases]).T
    portfolio = vbt.Portfolio.from_orders(
        pd.DataFrame(np.array([columns[3] for columns in prices]).T), size, freq="1d", **arguments(cases)
    )
    for index, answer in enumerate(expected(portfolio, count)):
        signals = {"orders": {"size": column(size[:, index])}}
        yield request(cases[index], prices[index], signals), answer


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    written = 0
    with open(options.out, "w", encoding="utf-8") as out:
        while written < options.cases:
            count = min(60, options.cases - written)
            batch = signal_batch if random.random() < 0.75 else order_batch
            for body, answer in batch(random, count):
                out.write(json.dumps({"request": body, "expected": answer}) + "\n")
                written += 1
    print(f"{written} cases by vectorbt {vbt.__version__} in {options.out}")


if __name__ == "__main__":
    main()
