#!/usr/bin/env bash
# Kafka to fingerprint to PostgreSQL beside Bytewax and Quix Streams: one broker, one server, one contender after the other.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python=$(deploy/python-venv.sh peers-streams bytewax,quixstreams,datasketch,psycopg \
    bytewax==0.21.1 quixstreams==3.28.1 datasketch 'psycopg[binary]')
deploy/testenv/kafka.sh
deploy/testenv/postgres.sh
TIDEMILL_BENCH_PEERS="$python" cargo bench --locked --bench streams
