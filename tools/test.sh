#!/bin/bash
# All tests: units (release, then with sanitizers), the fuzz corpus, system tests. One line per step;
# the output of a failing step is shown. The last line counts what ran.
set -u
cd "$(dirname "$0")/.." || exit 1
logs=build/test-logs
mkdir -p "$logs"
jobs=-j$(nproc)
passed=0 failed=0

# step NAME COMMAND…: runs it, keeps its output, shows it when it fails
step() {
    local name=$1 start=$SECONDS log=$logs/${1// /-}.log
    shift
    if "$@" >"$log" 2>&1; then
        printf 'ok    %-34s %4d s\n' "$name" $((SECONDS - start))
        return 0
    fi
    printf 'FAIL  %-34s %4d s\n' "$name" $((SECONDS - start))
    tail -n 150 "$log"
    failed=$((failed + 1))
    return 1
}
# adds up "Tests=12," of prove, "12 passed" of pytest and "12 inputs replayed" in the log of a step
count() {
    local log=$logs/${1// /-}.log n
    n=$(grep -aoE 'Tests=[0-9]+|^[0-9]+ passed|[ ,][0-9]+ passed|[0-9]+ inputs replayed' "$log" |
        grep -oE '[0-9]+' | paste -sd+ - | bc 2>/dev/null || true)
    passed=$((passed + ${n:-0}))
}

step "build" make $jobs all || exit 1
step "units" make $jobs unit && count "units"
step "units with sanitizers" env ASAN_OPTIONS=detect_leaks=1 make $jobs V=asan unit &&
    count "units with sanitizers"
step "fuzz corpus with sanitizers" make $jobs V=asan fuzz-replay && count "fuzz corpus with sanitizers"
step "system tests" tools/system.sh && count "system tests"
step "shell scripts parse" sh -c 'for f in tools/*.sh; do bash -n "$f" || exit 1; done'
echo "logs: $logs"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
