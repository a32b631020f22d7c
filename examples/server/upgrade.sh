#!/bin/bash
# Move the server to the version of MLflow that compose.yaml names by now, after a backup.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
docker compose pull server
docker compose stop server
./backup.sh
docker compose run --rm upgrade-database
docker compose up --detach --wait server
