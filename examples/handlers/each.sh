#!/bin/sh
# A handler for smelt that runs a command for each job: the picture on its standard input, the job's JSON in
# $JOB; a JSON object on its standard output.  smelt serve --exec "sh each.sh ./classify --json"
# Exit status 0: result. 1: failed, for good; what it printed is the reason. Else: retry.
LC_ALL=C
files=$(mktemp -d) || exit 1
echo ready
while read -r _ json_bytes picture_bytes; do
    JOB=$(head -c "$json_bytes")
    export JOB
    head -c "$picture_bytes" >"$files/picture"
    "$@" <"$files/picture" >"$files/answer"
    case $? in
    0) word=result ;;
    1) word=failed ;;
    *) word=retry ;;
    esac
    printf '%s %d\n' "$word" "$(wc -c <"$files/answer")"
    cat "$files/answer"
done
rm -rf "$files"
