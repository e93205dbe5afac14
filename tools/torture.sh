#!/bin/bash
# The proof of durability in its long form (make torture SEEDS=… SECONDS=…): seeds of crashes against the model,
# a fault at every call of more workloads, damage with sanitizers, kill -9 and power losses of the real process,
# foreign bytes, the pool while store or network are away for a minute, and the deliberate bugs. Prints progress,
# each failing seed and how to rerun it; the last line is the summary. SEEDS: how many (20000). SECONDS: for the seeds, and for the real process (0: only as long as
# the seeds take; 60 s for the real process). BUGS=no leaves out the deliberate bugs, which take a while.
set -u
cd "$(dirname "$0")/.." || exit 1
seeds=${SEEDS:-20000} limit_s=${LIMIT_S:-0} first=${FIRST:-$(($(date +%s) % 1000000 * 1000))}
jobs=$(nproc) chunk=500 logs=$PWD/build/torture-logs
started=$SECONDS failures=0 seeds_done=0
mkdir -p "$logs"
say() { printf '%5d s  %s\n' $((SECONDS - started)) "$*"; }

# unit V PROGRAM: a unit test program, built
unit() {
    make -s "V=$1" "build/$1/unit/$2" >"$logs/build" 2>&1 || { cat "$logs/build"; exit 1; }
}
# failed HOW LOG: one failure, told
failed() {
    failures=$((failures + 1))
    say "FAIL  $(grep -aE '^(not ok|E  |FAILED)|Sanitizer' "$2" | head -n 3 | cut -c1-400)"
    say "      rerun: $1   (log: $2)"
}
# seeds_from V FIRST COUNT: goes on behind each seed that fails
seeds_from() {
    local v=$1 from=$2 end=$(($2 + $3)) log bad
    while [ "$from" -lt "$end" ]; do
        log=$logs/seeds-$v-$from
        if SMELT_ONLY=many_lives SMELT_SEED=$from SMELT_SEEDS=$((end - from)) CK_TIMEOUT_MULTIPLIER=60 \
            "build/$v/unit/test_queue_crash" >"$log" 2>&1; then
            rm -f "$log"
            return
        fi
        bad=$(grep -aoE 'seed [0-9]+' "$log" | head -n 1 | cut -d' ' -f2)
        echo "$v ${bad:-$from} $log" >>"$logs/bad"
        [ -n "$bad" ] || return
        from=$((bad + 1))
    done
}
# all_seeds V COUNT: in chunks, as many at a time as there are cores
all_seeds() {
    local v=$1 count=$2 at=0 begun=$SECONDS
    : >"$logs/bad"
    while [ "$at" -lt "$count" ] || { [ "$limit_s" -gt 0 ] && [ $((SECONDS - begun)) -lt "$limit_s" ]; }; do
        for _ in $(seq "$jobs"); do
            seeds_from "$v" $((first + at)) $chunk &
            at=$((at + chunk))
        done
        wait
        [ $((at / chunk / jobs % 8)) -ne 0 ] || say "$v: $at seeds, $(wc -l <"$logs/bad") failed"
    done
    seeds_done=$((seeds_done + at))
    while read -r bv seed log; do
        failed "SMELT_TRACE=1 SMELT_ONLY=many_lives SMELT_SEED=$seed SMELT_SEEDS=1 CK_FORK=no \
build/$bv/unit/test_queue_crash" "$log"
    done <"$logs/bad"
    say "$v: $at seeds from $first on"
}
# run NAME RERUN COMMAND…
run() {
    local name=$1 rerun=$2 log=$logs/${1// /-}
    shift 2
    if "$@" >"$log" 2>&1; then say "ok    $name"; else failed "$rerun" "$log"; fi
}

for u in test_queue_crash test_queue_damage test_queue_found test_journal; do
    unit release $u
    unit asan $u
done
say "seeds from $first on, $jobs at a time"
all_seeds release "$seeds"
all_seeds asan $((seeds / 20))
for seed in 101 202 303; do
    run "a fault at every call, workload $seed" \
        "SMELT_ONLY=every SMELT_SEED=$seed build/release/unit/test_queue_crash" \
        env CK_TIMEOUT_MULTIPLIER=60 SMELT_SEEDS=0 SMELT_SEED=$seed build/release/unit/test_queue_crash
done
for u in test_queue_damage test_queue_found test_journal; do
    run "$u with sanitizers" "build/asan/unit/$u" env CK_TIMEOUT_MULTIPLIER=60 build/asan/unit/$u
done
make -s all >"$logs/build" 2>&1 || { cat "$logs/build"; exit 1; }
run "the real process killed and without power" "SMELT_TORTURE_S=60 make system T=23-sqs-torture.py" \
    env SMELT_TORTURE_S=$((limit_s > 0 ? limit_s : 60)) tools/system.sh -rP 22-sqs-durability.py 23-sqs-torture.py
grep -aE 'kills, ' "$logs/the-real-process-killed-and-without-power" | sed 's/^/         /'
run "the pool, store and network away for a minute" "SMELT_OUTAGE_S=60 make system T='72-faults.py -k away'" \
    env SMELT_OUTAGE_S=60 SMELT_FAULT_JOBS=1000 tools/system.sh 72-faults.py -k "away or cut_off"
if command -v clang >/dev/null && make -s V=fuzz build/fuzz/fuzz/fuzz_journal >"$logs/build" 2>&1; then
    mkdir -p build/torture-corpus
    run "foreign bytes" "build/fuzz/fuzz/fuzz_journal FILE" build/fuzz/fuzz/fuzz_journal -max_total_time=60 \
        -artifact_prefix="$logs/" build/torture-corpus fuzz/corpus/journal
fi
if [ "${BUGS:-yes}" = yes ]; then
    run "deliberate bugs" "tools/bugs.sh" tools/bugs.sh
    sed 's/^/         /' "$logs/deliberate-bugs" | cut -c1-160
fi
say "torture: $seeds_done seeds, $failures failures"
[ "$failures" = 0 ]
