#!/bin/sh
# Heavy comparisons with PyTorch (Debian's python3-torch): every script tools/parity/check_*.py.
# Each prints "ok NAME …" lines and fails on the first difference over its limit.
set -eu
cd "$(dirname "$0")/.."
for script in tools/parity/check_*.py; do
    [ -e "$script" ] || { echo "no parity scripts" >&2; exit 1; }
    /usr/bin/python3 "$script"
done
