#!/usr/bin/env bash
# Checks licences, bans and sources of every dependency against deny.toml; installs cargo-deny if it is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! cargo deny --version >/dev/null 2>&1; then
    echo 'lint: cargo-deny is missing, installing it with cargo (minutes)' >&2
    cargo install cargo-deny --locked
fi
cargo deny --all-features check licenses bans sources
