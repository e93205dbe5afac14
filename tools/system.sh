#!/bin/sh
# System tests: pytest drives the real program (./smelt, or $SMELT_PROGRAM). Arguments go to pytest: file
# names or -k EXPRESSION. Node's packages are installed on first use.
set -eu
cd "$(dirname "$0")/../tests/system"
if ! cmp -s package-lock.json node_modules/.installed; then
    echo "installing npm packages for the tests"
    npm ci --no-progress --loglevel=error
    cp package-lock.json node_modules/.installed
fi
PYTHONDONTWRITEBYTECODE=1 exec /usr/bin/python3 -m pytest -q "$@"
