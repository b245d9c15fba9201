#!/usr/bin/env bash
# Prometheus and promtool for the tests: Debian's package. Quick and quiet when it is there; never fails.
set -euo pipefail

say() { echo "testenv: prometheus: $*" >&2; }

if command -v prometheus >/dev/null && command -v promtool >/dev/null; then exit 0; fi
command -v apt-get >/dev/null || { say 'not available: this machine has no apt-get and no prometheus on PATH'; exit 0; }
sudo=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { say 'not available: apt-get needs root'; exit 0; }
    sudo=(sudo)
fi
say 'installing prometheus with apt-get'
# The package would start a server on port 9090; the tests start their own on free ports.
policy=/usr/sbin/policy-rc.d
made=
if [ ! -e "$policy" ]; then
    made=1
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
    "${sudo[@]}" chmod 755 "$policy"
fi
"${sudo[@]}" apt-get update -qq || true
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus >/dev/null \
    || say 'not available: apt-get could not install the package'
[ -z "$made" ] || "${sudo[@]}" rm -f "$policy"
