#!/usr/bin/env bash
# The encoder beside sentence-transformers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=${CARGO_TARGET_DIR:-target}
texts="$target/bench-texts.txt"

python=$(deploy/python-venv.sh peers sentence_transformers torch sentence-transformers)
TIDEMILL_BENCH_DUMP="$texts" cargo bench --locked --bench encoder
"$python" benches/peers/encoder_peer.py "$texts"
