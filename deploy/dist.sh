#!/usr/bin/env bash
# Makes the release archives in dist/, each with its SHA-256:
#
#   tidemill-VERSION-SYSTEM-MACHINE.tar.gz         binary, configuration, deploy, dashboards, docs
#   tidemill-VERSION-SYSTEM-MACHINE-debug.tar.gz   the binary's debug lines
#
# The binary keeps the names of functions, so that a backtrace says where it was; laid beside it, the file of the second
# archive adds files and lines. The same commit gives the same archives.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
name="tidemill-$version-$(uname -s | tr '[:upper:]' '[:lower:]')-$(uname -m)"
target=${CARGO_TARGET_DIR:-target}
time=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

say() { echo "dist: $*" >&2; }
megabytes() { echo "$(($(stat --format=%s "$1") / 1000000)) MB"; }
# archive FILE FROM ENTRY: the same files give the same archive.
archive() {
    tar --create --sort=name --owner=0 --group=0 --numeric-owner --mode=go-w --mtime="@$time" --directory "$2" "$3" \
        | gzip --no-name --best >"dist/$1"
    (cd dist && sha256sum "$1" >"$1.sha256")
    say "dist/$1 ($(megabytes "dist/$1"))"
}

cargo build --release --locked --bin tidemill
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage/main/$name" "$stage/debug/$name" dist
built=$target/release/tidemill
binary=$stage/main/$name/tidemill
debug=$stage/debug/$name/tidemill.debug

objcopy --only-keep-debug --compress-debug-sections=zlib "$built" "$debug"
chmod 644 "$debug"
cp "$built" "$binary"
strip --strip-debug "$binary"
(cd "$stage/debug/$name" && objcopy --add-gnu-debuglink=tidemill.debug "$binary")
say "binary $(megabytes "$built") with debug lines, $(megabytes "$binary") without, lines $(megabytes "$debug")"
"$binary" --version >&2

# What git has of them, so that neither secrets nor leftovers come along.
git ls-files -z config deploy grafana docs README.md CHANGELOG.md LICENSE migrations \
    | xargs --null cp --parents --target-directory "$stage/main/$name"
archive "$name.tar.gz" "$stage/main" "$name"
archive "$name-debug.tar.gz" "$stage/debug" "$name"
