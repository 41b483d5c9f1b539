#!/usr/bin/env bash
# The web app. `web.sh build` makes web/dist, if something in web/ is newer; `web.sh types` and `web.sh test` check it.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh web
state=$PWD/.reelfleet
# Where Debian's Node is too old for the build, setup has put one here.
[ -x "$state/node/bin/node" ] && PATH=$state/node/bin:$PATH
cd web

build() {
    if [ -e dist/index.html ] && [ -z "$(find . -path ./node_modules -prune -o -path ./dist -prune -o -type f -newer dist/index.html -print -quit)" ]; then
        return
    fi
    # Made beside and then put in place: a build that fails leaves what was there.
    rm -rf "$state/web-dist"
    npx --no-install vite build --logLevel warn --outDir "$state/web-dist" --emptyOutDir
    mkdir -p dist
    rm -rf dist/assets
    cp -r "$state/web-dist/." dist/
    touch dist/index.html
}

case "${1:-}" in
    build) build ;;
    types) npx --no-install tsc -p . ;;
    test) npx --no-install vitest run ;;
    *) echo 'usage: web.sh build|types|test' >&2; exit 1 ;;
esac
