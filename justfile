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
