#!/bin/sh
# Bytes on disk beside Prometheus: benches/disk.sh SILVERBACK DUMP.om[.zst]…  (needs promtool and zstd)
# A row for each dump: samples, then bytes of our blocks and of promtool's, all files of a block, and their ratio.
set -eu
silverback=$1
shift
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
sum() { find "$@" -type f -printf '%s\n' | awk '{ n += $1 } END { printf "%.0f", n }'; }
echo "| dump | samples | Silverback | Prometheus | ratio |"
echo "|---|---|---|---|---|"
for dump in "$@"; do
    name=$(basename "$dump" .zst)
    text="$dir/$name"
    case $dump in *.zst) zstd -dqf "$dump" -o "$text" ;; *) text=$dump ;; esac
    rm -rf "$dir/ours" "$dir/theirs"
    samples=$("$silverback" import --db "$dir/ours" --quiet --json --max-rejected 0 "$text" | sed 's/.*"samples": *\([0-9]*\).*/\1/;q' | tr -dc 0-9)
    mkdir "$dir/theirs"
    promtool tsdb create-blocks-from openmetrics -q "$text" "$dir/theirs" >/dev/null
    ours=$(sum "$dir/ours/blocks") theirs=$(sum "$dir/theirs")
    echo "| ${name%.om} | $samples | $ours | $theirs | $(echo "$ours $theirs" | awk '{ printf "%.2f", $1 / $2 }') |"
    [ "$text" = "$dump" ] || rm -f "$text"
done
