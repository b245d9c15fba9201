#!/usr/bin/env bash
# The mailbox beside other actor libraries. Peers written in Rust are a crate of their own, so that they are no dependency
# of ours.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cargo bench --locked --bench mailbox
cargo run --release --locked -p tidemill-peers
