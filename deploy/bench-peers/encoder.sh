#!/usr/bin/env bash
# The encoder beside sentence-transformers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=${CARGO_TARGET_DIR:-target}
venv="$target/peers-venv"
texts="$target/bench-texts.txt"

if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import sentence_transformers' 2>/dev/null; then
    echo 'bench-peers: installing torch and sentence-transformers in a virtual environment (about 1 GB)' >&2
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check torch sentence-transformers
fi
TIDEMILL_BENCH_DUMP="$texts" cargo bench --locked --bench encoder
"$venv/bin/python" benches/peers/encoder_peer.py "$texts"
