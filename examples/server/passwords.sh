#!/bin/bash
# Write .env with a random password for each part of the server, once: ./passwords.sh [HOST:PORT by which people reach the server]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
if [ -e .env ]; then
    echo "error: .env is there already, and the server's parts keep the passwords that they began with" >&2
    exit 1
fi
umask 077
{
    for name in DATABASE_PASSWORD STORAGE_PASSWORD ADMIN_PASSWORD SESSION_KEY; do
        echo "$name=$(openssl rand -hex 24)"
    done
    echo "HOSTS=${1:+$1,}localhost:5000,127.0.0.1:5000"
    echo "ORIGINS=${1:+https://$1,http://$1,}http://localhost:5000"
    echo "LISTEN=127.0.0.1"
} > .env
echo "wrote .env: the password of admin is ADMIN_PASSWORD there"
