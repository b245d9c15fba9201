#!/usr/bin/env bash
# python-venv.sh NAME MODULES PACKAGE...: a virtual environment beside the build that can import MODULES (by commas), made of
# the packages if it can't yet, announced. Prints the path of its interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

name=$1 modules=$2
shift 2
mkdir -p "${CARGO_TARGET_DIR:-target}"
venv="$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/$name-venv"
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -W ignore -c "import $modules" 2>/dev/null; then
    echo "python-venv: installing $* in a virtual environment (hundreds of MB)" >&2
    python3 -c 'import ensurepip' 2>/dev/null || deploy/debian-install.sh python-venv python3-venv
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$@" >&2
fi
echo "$venv/bin/python"
