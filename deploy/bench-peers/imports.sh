#!/usr/bin/env bash
# Reading the imports of SymPy beside Grimp, which knows Python only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=${CARGO_TARGET_DIR:-target}
venv="$target/import-peers-venv"
work="$target/bench-imports"

if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import grimp' 2>/dev/null; then
    echo 'bench-peers: installing grimp in a virtual environment (about 30 MB)' >&2
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'grimp==3.20'
fi
if [ ! -d "$work/sympy/.git" ]; then
    mkdir -p "$work"
    "$venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$work" 'sympy==1.13.3'
    rm -rf "$work/sympy"
    mkdir "$work/sympy"
    "$venv/bin/python" -m zipfile -e "$work"/sympy-1.13.3-*.whl "$work/sympy"
    git -C "$work/sympy" init --quiet
    git -C "$work/sympy" add --all
    git -C "$work/sympy" -c user.name=bench -c user.email=bench@localhost commit --quiet --message 'As published'
fi
cargo bench --locked --bench graph -- read "$(realpath "$work/sympy")"
"$venv/bin/python" benches/peers/graph/grimp_imports.py "$work/sympy" sympy
