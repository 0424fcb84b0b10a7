#!/usr/bin/env bash
# Installs the system libraries that pip cannot bring: system-packages.sh play|test|python
# As root with apt it just does it; on a terminal it prints the line and asks; otherwise it prints the line and goes on.
set -euo pipefail

play=(libportaudio2 libasound2-plugins libgl1 libgl1-mesa-dri libglx-mesa0 libegl1 libegl-mesa0
    libx11-6 libxext6 libxrandr2 libxinerama1 libxi6 libfontconfig1 libfreetype6 fonts-dejavu-core)
test=("${play[@]}" make xvfb xauth x11-apps x11-utils xdotool imagemagick ffmpeg
    xserver-xorg-core xserver-xorg-video-dummy x11-xserver-utils openbox
    pulseaudio pulseaudio-utils jackd2 jack-tools liblo-tools puredata-core pd-osc chromium)
python=(python3-venv)

case "${1:-}" in
    play) packages=("${play[@]}") ;;
    test) packages=("${test[@]}") ;;
    python) packages=("${python[@]}") ;;
    *) echo "usage: system-packages.sh play|test|python" >&2; exit 2 ;;
esac

install_with_apt() {
    local missing=() package
    for package in "${packages[@]}"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    local line="apt-get install -y --no-install-recommends ${missing[*]}"
    if [ "$(id -u)" = 0 ]; then
        echo "about to install system packages: $line"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -q && $line </dev/null
    elif [ -t 0 ] && [ -t 1 ] && command -v sudo >/dev/null; then
        echo "missing system packages; this installs them:"
        echo "  sudo $line"
        read -r -p "run it? [y/N] " answer
        [[ "$answer" != [yY]* ]] || { sudo apt-get update -q && sudo $line; }
    else
        echo "missing system packages; install them with: sudo apt-get update && sudo $line" >&2
    fi
}

suggest() {  # suggest LINE: for systems whose packages this script does not look into
    ldconfig -p 2>/dev/null | grep -q libportaudio.so.2 || echo "if something is missing, install it with: $1" >&2
}

if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
    install_with_apt
elif [ "$(uname -s)" = Darwin ]; then
    [ "$1" != test ] || echo "tests of other programs need: brew install ffmpeg liblo jack" >&2
elif command -v dnf >/dev/null; then
    suggest "sudo dnf install portaudio mesa-libGL mesa-libEGL mesa-dri-drivers alsa-plugins-pulseaudio dejavu-sans-fonts"
elif command -v pacman >/dev/null; then
    suggest "sudo pacman -S --needed portaudio mesa libglvnd alsa-plugins ttf-dejavu"
fi
