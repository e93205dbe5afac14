#!/bin/sh
# What a machine can check: both compilers without a warning, clang-tidy's bug finders, shellcheck, layers
# (no include from a layer above), function and file lengths. Needs: clang, clang-tidy, shellcheck.
set -u
cd "$(dirname "$0")/.." || exit 1
status=0
complain() { echo "tidy: $*"; status=1; }

make -s CC=clang V=dev all || complain "clang does not build it cleanly"
make -s CC=gcc V=release all || complain "gcc does not build it cleanly"

# layer -> what it may include
allowed() {
    case $1 in
    base) echo "base" ;;
    http) echo "base|http" ;;
    aws) echo "base|http|aws" ;;
    journal) echo "base|journal" ;;
    sqs) echo "base|http|aws|journal|sqs" ;;
    s3) echo "base|http|aws|s3" ;;
    engine) echo "base|engine" ;;
    job) echo "base|job" ;;
    worker) echo "base|http|aws|engine|job|worker" ;;
    gateway) echo "base|http|aws|job|gateway" ;;
    *) echo ".*" ;;
    esac
}
for layer in base http aws journal sqs s3 engine job worker gateway; do
    grep -nE '^#include "[a-z0-9]+/' src/$layer/*.[ch] 2>/dev/null |
        grep -vE "#include \"($(allowed $layer))/" && complain "src/$layer includes a layer above or beside it"
done
for file in $(git ls-files 'src/*.[ch]'); do
    lines=$(wc -l <"$file")
    [ "$lines" -le 900 ] || complain "$file has $lines lines: does it hold two nouns?"
    awk -v f="$file" '/^[a-z].*\)$/ { name = $0 } /^\{/ { start = NR }
        /^\}/ { if (start && NR - start > 90) { print "tidy: " f ":" start ": function of " NR - start " lines"; bad = 1 } start = 0 }
        END { exit bad }' "$file" || status=1
    LC_ALL=C.UTF-8 grep -nP '^.{111,}' "$file" /dev/null && complain "$file has lines of more than 110 columns"
done
if command -v clang-tidy >/dev/null; then
    flags=$(pkg-config --cflags libmicrohttpd libcurl libcrypto jansson libxml-2.0 lmdb libprotobuf-c)
    # shellcheck disable=SC2046,SC2086
    clang-tidy --quiet --warnings-as-errors='*' \
        --checks='-*,bugprone-infinite-loop,bugprone-sizeof-*,bugprone-suspicious-*,bugprone-string-*,clang-analyzer-core.*,clang-analyzer-unix.*' \
        $(git ls-files 'src/*.c') -- -std=c17 -D_GNU_SOURCE -Isrc -isystem build/gen \
        -isystem /usr/include/hdf5/serial $flags 2>/dev/null || complain "clang-tidy found something"
else
    echo "tidy: clang-tidy is not installed: skipped"
fi
if command -v shellcheck >/dev/null; then
    shellcheck -x tools/*.sh .ci/run || complain "shellcheck found something"
else
    echo "tidy: shellcheck is not installed: skipped"
fi
[ $status = 0 ] && echo "tidy: clean"
exit $status
