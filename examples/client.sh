#!/bin/bash
# Ask a served model for the emotions in one recording: examples/client.sh FILE [URL]
set -eo pipefail
url=${2:-http://127.0.0.1:5001}
printf '{"dataframe_records": [{"audio": "%s"}]}' "$(base64 < "$1" | tr -d '\n')" |
    curl --silent --show-error --fail-with-body --write-out '\n' "$url/invocations" \
        --header 'Content-Type: application/json' --data-binary @-
