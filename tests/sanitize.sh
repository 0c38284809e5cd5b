#!/usr/bin/env bash
# The soak (tests/soak.rs: writers, readers, deletes, flush, merge, retention, snapshots, handles that come and go) under the
# sanitizers of nightly Rust. ThreadSanitizer needs the standard library built with it, hence the component rust-src; the
# address sanitizer looks for leaks, too. No suppressions. Builds apart, in target/sanitize, and removes that at the end.
#
#   tests/sanitize.sh                    thread, then address; a minute each after the build
#   tests/sanitize.sh thread 300
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${2:-60}
host=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_TARGET_DIR="$PWD/target/sanitize" CARGO_INCREMENTAL=0 CARGO_PROFILE_TEST_DEBUG=line-tables-only
trap 'rm -rf "$CARGO_TARGET_DIR"' EXIT

run() {
    local sanitizer=$1
    shift
    local began=$SECONDS
    RUSTFLAGS="-Zsanitizer=$sanitizer" cargo +nightly test "$@" --target "$host" --test soak --no-run
    echo "built for the $sanitizer sanitizer in $((SECONDS - began)) s"
    # With limits of address space no sanitizer starts.
    TSAN_OPTIONS=halt_on_error=1 ASAN_OPTIONS=detect_leaks=1 SILVERBACK_SOAK_UNLIMITED=yes SILVERBACK_SOAK=$seconds \
        RUSTFLAGS="-Zsanitizer=$sanitizer" cargo +nightly test "$@" --target "$host" --test soak -- --nocapture
    rm -rf "$CARGO_TARGET_DIR"
}

for sanitizer in ${1:-thread address}; do
    case $sanitizer in
        thread) run thread -Zbuild-std ;;
        address) run address ;;
        *) echo "thread or address, not $sanitizer" >&2; exit 2 ;;
    esac
done
