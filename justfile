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

# The long forms of everything in DURABILITY.md but the mutants: about half an hour after the build. As root on a machine
# with loop devices the power cuts run too; elsewhere they say that they skip. `just sanitize` and `just miri` need nightly Rust.
durability:
    SILVERBACK_ENUMERATE=full cargo test --release --all-features --lib enumerate -- --nocapture
    SILVERBACK_FLIPS=all cargo test --release --all-features --lib flip:: -- --nocapture
    SILVERBACK_SWEEP=all cargo test --release --all-features --test sweep -- --nocapture
    SILVERBACK_KILLS=5000 cargo test --release --all-features --test kill -- --nocapture
    SILVERBACK_POWER_CUTS=60 cargo test --release --all-features --test power -- --nocapture
    SILVERBACK_SCHEDULES=8000 cargo test --release --all-features --lib schedules -- --nocapture
    SILVERBACK_SOAK=600 cargo test --release --all-features --test soak -- --nocapture
    cargo test --release --all-features --test golden_db --test private --test kill_dumps

# The soak under ThreadSanitizer and AddressSanitizer, so many seconds each (nightly Rust with rust-src; the builds take longer).
sanitize seconds="60":
    tests/nightly.sh thread {{seconds}}
    tests/nightly.sh address {{seconds}}

# Codecs, postings and matchers under Miri (nightly Rust with miri).
miri:
    tests/nightly.sh miri

# Plants deliberate faults and asks the tests: caught / planted. A quarter of an hour.
mutants *names:
    tests/mutants/run.sh {{names}}
