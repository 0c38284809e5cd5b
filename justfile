# `just test` is everything that a change needs; `just ci` is what is run before it is taken.

# All tests: unit, property, crash, documentation, and the house rules.
test:
    cargo test --all-features

# The house rules alone: layers, sizes, mirrors, constants.
tidy:
    cargo test --test tidy

# Tests, format, lints for each set of features, documentation, benches, fuzz targets.
ci:
    .ci/run

# Fuzzes one structure or parser for a minute: `just fuzz manifest`, `just fuzz manifest 3600`.
fuzz target seconds="60":
    fuzz/run {{target}} {{seconds}}

# Fuzzes all of them, one after the other, so long each.
fuzz-all seconds="60":
    fuzz/run all {{seconds}}

# Runs the benches; figures that documents may state stand in benches/README.md.
bench *args:
    cargo bench --all-features {{args}}

# Writes the golden files anew after a change of the format. Mend the pages in format-spec/ after it.
golden:
    UPDATE_GOLDEN=1 cargo test --lib format::
    git status --short tests/golden

fmt:
    cargo fmt

lint:
    cargo clippy --all-features --all-targets

# The long forms of everything in DURABILITY.md, one after the other, with all figures together at the end: `just durability`, or
# some parts, `just durability enumerate kill`. As root on a machine with loop devices the power cuts run too, with nightly Rust the
# sanitizers and Miri; what cannot be had is told as skipped. DURABILITY.md says how long it takes.
durability *parts:
    tests/durability.sh {{parts}}

# The soak under ThreadSanitizer and AddressSanitizer, so many seconds each (nightly Rust with rust-src; the builds take longer).
sanitize seconds="60":
    tests/nightly.sh thread {{seconds}}
    tests/nightly.sh address {{seconds}}

# Codecs, postings, matchers and the in-memory filesystem under Miri (nightly Rust with miri).
miri:
    tests/nightly.sh miri
    tests/nightly.sh miri-tests

# Plants deliberate faults and asks the tests: caught / planted. A quarter of an hour.
mutants *names:
    tests/mutants/run.sh {{names}}
