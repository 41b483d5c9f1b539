#!/usr/bin/env bash
# A throw-away PostgreSQL for tests.
#
#   tests/postgres.sh start DIR   makes a cluster, starts it, prints its postgres:// URL; DIR/cluster leads to it
#   tests/postgres.sh stop DIR    stops it and deletes it
#
# It listens on a Unix socket alone, never on the network, and does not sync to disk: it is for tests, and holds nothing
# that anybody would miss. PostgreSQL refuses to run as root; root starts it as the user `postgres`.
set -euo pipefail

usage() {
    echo "usage: $0 start|stop DIR" >&2
    exit 2
}

[ $# -eq 2 ] || usage
action=$1
dir=$(realpath -m "$2")

bin=$(command -v initdb || true)
if [ -n "$bin" ]; then
    bin=$(dirname "$(realpath "$bin")")
else
    for candidate in /usr/lib/postgresql/*/bin; do
        [ -x "$candidate/initdb" ] && bin=$candidate
    done
fi
if [ -z "$bin" ]; then
    echo "$0: PostgreSQL is not installed (Debian: apt-get install postgresql)" >&2
    exit 1
fi

server() {
    if [ "$(id -u)" -eq 0 ]; then
        (cd / && setpriv --reuid=postgres --regid=postgres --init-groups -- "$@")
    else
        "$@"
    fi
}

case $action in
start)
    mkdir -p "$dir"
    if [ -e "$dir/cluster" ]; then
        echo "$0: $dir has a cluster already" >&2
        exit 1
    fi
    # Not in DIR itself: the user postgres may not enter it, and the path of a socket must be short.
    cluster=$(mktemp -d /tmp/reelfleet-postgres.XXXXXX)
    ln -s "$cluster" "$dir/cluster"
    if [ "$(id -u)" -eq 0 ]; then
        chown postgres: "$cluster"
    fi
    server "$bin/initdb" -D "$cluster/data" --username=postgres --auth=trust --encoding=UTF8 --locale=C --no-sync \
        >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; exit 1; }
    server "$bin/pg_ctl" -D "$cluster/data" -l "$cluster/server.log" -w -t 60 start \
        -o "-c listen_addresses='' -c unix_socket_directories='$cluster' -c fsync=off" \
        >"$dir/start.log" 2>&1 || { cat "$dir/start.log" "$cluster/server.log" >&2; exit 1; }
    echo "postgres://postgres@/postgres?host=$cluster"
    ;;
stop)
    [ -L "$dir/cluster" ] || exit 0
    cluster=$(readlink "$dir/cluster")
    if [ -f "$cluster/data/postmaster.pid" ]; then
        server "$bin/pg_ctl" -D "$cluster/data" -m immediate -w stop >/dev/null
    fi
    rm -rf "$cluster" "$dir/cluster" "$dir/initdb.log" "$dir/start.log"
    ;;
*) usage ;;
esac
