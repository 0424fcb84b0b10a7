#!/usr/bin/env bash
# Makes docs/pocket.webp, the README's picture: six takes of the pocket model side by side. Needs ffmpeg.
set -euo pipefail
cd "$(dirname "$0")/.."
takes=$(mktemp -d)
trap 'rm -rf "$takes"' EXIT
number=0
while IFS= read -r prompt; do
    .venv/bin/ltx-live render --prompt "$prompt" --seconds 5 --seed 3 --out "$takes/$number.mp4" >/dev/null </dev/null
    number=$((number + 1))
done <<'PROMPTS'
a fast red tunnel with drums
slow blue waves, low drone
gold rings, slowly, with bells
a cyan grid with an arpeggio
green ribbons and a soft pad
pulsing white stripes with drums at 126 bpm
PROMPTS
inputs=()
for index in 0 1 2 3 4 5; do inputs+=(-i "$takes/$index.mp4"); done
ffmpeg -v error -y "${inputs[@]}" -filter_complex \
    "xstack=inputs=6:layout=0_0|w0_0|w0+w0_0|0_h0|w0_h0|w0+w0_h0,trim=1:5,setpts=PTS-STARTPTS,fps=12,scale=864:-2:flags=bicubic" \
    -an -loop 0 -c:v libwebp_anim -quality 80 -compression_level 6 docs/pocket.webp
ls -l docs/pocket.webp
