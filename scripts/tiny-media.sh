#!/usr/bin/env bash
# Makes small media of every kind for storms: `tiny-media.sh DIR`. What is there already stays.
set -euo pipefail
folder=${1:?usage: tiny-media.sh DIR}
mkdir -p "$folder"

# make NAME FFMPEG-ARGUMENT…
make() {
    local name=$1
    shift
    [ -s "$folder/$name" ] && return
    ffmpeg -hide_banner -loglevel error -nostdin -y "$@" "$folder/.part.$name"
    mv "$folder/.part.$name" "$folder/$name"
}

picture() { echo "testsrc2=size=$1:rate=$2:duration=$3"; }
tone() { echo "sine=frequency=$1:sample_rate=$2:duration=$3"; }
x264=(-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 25)

make a-tiny.mp4 -f lavfi -i "$(picture 128x72 25 2)" -f lavfi -i "$(tone 440 48000 2)" "${x264[@]}" -c:a aac -shortest
make b-silent.mp4 -f lavfi -i "$(picture 192x108 30 3)" "${x264[@]}" -movflags +faststart
make c-larger.mp4 -f lavfi -i "$(picture 320x180 25 4)" -f lavfi -i "$(tone 220 44100 4)" "${x264[@]}" -c:a aac -shortest
make d-tall.mkv -f lavfi -i "$(picture 90x160 24 3)" -f lavfi -i "$(tone 330 48000 3)" "${x264[@]}" -c:a libopus -shortest
make e-stream.ts -f lavfi -i "$(picture 160x90 25 2)" -f lavfi -i "$(tone 550 48000 2)" "${x264[@]}" -c:a mp2 -shortest
make f-sound.mp3 -f lavfi -i "$(tone 440 44100 5)" -c:a libmp3lame
make g-picture.jpg -f lavfi -i "$(picture 320x240 1 1)" -frames:v 1 -q:v 4
