//! `snapshot`: a copy that opens as a database of its own.

use crate::args::Snapshot;
use crate::failure::Failure;
use crate::output::{Context, bytes, counted};

/// Runs `snapshot`.
pub(crate) fn run(args: &Snapshot, context: &Context) -> Result<u8, Failure> {
    let opened = context.write(&args.db.dir)?;
    opened.db.snapshot(&args.to)?;
    let stats = opened.db.stats();
    opened.db.close()?;
    context.note(format_args!(
        "{}: a copy of {}, {}",
        args.to.display(),
        counted(stats.blocks, "block"),
        bytes(stats.block_bytes)
    ));
    Ok(opened.code())
}
