#!/usr/bin/env bash
# Prometheus and promtool for the tests: Debian's package. Quick and quiet when it is there; never fails.
set -euo pipefail

say() { echo "testenv: prometheus: $*" >&2; }

if command -v prometheus >/dev/null && command -v promtool >/dev/null; then exit 0; fi
"$(dirname "${BASH_SOURCE[0]}")/../debian-install.sh" "testenv: prometheus" prometheus || say "not available"
