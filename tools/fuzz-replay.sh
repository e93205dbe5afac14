#!/bin/sh
# Replays the corpus of each fuzz target (fuzz/corpus/NAME/*) through the programs in the folder given.
set -eu
for program in "$1"/fuzz_*; do
    if [ ! -x "$program" ] || [ -d "$program" ]; then continue; fi
    case $program in *.d|*.o) continue ;; esac
    name=$(basename "$program")
    corpus=fuzz/corpus/${name#fuzz_}
    [ -d "$corpus" ] || { echo "$name has no corpus in $corpus" >&2; exit 1; }
    printf '%s: ' "$name"
    "$program" "$corpus"/*
done
