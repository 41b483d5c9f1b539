#!/usr/bin/env bash
# The images, tried: built by buildah on a base made by mmdebstrap, looked into, run read-only and without root, and the
# compose file with them processes a video. Skipped, and said so, where the tools are missing.
#
# The stages that run are those of docker/Dockerfile; the executables are those of target/debug, since a release build from
# source takes long. So the stages `web` and `build` are not tried here.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
began=$SECONDS
say() { printf 'image: %s (%d s)\n' "$*" $((SECONDS - began)); }
skip() {
    printf '\n!! SKIPPED: images: %s\n\n' "$1" >&2
    exit 0
}

[ "$(id -u)" -eq 0 ] || skip 'mmdebstrap and podman are used as root here'
for tool in buildah podman podman-compose mmdebstrap runc; do
    command -v "$tool" >/dev/null || skip "there is no $tool: apt-get install buildah podman podman-compose mmdebstrap runc netavark aardvark-dns"
done
bin=${REELFLEET_BIN:-$root/target/debug/reelfleet}
decoder=${REELFLEET_DECODER:-$root/target/debug/reelfleet-decoder}

# Bases and layers are kept between runs; containers are not.
state=$root/.reelfleet/image
mkdir -p "$state"
work=$(mktemp -d)
# Hybrid cgroups and a hard limit of open files: both are met on small virtual machines.
cat >"$work/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
CONF
cat >"$work/storage.conf" <<CONF
[storage]
driver = "overlay"
graphroot = "$state/graph"
runroot = "$work/run"
CONF
export CONTAINERS_CONF=$work/containers.conf CONTAINERS_STORAGE_CONF=$work/storage.conf
export BUILDAH_ISOLATION=chroot
project=reelfleet-try-$$
end() {
    podman ps -aq --filter "label=io.podman.compose.project=$project" | xargs -r podman rm -f -t 2 >/dev/null 2>&1 || true
    podman volume rm -f "${project}_data" >/dev/null 2>&1 || true
    podman network rm -f "${project}_fleet" >/dev/null 2>&1 || true
    umount -R "$work/run" 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT

base=localhost/reelfleet-base:bookworm
if ! podman image exists "$base" || [ -n "$(find "$state/base.tar" -mtime +7 2>/dev/null)" ]; then
    say 'base'
    mmdebstrap --quiet --variant=minbase --mode=root --include=ca-certificates bookworm "$state/base.part.tar"
    mv "$state/base.part.tar" "$state/base.tar"
    podman import --quiet "$state/base.tar" "$base" >/dev/null
fi

# Everything below the line that says what runs, on executables that are there already.
mkdir -p "$work/context/out/usr/bin"
strip -o "$work/context/out/usr/bin/reelfleet" "$bin"
strip -o "$work/context/out/usr/bin/reelfleet-decoder" "$decoder"
cp Cargo.lock "$work/context"
{
    printf 'ARG DEBIAN\nFROM scratch AS build\nCOPY out /out\n'
    sed -n '/^# --- what runs/,$p' docker/Dockerfile
} >"$work/Dockerfile"
for target in fleet media; do
    say "build of $target"
    name=reelfleet
    [ "$target" = media ] && name=reelfleet-media
    buildah build --quiet --pull-never --layers --format docker --build-arg "DEBIAN=$base" --target "$target" \
        -f "$work/Dockerfile" -t "localhost/$name:try" "$work/context" >/dev/null
    say "$target has $(podman image inspect --format '{{.Size}}' "localhost/$name:try" | numfmt --to=si)B"
    # What is in it: SPDX, from Debian's own list and the lock files.
    python3 scripts/sbom.py "$name" <(podman run --rm --no-healthcheck --network=none --entrypoint /usr/bin/dpkg-query "localhost/$name:try" \
        -W -f '${Package}\t${Version}\t${Architecture}\n') Cargo.lock web/package-lock.json >"$state/$name.spdx.json"
done

say 'run: read-only, without root, network and shell'
hard=(--rm --no-healthcheck --read-only --cap-drop=ALL --security-opt=no-new-privileges --network=none)
podman run "${hard[@]}" localhost/reelfleet:try --version
user=$(podman image inspect --format '{{.Config.User}}' localhost/reelfleet:try)
[ "$user" = 10001:10001 ] || { echo "image: it runs as $user" >&2; exit 1; }
if podman run "${hard[@]}" --entrypoint /usr/bin/touch localhost/reelfleet:try /usr/written 2>/dev/null; then
    echo 'image: its root can be written to' >&2
    exit 1
fi

say 'compose'
# As a person makes them, but in a copy: the tree is left as it is.
cp -r docker "$work/docker"
rm -f "$work/docker/.env"
"$work/docker/secrets.sh"
set -a
# shellcheck source=/dev/null
. "$work/docker/.env"
set +a
export REELFLEET_IMAGE=localhost/reelfleet:try REELFLEET_MEDIA_IMAGE=localhost/reelfleet-media:try
free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
REELFLEET_PORT=$(free)
REELFLEET_S3_PORT=$(free)
export REELFLEET_PORT REELFLEET_S3_PORT
podman-compose -p "$project" -f "$work/docker/compose.yaml" up -d >"$work/compose.log" 2>&1 || { cat "$work/compose.log"; exit 1; }
python=$root/.reelfleet/venv/bin/python
[ -x "$python" ] || python=python3
if ! "$python" tests/image/composed.py "http://127.0.0.1:$REELFLEET_S3_PORT" "http://127.0.0.1:$REELFLEET_PORT" "$work"; then
    for container in $(podman ps -a --format '{{.Names}}' --filter "label=io.podman.compose.project=$project"); do
        printf '\n-- %s\n' "$container"
        podman logs --tail 15 "$container" 2>&1 || true
    done
    exit 1
fi
# A health check as the image has it: without systemd nobody else runs it. A worker that came before its queues were there has
# ended and comes again, perhaps just now.
healthy() {
    for _ in $(seq 30); do
        podman healthcheck run "$1" >/dev/null 2>&1 && return
        sleep 1
    done
    return 1
}
for container in $(podman ps --format '{{.Names}}' --filter "label=io.podman.compose.project=$project"); do
    healthy "$container" || {
        echo "image: $container is not healthy" >&2
        podman inspect --format '{{.State.Status}}, ended with {{.State.ExitCode}}, out of memory: {{.State.OOMKilled}}' "$container" >&2
        podman logs --tail 20 "$container" >&2
        exit 1
    }
done
say 'healthy'
transcoder=$(podman ps --format '{{.Names}}' --filter "label=io.podman.compose.project=$project" | grep transcoder | head -1)
jail=$(podman logs "$transcoder" 2>&1 | sed -n 's/.*"jail":"\([^"]*\)".*/\1/p' | head -1)
[ -n "$jail" ] || { echo 'image: no jail was closed' >&2; exit 1; }
say "the decoder's jail in a container: $jail"
podman-compose -p "$project" -f "$work/docker/compose.yaml" down -t 40 >"$work/compose.log" 2>&1 || { cat "$work/compose.log"; exit 1; }
# Layers of executables of before.
podman image prune --force >/dev/null
say 'done'
