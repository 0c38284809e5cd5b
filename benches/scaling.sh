#!/bin/sh
# What an import costs by its size: benches/scaling.sh SILVERBACK   (some minutes on two cores; TMPDIR needs 12 GB for the largest dump)
# `bench import` with 240 samples of each series, from 2.4 million in all on, then with 10 of each, from 10,000 series on. A row for each:
# CPU seconds of the import, its peak memory, and its cost as a bar. SAMPLES and SERIES name other numbers of series: SAMPLES=1000000 takes 40 GB.
set -eu
silverback=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

figure() { sed -n 's/.*"'"$1"'": *\([0-9.]*\).*/\1/p' "$dir/figures" | head -1; }

one() { # series, scrapes, of how many a series the cost is told, nanoseconds of a step of the bar
    rm -rf "$dir/db"
    "$silverback" --quiet bench import --db "$dir/db" --series "$1" --scrapes "$2" --json >"$dir/figures"
    awk -v series="$1" -v scrapes="$2" -v by="$3" -v step="$4" -v cpu="$(figure cpu_s)" -v wall="$(figure wall_s)" -v peak="$(figure peak_rss_bytes)" 'BEGIN {
        cost = cpu / (series * by) * 1e9
        bar = ""; for (i = 0; i < cost / step; i++) bar = bar "#"
        printf "%9d series x %3d: CPU %6.2f s, wall %6.2f s, peak %3d MB, %5.0f ns  %s\n", series, scrapes, cpu, wall, peak / 1e6, cost, bar
    }'
}

echo "nanoseconds a sample"
for series in ${SAMPLES:-10000 30000 100000 300000}; do one "$series" 240 240 5; done
echo "nanoseconds a series"
for series in ${SERIES:-10000 30000 100000 300000 1000000 2000000}; do one "$series" 10 1 200; done
