#!/usr/bin/env bash
# Backtests beside vectorbt: the same bars and signals through both, in one run; then thousands of random configurations
# for their accuracy. Installs vectorbt in a virtual environment beside the build (about 500 MB), announced.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=${CARGO_TARGET_DIR:-target}
venv="$target/vectorbt-venv"

if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import vectorbt' 2>/dev/null; then
    echo 'bench-peers: installing vectorbt in a virtual environment (about 500 MB)' >&2
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check vectorbt==1.2.0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$venv/bin/python" benches/peers/backtest/speed.py prepare "$work"
TIDEMILL_BENCH_PEERS="$work" cargo bench --locked --bench backtest
"$venv/bin/python" benches/peers/backtest/speed.py compare "$work"
deploy/backtest-accuracy.sh
