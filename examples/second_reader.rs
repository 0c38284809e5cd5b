//! Reading from a second process while the first writes. `cargo run --example second_reader`
//!
//! It starts itself again, with the directory as its argument, as the reader.

use std::path::Path;
use std::process::Command;

use silverback::{Db, ErrorKind, Options, labels};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Fallible<()> {
    match std::env::args_os().nth(1) {
        None => write(),
        Some(dir) => read(dir.as_ref()),
    }
}

fn write() -> Fallible<()> {
    let dir = tempfile::tempdir()?;
    let db = Db::open(dir.path(), Options::default())?;
    let mut app = db.appender()?;
    let ticks = labels!("ticks_total", "process" => std::process::id())?;
    let mut tick = 0;
    for _ in 0..3 {
        let mut reader = Command::new(std::env::current_exe()?).arg(dir.path()).spawn()?;
        // Commits go on while the reader opens, reads, and ends.
        let status = loop {
            tick += 1;
            app.append(&ticks, tick * 1_000, tick as f64)?;
            app.commit()?;
            if let Some(status) = reader.try_wait()? {
                break status;
            }
        };
        assert!(status.success(), "the reader failed: {status}");
        db.compact(&Default::default())?; // the next reader finds blocks
    }
    Ok(db.close()?)
}

fn read(dir: &Path) -> Fallible<()> {
    // A second writer is refused, and told who the first is.
    let refused = Db::open(dir, Options::default()).err().ok_or("the lock was free")?;
    assert_eq!(refused.kind(), ErrorKind::Locked);

    // A reader takes no lock and writes nothing; it shows what was committed when it opened.
    for _ in 0..3 {
        let db = Db::open_read_only(dir, Options::default())?;
        assert_eq!(db.appender().err().map(|e| e.kind()), Some(ErrorKind::ReadOnly));
        let mut seen = 0;
        for series in db.querier(0..i64::MAX)?.select(&"ticks_total".parse()?)? {
            for sample in series?.samples() {
                seen += 1;
                let sample = sample?;
                // A prefix of the commits: no gap, nothing half done.
                assert_eq!((sample.t, sample.v), (seen * 1_000, seen as f64));
            }
        }
        println!("process {} saw {seen} samples", std::process::id());
    }
    Ok(())
}
