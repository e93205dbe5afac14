#!/bin/sh
# Runs the unit test programs given, under prove.
set -eu
exec prove -j"$(nproc)" --exec '' "$@"
