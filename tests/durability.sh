#!/usr/bin/env bash
# The long forms of everything in DURABILITY.md, one after the other, and their closing blocks together at the end.
#
#   tests/durability.sh                 all of it
#   tests/durability.sh enumerate kill  some parts; --list names them
#
# A part that fails does not stop the others; the script then ends with 1. What a machine cannot do (no root or loop
# devices, no nightly Rust) is told as skipped. Times are of the clock and of the processors; what else runs beside it counts
# in the first only. Logs stay in target/durability/.
#
# Variables make parts longer or shorter: SILVERBACK_KILLS, SILVERBACK_POWER_CUTS, SILVERBACK_SCHEDULES, SILVERBACK_SOAK (seconds),
# SILVERBACK_SANITIZE (seconds each), SILVERBACK_INPUTS (of each structure under Miri).
set -uo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
logs=target/durability
programmes="--test sweep --test kill --test kill_dumps --test power --test soak --test golden_db --test private --test read_only --test fuzz_corpus"
parts="golden schedules kill power enumerate flips sweep mutants soak miri thread address"

tests() { cargo test --all-features "$@" -- --nocapture; }

# What each part runs.
part() {
    case $1 in
        enumerate) SILVERBACK_ENUMERATE=full tests --lib enumerate ;;
        flips) SILVERBACK_FLIPS=all tests --lib flip:: ;;
        sweep) SILVERBACK_SWEEP=all tests --test sweep && SILVERBACK_SWEEP=all tests --lib damage_to_a_run ;;
        kill) SILVERBACK_KILLS=${SILVERBACK_KILLS:-5000} tests --test kill && tests --test kill_dumps ;;
        power) SILVERBACK_POWER_CUTS=${SILVERBACK_POWER_CUTS:-60} tests --test power ;;
        schedules) SILVERBACK_SCHEDULES=${SILVERBACK_SCHEDULES:-8000} tests --lib schedules ;;
        soak) SILVERBACK_SOAK=${SILVERBACK_SOAK:-600} tests --test soak ;;
        golden) tests --test golden_db --test private --test read_only --test fuzz_corpus ;;
        mutants) tests/mutants/run.sh ;;
        address | thread) nightly && tests/nightly.sh "$1" "${SILVERBACK_SANITIZE:-60}" ;;
        miri) nightly miri && tests/nightly.sh miri && tests/nightly.sh miri-tests ;;
    esac
}

# Whether nightly Rust is there, with a component.
nightly() {
    if ! cargo +nightly ${1:-} --version >/dev/null 2>&1; then
        echo "skipped: nightly Rust${1:+ with $1} is not here"
        return 77
    fi
}

# The lines of a log that say what was done.
closing() {
    sed 's/^test [^ ]* \.\.\. //' "$1" |
        grep -E 'failures = [0-9]|skipped: |^soak: |^mutants: |^NOT CAUGHT|^(address|thread|miri|miri-tests): passed|KiB +[0-9]+ ms$|tried +right|^(closed|killed)[ :]|: [0-9]+ inputs, |^test result: FAILED|^FAILED|^PANICKED|stayed as they were'
    # The tests of a part that print nothing else.
    grep -hE '^test result: ok\. [1-9]' "$1" | sort | uniq -c | sed 's/^ *//; s/^1 //'
}

# Seconds of the processors that this shell's children have used.
cpu() {
    times >"$logs/times"
    awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, t, "m"); s += t[1] * 60 + t[2] } printf "%d", s }' "$logs/times"
}

[ "${1:-}" = --list ] && { echo "$parts"; exit 0; }
[ $# -gt 0 ] || set -- $parts
for name; do
    case " $parts " in *" $name "*) ;; *) echo "no such part: $name (there are: $parts)" >&2; exit 2 ;; esac
done
mkdir -p "$logs"
rm -f "$logs"/*.log "$logs"/*.told
echo "building"
cargo test --all-features --lib $programmes --no-run 2>"$logs/build.log" || { tail -40 "$logs/build.log" >&2; exit 2; }
began=$SECONDS
failed=0
for name; do
    from=$SECONDS
    cpu >"$logs/cpu"
    part "$name" >"$logs/$name.log" 2>&1
    outcome=$?
    before=$(cat "$logs/cpu")
    cpu >"$logs/cpu"
    case $outcome in
        0) how=passed ;;
        77) how=skipped ;;
        *) how=FAILED failed=1 ;;
    esac
    echo "== $name: $how, $((SECONDS - from)) s, $(($(cat "$logs/cpu") - before)) CPU-s" | tee "$logs/$name.told"
done
echo
echo "durability, $(git rev-parse --short HEAD 2>/dev/null || echo 'no commit'), $(nproc) cores, $((SECONDS - began)) s, $(cat "$logs/cpu") CPU-s"
for name; do
    cat "$logs/$name.told"
    closing "$logs/$name.log" | sed 's/^/   /'
done
[ "$failed" -eq 0 ] && echo "all passed" || echo "FAILED: see $logs/"
exit $failed
