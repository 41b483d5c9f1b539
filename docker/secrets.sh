#!/bin/sh
# Makes docker/.env, which the compose file reads: secrets of this machine, kept if they are there.
set -eu
cd "$(dirname "$0")"
umask 077
[ -s .env ] && exit 0
for name in AWS_SECRET_ACCESS_KEY REELFLEET_PLAYBACK_SECRET REELFLEET_SESSION_SECRET REELFLEET_WEBHOOK_SECRET; do
    printf '%s=%s\n' "$name" "$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')"
done >.env.part
mv .env.part .env
