#!/usr/bin/env bash
# Thousands of random backtests beside vectorbt 1.2.0: every order, every bar's value and all metrics. vectorbt is
# installed beside the build, announced. TIDEMILL_CASES (3000) and TIDEMILL_SEED (7) choose the configurations.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}
cases="$target/vectorbt-cases.ndjson"

python=$(deploy/python-venv.sh vectorbt vectorbt vectorbt==1.2.0)
"$python" benches/peers/backtest/accuracy.py "$cases" \
    --cases "${TIDEMILL_CASES:-3000}" --seed "${TIDEMILL_SEED:-7}"
TIDEMILL_VECTORBT_CASES="$cases" cargo test --locked --test backtest differential -- --nocapture
