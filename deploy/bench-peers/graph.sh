#!/usr/bin/env bash
# Graph learning beside PecanPy (walks) and gensim (training), on graphs that Python packages hold. All learn from the same
# edges and are judged by the same code. About 20 minutes on two cores, nearly all of them gensim's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=${CARGO_TARGET_DIR:-target}
work="$target/bench-graphs"

python=$(deploy/python-venv.sh graph-peers gensim,pecanpy pecanpy==2.0.9 gensim==4.4.0)
mkdir -p "$work"
if [ ! -e "$work"/networkx-2.8.8.tar.gz ]; then
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: --dest "$work" 'networkx==2.8.8'
fi
if ! compgen -G "$work/pycleora-3.2.1-*.whl" >/dev/null; then
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" 'pycleora==3.2.1'
fi
rm -rf "$work/graphs" "$work/jobs"
"$python" benches/peers/graph/graphs.py "$work"/networkx-2.8.8.tar.gz "$work"/pycleora-3.2.1-*.whl "$work/graphs"
cargo bench --locked --bench graph -- split "$work/graphs" "$work/jobs"
"$python" benches/peers/graph/pecanpy_gensim.py "$work/jobs" | tee "$work/jobs/seconds.jsonl" >&2
cargo bench --locked --bench graph -- score "$work/graphs" "$work/jobs"
