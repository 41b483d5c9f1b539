#!/usr/bin/env bash
# Everything that can be known of terraform/ without an account: `terraform.sh check`; the part that our own endpoint serves,
# applied for real: `terraform.sh apply`; both at once: `terraform.sh all`. They work on a copy: nothing is left in the tree.
#
# Needs terraform and the AWS provider as a filesystem mirror (TF_PLUGIN_DIR, or where one is found). Without them it says
# what was not checked, and ends with 0.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1 TF_INPUT=0
export AWS_ACCESS_KEY_ID=none AWS_SECRET_ACCESS_KEY=none AWS_EC2_METADATA_DISABLED=true
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL

skip() {
    printf '\n!! SKIPPED: terraform %s: %s\n\n' "$what" "$1" >&2
    exit 0
}

# The folder of a mirror: the one above registry.terraform.io.
mirror() {
    if [ -n "${TF_PLUGIN_DIR:-}" ]; then
        printf '%s\n' "$TF_PLUGIN_DIR"
        return
    fi
    local found
    for place in /opt /usr/share/terraform /usr/local/share/terraform "$HOME/.terraform.d"; do
        found=$(find "$place" -maxdepth 8 -name 'terraform-provider-aws*' -path '*/registry.terraform.io/*' 2>/dev/null | head -1)
        if [ -n "$found" ]; then
            printf '%s\n' "${found%%/registry.terraform.io/*}"
            return
        fi
    done
}

what=${1:-check}
command -v terraform >/dev/null || skip 'there is no terraform on this machine'
plugins=$(mirror)
[ -d "$plugins" ] || skip "no filesystem mirror with the AWS provider was found; TF_PLUGIN_DIR names one"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/terraform.rc" <<RC
provider_installation {
  filesystem_mirror {
    path    = "$plugins"
    include = ["*/*"]
  }
}
RC
export TF_CLI_CONFIG_FILE=$work/terraform.rc
tree=$work/tree
mkdir "$tree"
cp -r terraform schema "$tree"
for part in shared workers gateway cli; do ln -s "$root/$part" "$tree/$part"; done
rm -rf "$tree"/terraform/environments/*/.terraform "$tree"/terraform/environments/*/.terraform.lock.hcl

# tf ROOT ARGUMENTS…: an environment, or the module `fleet` by itself.
tf() {
    local place=environments/$1 data=$work/$1
    [ "$1" = fleet ] && place=modules/fleet
    shift
    (cd "$tree/terraform/$place" && TF_DATA_DIR=$data terraform "$@")
}

prepare() {
    tf "$1" init -backend=false -no-color >"$work/init.log" 2>&1 || { cat "$work/init.log"; exit 1; }
}

check() {
    terraform fmt -check -diff -recursive terraform
    for environment in small production local; do
        prepare "$environment"
        tf "$environment" validate -no-color >"$work/said" || { cat "$work/said"; exit 1; }
    done
    for environment in small production; do
        tf "$environment" test -json -verbose >"$work/$environment.json" || {
            grep -v '"type":"test_state"' "$work/$environment.json"
            exit 1
        }
        python3 scripts/terraform/policy.py "$work/$environment.json" "$tree"
    done
    # What can't work is refused.
    prepare fleet
    tf fleet test -no-color >"$work/said" || { cat "$work/said"; exit 1; }
    python3 scripts/terraform/mistakes.py "$tree" "$work"
    echo 'terraform: clean'
}

apply() {
    local bin=${REELFLEET_BIN:-$root/target/debug/reelfleet}
    local python=$root/.reelfleet/venv/bin/python
    [ -x "$bin" ] || { echo "terraform: $bin is missing: cargo build -p reelfleet-cli -p reelfleet-decoder" >&2; exit 1; }
    [ -x "$python" ] || python=python3
    prepare local
    TF_DATA_DIR=$work/local REELFLEET_BIN=$bin "$python" tests/terraform/applied.py "$tree/terraform/environments/local" "$work"
}

case "$what" in
    check) check ;;
    apply) apply ;;
    all)
        # An apply mostly waits: the provider looks whether what it made stays so. Each on its own: `||` would switch off -e.
        scripts/terraform.sh apply >"$work/applied" 2>&1 &
        applied=$!
        outcome=0
        scripts/terraform.sh check || outcome=1
        wait "$applied" || outcome=1
        cat "$work/applied"
        exit "$outcome"
        ;;
    *) echo 'usage: terraform.sh check|apply|all' >&2; exit 1 ;;
esac
