#!/usr/bin/env bash
# Reading the imports of SymPy beside Grimp, which knows Python only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=${CARGO_TARGET_DIR:-target}
work="$target/bench-imports"

python=$(deploy/python-venv.sh import-peers grimp grimp==3.20)
if [ ! -d "$work/sympy/.git" ]; then
    mkdir -p "$work"
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" 'sympy==1.13.3'
    rm -rf "$work/sympy"
    mkdir "$work/sympy"
    "$python" -m zipfile -e "$work"/sympy-1.13.3-*.whl "$work/sympy"
    git -C "$work/sympy" init --quiet
    git -C "$work/sympy" add --all
    git -C "$work/sympy" -c user.name=bench -c user.email=bench@localhost commit --quiet --message 'As published'
fi
cargo bench --locked --bench graph -- read "$(realpath "$work/sympy")"
"$python" benches/peers/graph/grimp_imports.py "$work/sympy" sympy
