#!/usr/bin/env bash
# debian-install.sh WHO PACKAGE...: installs Debian packages, announced in WHO's name. Servers among them are not started: what
# needs one starts its own. Where it can't, one line says what to do, and it fails.
set -euo pipefail

who=$1
shift
say() { echo "$who: $*" >&2; }

command -v apt-get >/dev/null || { say "missing: $*; this machine has no apt-get, install what corresponds to them"; exit 1; }
sudo=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { say "missing: $*; run as root: apt-get install $*"; exit 1; }
    sudo=(sudo)
fi
say "installing with apt-get: $*"
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '"${sudo[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
    "${sudo[@]}" chmod 755 "$policy"
fi
# Lists that can't be renewed may still know the package.
"${sudo[@]}" apt-get update -qq || true
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 \
    || { say "apt-get could not install $*"; exit 1; }
