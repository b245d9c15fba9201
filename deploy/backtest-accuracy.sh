#!/usr/bin/env bash
# Thousands of random backtests beside vectorbt 1.2.0: every order, every bar's value and all metrics. vectorbt is
# installed beside the build, announced. TIDEMILL_CASES (3000) and TIDEMILL_SEED (7) choose the configurations.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}
venv="$target/vectorbt-venv"
cases="$target/vectorbt-cases.ndjson"

if ! "$venv/bin/python" -c 'import vectorbt' 2>/dev/null; then
    echo 'backtest-accuracy: installing vectorbt 1.2.0 in a virtual environment (about 500 MB)' >&2
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check vectorbt==1.2.0
fi
"$venv/bin/python" benches/peers/backtest/accuracy.py "$cases" \
    --cases "${TIDEMILL_CASES:-3000}" --seed "${TIDEMILL_SEED:-7}"
TIDEMILL_VECTORBT_CASES="$cases" cargo test --locked --test backtest differential -- --nocapture
