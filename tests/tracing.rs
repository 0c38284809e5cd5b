//! Goal: with the feature `tracing`, open, flush, merge and import are spans, and what happens is events. Method: a
//! subscriber of a few lines that notes them. One test in this file: which call sites are on is a matter of the whole process.
#![cfg(all(feature = "tracing", feature = "import"))]

use std::sync::{Arc, Mutex};

use silverback::import::{ImportOptions, Input, import};
use silverback::{Cancel, Db, Maintenance, Options, labels};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Notes what begins, with its fields, and what happens, with its message.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {field}={value:?}"));
    }
}

impl Subscriber for Notes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("silverback")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut text = format!("span {}", span.metadata().name());
        span.record(&mut Text(&mut text));
        let mut notes = self.0.lock().unwrap();
        notes.push(text);
        Id::from_u64(notes.len() as u64)
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = format!("{}", event.metadata().level());
        event.record(&mut Text(&mut text));
        self.0.lock().unwrap().push(text);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn open_flush_merge_and_import_are_spans_and_what_happens_events() {
    let dir = tempfile::tempdir().unwrap();
    let notes = Notes::default();
    tracing::subscriber::with_default(notes.clone(), || {
        let options = Options::default().maintenance(Maintenance::Manual).max_future(None).threads(1);
        let db = Db::open(dir.path(), options).unwrap();
        let mut app = db.appender().unwrap();
        for t in [1, 10_000_000, 20_000_000, 22_000_000] {
            app.append(&labels!("up").unwrap(), t, 1.0).unwrap();
        }
        app.commit().unwrap();
        drop(app);
        db.compact(&Cancel::default()).unwrap();
        let mut bulk = db.bulk_loader().unwrap();
        let input = Input::new("page", &b"a 1 1\n"[..]);
        import(&ImportOptions::default(), [Ok(input)], &mut bulk, &Cancel::default(), |_| {}).unwrap();
        drop(bulk);
        db.close().unwrap();
        Db::open_read_only(dir.path(), Options::default()).unwrap();
    });
    let notes = notes.0.lock().unwrap();
    let position = |start: &str| {
        notes.iter().position(|n| n.starts_with(start)).unwrap_or_else(|| panic!("{start}: {notes:#?}"))
    };
    let order = [
        "span open path=",
        "span flush range=",
        "INFO message=flushed 1 samples", // right after the step
        "span merge blocks=3",
        "INFO message=merged 3 blocks",
        "span import",
        "span input name=\"page\"",
        "span open_read_only path=",
    ]
    .map(position);
    assert!(order.is_sorted(), "{notes:#?}");
}
