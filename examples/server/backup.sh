#!/bin/bash
# Back up the running server into backups/: a dump of the database for each call, and one copy of all artifacts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p backups/artifacts
# The database first: what it names is in storage by then, so the copy holds it.
docker compose run --rm backup-database
docker compose run --rm backup-artifacts
dump=backups/database-$(date +%Y-%m-%d-%H%M%S).dump
mv backups/database.dump "$dump"
echo "$dump and backups/artifacts"
