#!/usr/bin/env bash
# Every test within the budget of `make test`; `test.sh long` runs what takes longer.
set -euo pipefail
cd "$(dirname "$0")/.."
export REELFLEET_BIN=$PWD/target/debug/reelfleet
export REELFLEET_DECODER=$PWD/target/debug/reelfleet-decoder
state=$PWD/.reelfleet
pytest=$state/venv/bin/pytest
began=$SECONDS
step() { printf '\n== %s (%d s)\n' "$1" $((SECONDS - began)); }

step 'the web app'
scripts/web.sh build

step 'executables'
cargo build --locked --workspace --bins --examples

if [ "${1:-}" = long ]; then
    step 'long tests'
    cargo nextest run --locked --workspace --run-ignored only --no-capture
    exit
fi

# What mostly waits runs beside the rest: each into its own log, which is shown when its turn comes.
logs=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$logs"' EXIT
# told NAME PID: what it printed, and its end.
told() {
    local ended=0
    wait "$2" || ended=$?
    cat "$logs/$1"
    [ "$ended" = 0 ]
}
REELFLEET_LOCAL_BIN=$REELFLEET_BIN PATH=$state/venv/bin:$PATH \
    "$pytest" -q -p no:cacheprovider tests/conformance >"$logs/conformance" 2>&1 &
conformance=$!

step 'unit tests of the web app'
scripts/web.sh test

step 'unit tests, both database engines, the pipeline'
# All of them, whatever fails: one run tells everything.
cargo nextest run --locked --workspace --no-fail-fast --test-threads $(($(nproc) + 2))

scripts/terraform.sh all >"$logs/terraform" 2>&1 &
terraform=$!
scripts/image.sh >"$logs/image" 2>&1 &
image=$!

step 'conformance of the endpoint: boto3 and the aws CLI'
told conformance "$conformance"

step 'the same messaging checks on moto'
TARGET=moto PATH=$state/venv/bin:$PATH "$pytest" -q -p no:cacheprovider \
    tests/conformance/test_sqs.py tests/conformance/test_sns.py tests/conformance/test_events.py

step 'Terraform: policies, sown mistakes, and applied to our endpoint'
told terraform "$terraform"

step 'images'
told image "$image"

step 'done'
