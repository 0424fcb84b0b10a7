#!/usr/bin/env bash
# Makes .venv with ltx-live and its tests in it; called by make when pyproject.toml or constraints.txt are newer.
set -euo pipefail
cd "$(dirname "$0")/.."

find_python() {
    for python in "${PYTHON:-}" python3.11 python3.12 python3 python; do
        if [ -n "$python" ] && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    echo "ltx-live: needs Python 3.11 or newer (3.11 and 3.12 have MIDI); install it, or set PYTHON=/path/to/python" >&2
    return 1
}

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null || bash tools/system-packages.sh python
    echo "making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi

echo "installing the packages of pyproject.toml into .venv, in the versions of constraints.txt"
if [ -n "${TORCH_INDEX:-}" ]; then
    echo "about to download: PyTorch from $TORCH_INDEX, and about 0.3 GB of other packages"
    .venv/bin/python -m pip install -q -c constraints.txt --index-url "$TORCH_INDEX" torch
elif [ "$(uname -s)" = Linux ]; then
    echo "about to download: PyTorch (with CUDA about 3 GB) and about 0.3 GB of other packages;" \
        "without a GPU, set TORCH_INDEX to the CPU index that pytorch.org names: 0.2 GB"
else
    echo "about to download: PyTorch and other packages, about 0.5 GB"
fi
.venv/bin/python -m pip install -q -c constraints.txt -e '.[test]'
