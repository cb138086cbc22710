#!/bin/bash
# Make the tables, and the changefeed unless one runs already: CREATE CHANGEFEED has no IF NOT EXISTS, and two feeds would send
# each change twice. changefeed.sh HOST:PORT, run in CockroachDB's image at every start.
set -euo pipefail
here=$(dirname "$0")
sql() { cockroach sql --insecure --host "$server" "$@"; }
server=$1

sql --file "$here/tables.sql"
alive=$(sql --format tsv --execute "SELECT count(*) FROM [SHOW CHANGEFEED JOBS] WHERE status IN ('pending', 'running', 'paused')" | tail -n 1)
if [ "$alive" = 0 ]; then
    sql --file "$here/changefeed.sql"
else
    echo "changefeeds that are there already: $alive"
fi
