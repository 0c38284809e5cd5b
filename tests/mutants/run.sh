#!/usr/bin/env bash
# The measure of the tests: are deliberate faults caught?
#
# Each patch beside this script plants one fault, and says in its header which tests must fail by it (a filter for
# the library's tests, whose seeds are fixed). All are planted at once in a copy of HEAD, each asleep behind
# `crate::mutant::on("its name")` (switch.patch), so that one build serves them all; SILVERBACK_MUTANT wakes one.
# First the named tests run with every fault asleep, and must pass. Prints caught / planted; fails if one is not caught.
#
#   tests/mutants/run.sh               all of them
#   tests/mutants/run.sh floor-too-high acknowledge-before-sync
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
began=$SECONDS

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
        echo "caught      $1  by $(sed -n 's/^    \([a-z0-9_:]*::[a-z0-9_:]*\)$/\1/p' "$work/$1.log" | sort -u | head -1)"
    fi
}
export -f one killer
export work
printf '%s\n' "${names[@]}" | xargs -P 2 -I{} bash -c 'one {}' | tee "$work/all.log"
caught=$(grep -c '^caught' "$work/all.log" || true)
echo "mutants: $caught caught / ${#names[@]} planted, in $((SECONDS - began)) s"
[ "$caught" -eq ${#names[@]} ]
