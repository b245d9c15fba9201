#!/usr/bin/env bash
# Backtests beside vectorbt: the same bars and signals through both, in one run; then thousands of random configurations
# for their accuracy. Installs vectorbt in a virtual environment beside the build (about 500 MB), announced.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python=$(deploy/python-venv.sh vectorbt vectorbt vectorbt==1.2.0)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" benches/peers/backtest/speed.py prepare "$work"
TIDEMILL_BENCH_PEERS="$work" cargo bench --locked --bench backtest
"$python" benches/peers/backtest/speed.py compare "$work"
deploy/backtest-accuracy.sh
