#!/usr/bin/env bash
# Makes the role that dashboards read with. PostgreSQL's image runs it once, when its volume is empty.
set -euo pipefail

psql --set=ON_ERROR_STOP=1 --set=password="$(cat "${READER_PASSWORD_FILE:-/run/secrets/postgres_reader_password}")" \
    --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<'SQL'
CREATE ROLE tidemill_reader LOGIN PASSWORD :'password' CONNECTION LIMIT 10;
ALTER ROLE tidemill_reader SET default_transaction_read_only = on;
ALTER ROLE tidemill_reader SET statement_timeout = '30s';
GRANT pg_read_all_data TO tidemill_reader;
SQL
