#!/usr/bin/env bash
# Gets the services that the tests start: calls the scripts that stand beside this one. What can't be had is said in one
# line and costs only the tests that need it, which then say that they were skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

for service in kafka postgres redis prometheus cuda; do
    [ -x "./$service.sh" ] || continue
    "./$service.sh" || echo "testenv: $service.sh failed; the tests that need $service will be skipped" >&2
done
