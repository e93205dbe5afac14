#!/bin/sh
# A handler for smelt in plain sh: the check sum of what was sent.  smelt serve --exec 'sh sums.sh'
LC_ALL=C # ${#answer} counts bytes
picture=$(mktemp) || exit 1
echo ready
while read -r _ json_bytes picture_bytes; do
    job=$(head -c "$json_bytes")
    head -c "$picture_bytes" >"$picture"
    sum=$(cksum <"$picture")
    echo "job $job" >&2 # standard error goes to the log
    answer=$(printf '{"cksum":%s,"bytes":%d}' "${sum%% *}" "$picture_bytes")
    printf 'result %d\n%s' "${#answer}" "$answer"
done
rm -f "$picture"
