#!/usr/bin/env bash
# Makes the release archive: dist/tidemill-VERSION-SYSTEM-MACHINE.tar.gz and its SHA-256.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
name="tidemill-$version-$(uname -s | tr '[:upper:]' '[:lower:]')-$(uname -m)"
target=${CARGO_TARGET_DIR:-target}

cargo build --release --locked --bin tidemill
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage/$name" dist
cp "$target/release/tidemill" "$stage/$name/"
strip --strip-debug "$stage/$name/tidemill"
cp -r config deploy grafana docs README.md CHANGELOG.md LICENSE "$stage/$name/"
# The same files give the same archive.
tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}" \
    --directory "$stage" "$name" | gzip --no-name >"dist/$name.tar.gz"
(cd dist && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "dist/$name.tar.gz"
