#!/usr/bin/env bash
# What only nightly Rust can look for: races, bad accesses, leaks, undefined behaviour. No suppressions.
#
#   tests/nightly.sh thread [SECONDS]     the soak under ThreadSanitizer, standard library included (component rust-src)
#   tests/nightly.sh address [SECONDS]    the soak under AddressSanitizer, with leaks
#   tests/nightly.sh miri [TARGETS]       the corpora of fuzz targets under Miri (component miri): all structures unless named
#   tests/nightly.sh miri-tests [FILTER…] unit tests of the library under Miri: those of the in-memory filesystem unless named
#
# The test is built as a package of its own, without this one's many development dependencies, in target/nightly-…, which is removed.
# Miri runs no code of C, no system call that it does not know, and is thousands of times slower: so it gets the codecs, the
# postings, the matchers and the in-memory filesystem, whose inputs are small. A whole store, on that filesystem, can be asked for
# by name: `tests/nightly.sh miri operations`.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$root/target/nightly-${1:-none}
trap 'rm -rf "$work"' EXIT
began=$SECONDS

package() {
    mkdir -p "$work"
    cat >"$work/Cargo.toml" <<TOML
[package]
name = "alone"
version = "0.0.0"
edition = "2024"
autotests = false

[features]
default = ["import"]
import = ["silverback/import"]

[dependencies]
silverback = { path = "$root", default-features = false, features = [$2] }
tempfile = "3"
peak_alloc = "0.3"

[[test]]
name = "$1"
path = "$root/tests/$1.rs"

[profile.test]
opt-level = 1
debug = "line-tables-only"

[workspace]
TOML
    cp "$root/Cargo.lock" "$work/"
    ln -sfn "$root/fuzz" "$work/fuzz"
    cd "$work"
    export CARGO_TARGET_DIR="$work/target" CARGO_INCREMENTAL=0
}

# The library itself, with no more development dependencies than its unit tests need.
library() {
    mkdir -p "$work"
    {
        printf '[package]\nname = "silverback"\nversion = "0.0.0"\nedition = "2024"\n\n[lib]\npath = "%s/src/lib.rs"\n\n' "$root"
        sed -n '/^\[features\]/,/^\[dev-dependencies\]/p' "$root/Cargo.toml"
        sed -n '/^\[dev-dependencies\]/,/^\[profile/{/^\(proptest\|serde_json\|shuttle\|tempfile\|zstd\) /p}' "$root/Cargo.toml"
        printf '\n[workspace]\n'
    } >"$work/Cargo.toml"
    cp "$root/Cargo.lock" "$work/"
    cd "$work"
    export CARGO_TARGET_DIR="$work/target" CARGO_INCREMENTAL=0
}

export MIRIFLAGS="-Zmiri-disable-isolation"
# bitvec (reference decoder of gorilla, absent rows of columns) does not keep Stacked Borrows: Tree Borrows, which takes many times as long.
TREE_TARGETS='gorilla|columns'

sanitize() {
    package soak '"mmap"'
    local sanitizer=$1 seconds=$2
    shift 2
    export RUSTFLAGS="-Zsanitizer=$sanitizer" TSAN_OPTIONS=halt_on_error=1 ASAN_OPTIONS=detect_leaks=1
    local test=(cargo +nightly test "$@" --target "$(rustc -vV | sed -n 's/^host: //p')" --test soak)
    "${test[@]}" --no-run
    echo "built in $((SECONDS - began)) s"
    # With a limit of address space no sanitizer starts.
    SILVERBACK_SOAK_UNLIMITED=yes SILVERBACK_SOAK=$seconds "${test[@]}" -- --nocapture
}

miri() {
    package fuzz_corpus '"import"'
    local structures names tree plain
    structures=$(sed -n '/structures! {/,/}/s/^ *\([a-z_]*\)$/\1/p' "$root/src/internals.rs" | paste -sd,)
    names=$(tr , '\n' <<<"${1:-$structures,selector}")
    tree=$(grep -xE "$TREE_TARGETS" <<<"$names" | paste -sd,) || true
    plain=$(grep -vxE "$TREE_TARGETS" <<<"$names" | paste -sd,) || true
    export SILVERBACK_INPUTS=${SILVERBACK_INPUTS:-3}
    local replay=(cargo +nightly miri test --test fuzz_corpus every_input -- --nocapture)
    [ -z "$plain" ] || SILVERBACK_TARGETS=$plain "${replay[@]}"
    [ -z "$tree" ] || SILVERBACK_TARGETS=$tree MIRIFLAGS="$MIRIFLAGS -Zmiri-tree-borrows" "${replay[@]}"
}

miri_tests() {
    library
    [ $# -gt 0 ] || set -- env::tests::crashes env::tests::faults
    cargo +nightly miri test --lib --no-default-features -- "$@"
}

case ${1:-} in
    thread) sanitize thread "${2:-60}" -Zbuild-std ;;
    address) sanitize address "${2:-60}" ;;
    miri) miri "${2:-}" ;;
    miri-tests) shift; miri_tests "$@"; set -- miri-tests ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
echo "$1: passed in $((SECONDS - began)) s"
