#!/usr/bin/env bash
# Format, lints, types of the web app, the arrows of the design, licences and bans, alerts, shell. Part of `make test`.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --locked --workspace --all-targets --quiet --keep-going -- -D warnings
python3 scripts/house.py
scripts/web.sh types
promtool=.reelfleet/prometheus/usr/bin/promtool
[ -x "$promtool" ] || promtool=promtool
python3 scripts/monitoring.py "$promtool"
git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck
echo 'check: clean'
