#!/bin/bash
# Are the tests of durability any good? Puts each deliberate bug (tests/bugs/NAME.patch) into a copy of the
# sources, builds it and runs the tests: at least one must fail. With names: only these. The last line
# counts. Rerun one with: tools/bugs.sh NAME
set -u
cd "$(dirname "$0")/.." || exit 1
units="test_journal test_queue test_fifo test_dedup test_queue_found test_queue_crash test_queue_damage"
tree=$PWD/build/bugs
logs=$PWD/build/bugs-logs
libs=
for layer in sqs journal aws http base; do libs="$libs build/dev/lib$layer.a"; done
names=${*:-$(cd tests/bugs && for f in *.patch; do echo "${f%.patch}"; done)}
mkdir -p "$tree" "$logs"
git ls-files -z src web tests/unit Makefile | tar --null -T - -cf - | tar -C "$tree" -xmf - || exit 1

build() { # of one unit test program, with the layers that it needs
    # shellcheck disable=SC2046,SC2086
    make -s -C "$tree" V=dev EXTRA_CFLAGS=-w LIBS="$libs" LINK="$libs" \
        $(printf 'build/dev/unit/%s ' $units) >"$1" 2>&1
}
# Runs the unit tests; prints those that fail, by program.
failing() {
    local u bad
    for u in $units; do
        (cd "$tree" && timeout 600 "build/dev/unit/$u") >"$1.$u" 2>&1
        bad=$(grep -aE '^not ok' "$1.$u" | cut -d: -f3 | paste -sd, - | sed 's/,/, /g')
        [ -z "$bad" ] || printf '%s: %s; ' "${u#test_}" "$bad"
    done
}
system_fails() { # PROGRAM ARGUMENTS…
    local program=$1
    shift
    # shellcheck disable=SC2048,SC2086
    ! SMELT_PROGRAM=$program tools/system.sh $* >"$logs/system" 2>&1 && grep -q ' failed' "$logs/system"
}

build "$logs/clean" || { cat "$logs/clean"; exit 1; }
bad=$(failing "$logs/clean")
[ -z "$bad" ] || { echo "the tests fail without any bug: $bad"; exit 1; }
caught=0 missed=0
for name in $names; do
    patch=tests/bugs/$name.patch log=$logs/$name
    if ! patch -s -d "$tree" -p1 <"$patch" >"$log" 2>&1; then
        echo "STALE  $name: the patch does not apply ($log)"
        missed=$((missed + 1))
        git ls-files -z src | tar --null -T - -cf - | tar -C "$tree" -xmf -
        continue
    fi
    by='' system=$(sed -n 's/^system: //p' "$patch")
    if ! build "$log"; then
        echo "BROKEN $name: does not build ($log)"
        missed=$((missed + 1))
    else
        by=$(failing "$log")
        if [ -n "$system" ] && make -s -C "$tree" V=dev EXTRA_CFLAGS=-w build/dev/smelt >>"$log" 2>&1 &&
            system_fails "$tree/build/dev/smelt" "$system"; then
            by="$by$system"
        fi
        if [ -n "$by" ]; then
            printf 'ok     %s: %s\n' "$name" "${by%; }"
            caught=$((caught + 1))
        else
            printf 'MISSED %s: %s\n' "$name" "$(sed -n 's/^bug: //p' "$patch")"
            missed=$((missed + 1))
        fi
    fi
    patch -s -R -d "$tree" -p1 <"$patch" || exit 1
done
echo "$caught deliberate bugs caught, $missed missed"
[ "$missed" = 0 ]
