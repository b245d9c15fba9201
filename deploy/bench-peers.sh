#!/usr/bin/env bash
# Benchmarks beside peers on this machine, each part a script in deploy/bench-peers/. PEERS names the parts to run, all of
# them by default: `make bench-peers PEERS="graph mailbox"`. Each installs its peers beside the build, announced.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

known=$(cd deploy/bench-peers && ls -- *.sh)
for part in ${PEERS:-${known//.sh/}}; do
    if [ ! -x "deploy/bench-peers/$part.sh" ]; then
        echo "bench-peers: no part '$part'; there are:" ${known//.sh/} >&2
        exit 2
    fi
    echo "bench-peers: $part" >&2
    "deploy/bench-peers/$part.sh"
done
