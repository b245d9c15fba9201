#!/usr/bin/env bash
# Kafka to fingerprint to PostgreSQL beside Bytewax and Quix Streams: one broker, one server, one contender after the other.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

mkdir -p "${CARGO_TARGET_DIR:-target}"
venv="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/peers-streams-venv"
peers='import bytewax, quixstreams, datasketch, psycopg'

if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -W ignore -c "$peers" 2>/dev/null; then
    echo 'bench-peers: installing bytewax and quixstreams in a virtual environment (about 200 MB)' >&2
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check \
        bytewax==0.21.1 quixstreams==3.28.1 datasketch 'psycopg[binary]'
fi
deploy/testenv/kafka.sh
deploy/testenv/postgres.sh
TIDEMILL_BENCH_PEERS="$venv/bin/python" cargo bench --locked --bench streams
