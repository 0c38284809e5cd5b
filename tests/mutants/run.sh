#!/usr/bin/env bash
# The measure of the tests: are deliberate faults caught?
#
# Each patch beside this script plants one fault, and says in its header which programme must fail by it (a filter for the library's
# tests) and by which seed: the script and the place in it, or the test, whose seeds are fixed, that failed first. All are planted at once in a copy of HEAD, each asleep behind
# `crate::mutant::on("its name")` (switch.patch), so that one build serves them all; SILVERBACK_MUTANT wakes one.
# First the named tests run with every fault asleep, and must pass. Prints caught / planted; fails if one is not caught.
#
#   tests/mutants/run.sh               all of them
#   tests/mutants/run.sh floor-too-high acknowledge-before-sync
#   tests/mutants/run.sh --record …    writes the seeds anew into the patches; into a patch without one it does so anyway
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
began=$SECONDS
record=no
[ "${1:-}" = --record ] && { record=yes; shift; }

git -C "$root" archive HEAD | tar -x -C "$work"
cd "$work"
for file in tests/mutants/*.patch; do
    patch -p1 -s --no-backup-if-mismatch <"$file" || { echo "does not apply: $file" >&2; exit 2; }
done
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}"
cargo test --all-features --lib --no-run 2>"$work/build.log" || { tail -40 "$work/build.log" >&2; exit 2; }
tests=$(sed -n 's/.*Executable unittests .*(\(.*\)).*/\1/p' "$work/build.log")
cp "$tests" "$work/tests.bin"
echo "built in $((SECONDS - began)) s"

names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    for file in tests/mutants/*.patch; do
        name=$(basename "$file" .patch)
        [ "$name" = switch ] || names+=("$name")
    done
fi
killer() { sed -n 's/^Killed by: //p' "tests/mutants/$1.patch"; }

for filter in $(for name in "${names[@]}"; do killer "$name"; done | sort -u); do
    "$work/tests.bin" -q "$filter" >"$work/asleep.log" 2>&1 || { tail -20 "$work/asleep.log"; echo "fails with all faults asleep: $filter" >&2; exit 2; }
done

one() {
    if SILVERBACK_MUTANT=$1 timeout 300 "$work/tests.bin" -q "$(killer "$1")" >"$work/$1.log" 2>&1; then
        echo "NOT CAUGHT  $1"
    else
        local seed
        seed=$(seed "$work/$1.log" "$1")
        echo "caught      $1  by $seed"
        [ $record = no ] && grep -q '^Seed: ' "tests/mutants/$1.patch" || sed -i -e '/^Seed: /d' -e "/^Killed by: /a Seed: ${seed//[\\&\/]/\\&}" "$root/tests/mutants/$1.patch"
    fi
}
# The first failure of a log: where an enumeration met it, or the test.
seed() {
    local test place
    test=$(sed -n 's/^    \([a-z0-9_:]*::[a-z0-9_:]*\)$/\1/p' "$1" | sort -u | head -1)
    place=$(sed -n -e 's/^FAILED: \([^:]*: FaultPlan {[^}]*}\).*/\1/p' -e 's/^FAILED: \([^:]*, cut at [0-9]*, [A-Za-z]*[^:]*\)\( of \[\|: \).*/\1/p' \
        -e 's/^FAILED: \([^:]*, killed at [0-9]*\).*/\1/p' "$1" | sed 's/ of \[.*//' | head -1)
    case $test in
        *::schedules::*) place="seed $(sed -n 's/^const SEED: u64 = \(.*\);/\1/p' src/db/tests/schedules.rs)" ;;
        '') test="a hang of $(killer "$2"), ended after 300 s" ;;
    esac
    echo "$test${place:+, $place}"
}
export -f one killer seed
export work root record
printf '%s\n' "${names[@]}" | xargs -P 2 -I{} bash -c 'one {}' | tee "$work/all.log"
caught=$(grep -c '^caught' "$work/all.log" || true)
echo "mutants: $caught caught / ${#names[@]} planted, in $((SECONDS - began)) s"
[ "$caught" -eq ${#names[@]} ]
