//! Micro-benchmarks: parts of the engine and single operations, each checked once before it is timed.
//!
//! Goal: to see what a change does to one path. For whole runs, and beside other engines, `silverback bench`.
//! Method: criterion, short measurements (all of it takes a few minutes); names are `group/case`, so
//! `cargo bench --features import -- select` runs one group. Databases are in the directory for temporary files.

use std::time::Duration;

use criterion::Criterion;

mod append;
mod chunk;
mod compact;
mod data;
mod import;
mod made;
mod replay;
mod select;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500))
        .sample_size(20)
        .configure_from_args();
    chunk::benches(&mut criterion);
    chunk::columns(&mut criterion);
    append::benches(&mut criterion);
    select::benches(&mut criterion);
    compact::benches(&mut criterion);
    replay::benches(&mut criterion);
    import::benches(&mut criterion);
    criterion.final_summary();
}
