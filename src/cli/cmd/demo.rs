//! `demo`: a small real dump, imported and looked at, with the commands that it stands for.
//!
//! The data is ours: counters of one machine's kernel and of the process that sampled them, every two seconds for
//! twelve minutes, while the machine compiled and tested.

use std::io::Write;
use std::path::Path;

use silverback::import::{Format, ImportOptions, Input};
use silverback::{Selector, TimeRange};

use crate::args::Demo;
use crate::cmd::import::{describe, load};
use crate::cmd::query::show;
use crate::failure::Failure;
use crate::output::{Context, Opened, stdout};

/// The dump: OpenMetrics, packed.
static DUMP: &[u8] = include_bytes!("../demo.om.zst");
/// Its name in the commands that are shown.
const DUMP_NAME: &str = "demo.om.zst";
/// What all of its series have, and what tells a directory of the demo from another.
const OURS: &str = r#"{job="silverback-demo"}"#;
/// What is looked at.
const QUERIES: [&str; 2] = ["node_load1", r#"{__name__=~"node_memory_(AnonPages|Dirty|Mapped)_bytes"}"#];

/// Runs `demo`.
pub(crate) fn run(args: &Demo, context: &Context) -> Result<u8, Failure> {
    let dir = args.dir.clone().unwrap_or_else(|| std::env::temp_dir().join("silverback-demo"));
    let shown = dir.display();
    say(
        "Twelve minutes of counters of a Linux machine that compiles, sampled every two seconds\n(/proc/stat, \
         meminfo, loadavg, vmstat, pressure, and the sampling process itself).\n",
    )?;
    say(&format!("$ silverback import --db {shown} --label job=silverback-demo {DUMP_NAME}"))?;
    let opened = import(&dir, context)?;
    let querier = opened.db.querier(TimeRange::ALL)?.cancel(context.interrupt.cancel());
    for query in QUERIES {
        say(&format!("\n$ silverback query --db {shown} '{query}'"))?;
        show(&querier, &query.parse()?, None, context)?;
    }
    opened.db.close()?;
    say(&format!(
        "\nThe database is the directory {shown}; it may be removed.\n\nNext:\n\
         \x20 export SILVERBACK_DB={shown}\n\
         \x20 silverback stats\n\
         \x20 silverback series --match 'node_cpu_seconds_total{{mode=\"user\"}}'\n\
         \x20 silverback dump --match node_load1\n\
         \x20 silverback query node_procs_running --step 10s\n\
         \x20 silverback verify\n\
         \x20 silverback import --db metrics YOUR_DUMP.om"
    ))?;
    Ok(opened.code())
}

/// Opens the demo's database, with its data: of an earlier run, or imported now.
fn import(dir: &Path, context: &Context) -> Result<Opened, Failure> {
    let opened = context.write_with(dir, context.options().create(true))?;
    let querier = opened.db.querier(TimeRange::ALL)?;
    let holds =
        |selector: &Selector| Ok::<bool, Failure>(querier.select(selector)?.next().transpose()?.is_some());
    if holds(&OURS.parse()?)? {
        context.note("(imported by an earlier run: nothing to do)");
        return Ok(opened);
    }
    if holds(&Selector::all())? {
        return Err(Failure::refused(format!(
            "{}: the database holds other data, which the demo would mix with its own; give it another --db",
            dir.display()
        )));
    }
    let input = Input::new(DUMP_NAME, DUMP);
    let options = ImportOptions::default().format(Format::OpenMetrics).label("job", "silverback-demo");
    let done = load(&opened.db, &options, [Ok(input)], context, &indicatif::ProgressBar::hidden())?;
    describe(&done, context);
    Ok(opened)
}

/// A line on stdout.
fn say(line: &str) -> Result<(), Failure> {
    let mut out = stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
