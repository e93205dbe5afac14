#!/bin/bash
# All tests: units (release, then with sanitizers), the fuzz corpus, system tests. One line per step;
# the output of a failing step is shown. The last line counts what ran: single tests, and a step that
# fails without naming any (it does not build, it was killed) as one.
set -u
cd "$(dirname "$0")/.." || exit 1
logs=build/test-logs
mkdir -p "$logs"
jobs=-j$(nproc)
passed=0 failed=0

# sum LOG PATTERN…: adds up the numbers in what matches, 0 if nothing does
sum() {
    grep -aoE "$2" "$1" | grep -oE '[0-9]+' | awk '{ n += $1 } END { print n + 0 }'
}
# What a log says of single tests. prove: "Failed 1/14 subtests" for each program with failures, at the
# end "Files=40, Tests=310". pytest's last line: "1 failed, 94 passed, 1 error in 177.81s". replay.c:
# "12 inputs replayed".
tests_failed() {
    local subtests summary
    subtests=$(sum "$1" '^Failed [0-9]+/')
    summary=$(grep -aE '(passed|failed|errors?)\b.* in [0-9.]+s' "$1" | tail -n 1 |
        grep -oE '[0-9]+ (failed|errors?)' | awk '{ n += $1 } END { print n + 0 }')
    echo $((subtests + summary))
}
tests_passed() {
    local subtests summary replayed
    subtests=$(($(sum "$1" '^Files=[0-9]+, Tests=[0-9]+') - $(sum "$1" '^Files=[0-9]+')))
    summary=$(grep -aE '(passed|failed|errors?)\b.* in [0-9.]+s' "$1" | tail -n 1 |
        grep -oE '[0-9]+ passed' | awk '{ n += $1 } END { print n + 0 }')
    replayed=$(sum "$1" '[0-9]+ inputs replayed')
    echo $((subtests - $(sum "$1" '^Failed [0-9]+/') + summary + replayed))
}

# step NAME COMMAND…: runs it, keeps its output, counts its tests, shows the log when it fails
step() {
    local name=$1 start=$SECONDS log=$logs/${1// /-}.log bad
    shift
    if "$@" >"$log" 2>&1; then
        printf 'ok    %-34s %4d s\n' "$name" $((SECONDS - start))
        passed=$((passed + $(tests_passed "$log")))
        return 0
    fi
    printf 'FAIL  %-34s %4d s   %s\n' "$name" $((SECONDS - start)) "$log"
    # which ones, then the end
    grep -aE '^(not ok|FAILED|ERROR) |^Failed [0-9]+/|Sanitizer: ' "$log" | cut -c1-200 | head -n 40
    echo "--- the end of $log"
    tail -n 100 "$log" | cut -c1-300
    bad=$(tests_failed "$log")
    passed=$((passed + $(tests_passed "$log")))
    failed=$((failed + (bad > 0 ? bad : 1)))
    return 1
}

step "build" make "$jobs" all || exit 1
step "units" make "$jobs" unit
step "units with sanitizers" env ASAN_OPTIONS=detect_leaks=1 make "$jobs" V=asan unit
step "fuzz corpus with sanitizers" make "$jobs" V=asan fuzz-replay
step "system tests" tools/system.sh
# shellcheck disable=SC2016
step "shell scripts parse" sh -c 'for f in tools/*.sh; do bash -n "$f" || exit 1; done'
echo "logs: $logs"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
