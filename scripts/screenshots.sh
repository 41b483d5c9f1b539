#!/usr/bin/env bash
# The pictures that README shows: `screenshots.sh FILM FOLDER`. A fleet of its own, a browser, two pages.
set -euo pipefail
cd "$(dirname "$0")/.."
film=$1 folder=$2
data=$(mktemp -d)
ready=$data/ready.json
target/debug/reelfleet up --data "$data/data" --listen 127.0.0.1:0 --ready-file "$ready" >"$data/up.log" 2>&1 &
fleet=$!
trap 'kill "$fleet" 2>/dev/null; wait "$fleet" 2>/dev/null || true; rm -rf "$data"' EXIT
for _ in $(seq 300); do
    [ -e "$ready" ] && break
    kill -0 "$fleet" 2>/dev/null || { cat "$data/up.log" >&2; exit 1; }
    sleep 0.2
done
gateway=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["gateway"])' "$ready")
mkdir -p "$folder"
node tests/browser/screenshots.mjs "$gateway" "$film" "$folder"
