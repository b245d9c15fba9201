"""Random backtests with vectorbt's answers, one JSON object a line: a request as tidemill takes it, and what is expected.

    python accuracy.py OUT.ndjson [--cases 3000] [--seed 7]

Every column of one simulation has its own configuration, so that thousands take seconds. Some simulations are of groups of
columns that share an account and a configuration: such a case has `assets` and a `sequence`.
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
SEQUENCES = {"given": "default", "reversed": "reversed", "auto": "auto"}
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


def expected(portfolio, groups):
    """Orders, values and metrics of every group of columns; the orders column by column."""
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
    metrics = {name: np.atleast_1d(np.asarray(values, dtype=float)) for name, values in metrics.items()}
    values = portfolio.value().values.reshape(-1, len(groups))
    answers = []
    for index, columns in enumerate(groups):
        mine = pd.concat([orders[orders["col"] == number] for number in columns])
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


def request(case, signals):
    """The request of a case, as tidemill takes it, without its prices."""
    hidden = {"four"}
    body = {name: value for name, value in case.items() if value is not None and name not in hidden}
    body["signals"] = signals
    body["compat"] = "vectorbt"
    body["return"] = ["metrics", "equity", "orders"]
    return body


def bars_of(prices):
    return dict(zip(("open", "high", "low", "close"), map(column, prices)))


def marked(marks, index, four):
    """The signals of one column, as tidemill takes them."""
    names = ("entries", "exits", "short_entries", "short_exits")
    return {name: mark[:, index].tolist() for name, mark in zip(names, marks[: 4 if four else 2])}


def simulate(cases, prices, marks, **more):
    """vectorbt's portfolio of columns that all have four signals, or all two."""
    table = lambda which: np.array([columns[which] for columns in prices]).T
    each = lambda name, names: np.array([[names.index(case[name]) for case in cases]])
    stop = lambda name: np.array([[case.get(name) or np.nan for case in cases]])
    keywords = arguments(cases)
    entries, exits, short_entries, short_exits = marks
    if cases[0]["four"]:
        del keywords["direction"]
        keywords.update(short_entries=short_entries, short_exits=short_exits)
    return vbt.Portfolio.from_signals(
        pd.DataFrame(table(3)),
        entries,
        exits,
        open=table(0),
        high=table(1),
        low=table(2),
        size=np.array([[case.get("size") or np.inf for case in cases]]),
        accumulate=each("accumulate", ACCUMULATION),
        upon_long_conflict=each("upon_long_conflict", CONFLICTS),
        upon_short_conflict=each("upon_short_conflict", CONFLICTS),
        upon_dir_conflict=each("upon_dir_conflict", SIDE_CONFLICTS),
        upon_opposite_entry=each("upon_opposite_entry", OPPOSITE),
        sl_stop=stop("sl_stop"),
        sl_trail=np.array([[case.get("sl_trail", False) for case in cases]]),
        tp_stop=stop("tp_stop"),
        stop_entry_price=np.array([[STOP_ENTRY[case["stop_entry_price"]] for case in cases]]),
        stop_exit_price=np.array([[STOP_EXIT[case["stop_exit_price"]] for case in cases]]),
        upon_stop_exit=each("upon_stop_exit", STOP_MODE),
        freq="1d",
        **{**keywords, **more},
    )


def drawn(random, count):
    """Bars and signals of so many columns."""
    bars = int(random.integers(2, 120))
    gaps = float(pick(random, [0, 0, 0.1]))
    prices = [walk(random, bars, gaps) for _ in range(count)]
    density = [float(random.uniform(0.02, 0.4)) for _ in range(count)]
    marks = [np.array([random.random(bars) < share for share in density]).T for _ in range(4)]
    return prices, marks


def signal_batch(random, count):
    cases = [signal_case(random) for _ in range(count)]
    prices, marks = drawn(random, count)
    for four in (False, True):
        chosen = [index for index in range(count) if cases[index]["four"] == four]
        if not chosen:
            continue
        portfolio = simulate(
            [cases[index] for index in chosen], [prices[index] for index in chosen], [mark[:, chosen] for mark in marks]
        )
        for index, answer in zip(chosen, expected(portfolio, [[place] for place in range(len(chosen))])):
            body = request(cases[index], marked(marks, index, four))
            body["prices"] = bars_of(prices[index])
            yield {"request": body, "expected": answer}


def group_batch(random, count):
    """Columns of a group have one configuration and one account."""
    sizes = [int(random.integers(2, 5)) for _ in range(count)]
    four = bool(random.random() < 0.25)
    of_groups = [{**signal_case(random), "four": four} for _ in sizes]
    for case in of_groups if four else []:
        case["direction"] = "long"
    numbers = np.repeat(np.arange(count), sizes)
    prices, marks = drawn(random, len(numbers))
    sequence = pick(random, list(SEQUENCES))
    portfolio = simulate(
        [of_groups[number] for number in numbers],
        prices,
        marks,
        init_cash=[case["init_cash"] for case in of_groups],
        group_by=numbers,
        cash_sharing=True,
        call_seq=SEQUENCES[sequence],
    )
    groups = [[int(column) for column in np.flatnonzero(numbers == number)] for number in range(count)]
    for columns, case, answer in zip(groups, of_groups, expected(portfolio, groups)):
        assets = [{"prices": bars_of(prices[index]), "signals": marked(marks, index, four)} for index in columns]
        yield {"request": request(case, "holding"), "assets": assets, "sequence": sequence, "expected": answer}


def order_batch(random, count):
    bars = int(random.integers(2, 120))
    cases = [order_case(random) for _ in range(count)]
    prices = [walk(random, bars, float(pick(random, [0, 0, 0.1]))) for _ in cases]
    size = np.array([sizes(random, bars, case["size_type"]) for case in cases]).T
    portfolio = vbt.Portfolio.from_orders(
        pd.DataFrame(np.array([columns[3] for columns in prices]).T), size, freq="1d", **arguments(cases)
    )
    for index, answer in enumerate(expected(portfolio, [[place] for place in range(count)])):
        body = request(cases[index], {"orders": {"size": column(size[:, index])}})
        body["prices"] = bars_of(prices[index])
        yield {"request": body, "expected": answer}


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
            batch = random.choice([signal_batch, order_batch, group_batch], p=[0.55, 0.25, 0.2])
            for case in batch(random, count):
                out.write(json.dumps(case) + "\n")
                written += 1
    print(f"{written} cases by vectorbt {vbt.__version__} in {options.out}")


if __name__ == "__main__":
    main()
