#!/usr/bin/env bash
# Makes the secrets of deploy/compose.yaml: random, one file each, only where there is none yet.
set -euo pipefail
umask 077
cd "$(dirname "${BASH_SOURCE[0]}")"

mkdir -p secrets
for name in tidemill_token postgres_password postgres_reader_password redis_password qdrant_api_key grafana_password; do
    [ -s "secrets/$name" ] && continue
    od --address-radix=n --format=x1 --read-bytes=32 /dev/urandom | tr -d ' \n' >"secrets/$name"
    # Containers read them as users of their own; the directory keeps the other people of this machine out.
    chmod 644 "secrets/$name"
    echo "secrets: made deploy/compose/secrets/$name" >&2
done
chmod 700 secrets
