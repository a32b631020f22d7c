#!/bin/bash
# Put a backup back: ./restore.sh backups/database-….dump. What the server holds by then is replaced.
set -euo pipefail
dump=${1:?expected a dump: ./restore.sh backups/database-….dump}
dump=$(realpath "$dump")
cd "$(dirname "${BASH_SOURCE[0]}")"
docker compose stop server
docker compose up --detach --wait database storage
cp "$dump" backups/database.dump
docker compose run --rm restore-database
docker compose run --rm restore-artifacts
rm backups/database.dump
docker compose up --detach --wait server
