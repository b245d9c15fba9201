#!/usr/bin/env bash
# Generates the pages and the default file that come from the code, with the binary given.
set -euo pipefail

tidemill=$1
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Written beside and moved, so that a failure leaves the old page.
page() {
    local path=$1
    shift
    mkdir -p "$(dirname "$path")"
    "$tidemill" "$@" >"$path.new"
    mv "$path.new" "$path"
    echo "generated $path" >&2
}

page config/default.toml config defaults
page docs/configuration.md config docs
page docs/errors.md explain-error --markdown
