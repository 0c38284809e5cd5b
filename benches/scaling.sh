#!/bin/sh
# What an import costs by its size: benches/scaling.sh SILVERBACK   (needs /usr/bin/time; some minutes on two cores)
# Made-up dumps come by a pipe, so that they take no disk: `bench prepare` writes what `bench import` would read. First 240 samples of
# each series, from 2.4 to 240 million in all; then 10 of each, from 10,000 to 2,000,000 series. A row for each: user and system
# seconds of the import, its peak memory, and its cost as a bar.
set -eu
silverback=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

one() { # series, scrapes, what the cost is of, how many of it
    rm -rf "$dir/made.dump.om" "$dir/db"
    mkfifo "$dir/made.dump.om"
    "$silverback" --quiet bench prepare import --db "$dir/made" --series "$1" --scrapes "$2" &
    /usr/bin/time -f '%U %S %e %M' -o "$dir/time" \
        "$silverback" --quiet import --db "$dir/db" --json "$dir/made.dump.om" >"$dir/summary"
    wait
    read -r user system wall peak <"$dir/time"
    bytes=$(sed -n 's/.*"bytes_per_sample": *\([0-9.]*\).*/\1/p' "$dir/summary")
    awk -v series="$1" -v scrapes="$2" -v user="$user" -v system="$system" -v wall="$wall" -v peak="$peak" -v bytes="$bytes" -v by="$3" -v unit="$4" 'BEGIN {
        cost = user / (series * by) * 1e9 / unit
        bar = ""; for (i = 0; i < cost / 5; i++) bar = bar "#"
        printf "%9d series x %3d: user %6.2f s, system %6.2f s, wall %6.2f s, peak %3d MB, %.2f bytes a sample, %6.1f  %s\n", series, scrapes, user, system, wall, peak / 1000, bytes, cost, bar
    }'
}

echo "user nanoseconds a sample, 240 of each series (a bar's step is 5)"
for series in ${SERIES:-10000 30000 100000 300000 1000000}; do one "$series" 240 240 1; done
echo "user nanoseconds a series by 100, 10 samples of each"
for series in ${MANY:-10000 30000 100000 300000 1000000 2000000}; do one "$series" 10 1 100; done
