//! `labels` and `label-values`: names and values of labels, sorted.

use std::collections::BTreeSet;
use std::io::Write;

use serde_json::json;
use silverback::{Querier, Selector};

use crate::args::{LabelValues, Select};
use crate::failure::Failure;
use crate::output::{Context, print_json, stdout};
use crate::union::{selectors, time_range};

/// Runs `labels`.
pub(crate) fn names(args: &Select, context: &Context) -> Result<u8, Failure> {
    look_up(args, context, "labels", |querier, selector| querier.label_names(selector))
}

/// Runs `label-values`.
pub(crate) fn values(args: &LabelValues, context: &Context) -> Result<u8, Failure> {
    look_up(&args.select, context, "values", |querier, selector| querier.label_values(&args.name, selector))
}

fn look_up(
    args: &Select,
    context: &Context,
    key: &str,
    ask: impl Fn(&Querier, &Selector) -> silverback::Result<Vec<String>>,
) -> Result<u8, Failure> {
    let range = time_range(&args.range)?;
    let opened = context.read(&args.db.dir)?;
    let querier = opened.db.querier(range)?.cancel(context.interrupt.cancel());
    let mut found = BTreeSet::new();
    for selector in selectors(&args.selectors) {
        found.extend(ask(&querier, &selector)?);
    }
    if args.json {
        print_json(&json!({ key: found }))?;
        return Ok(opened.code());
    }
    let mut out = stdout();
    for text in &found {
        writeln!(out, "{text}")?;
    }
    out.flush()?;
    Ok(opened.code())
}
