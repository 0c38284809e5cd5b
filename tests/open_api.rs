//! Goal: the public API that the design promises is there, with its signatures and who owns what.
//!
//! Method: the names and signatures of the design's sketch, one by one, as function pointers and type assertions:
//! what is missing or another does not compile. Then one walk through all of it.
//!
//! Left out: `Scrape`, which has tests of its own. Where the sketch has `Rejection` as a plain struct, it is
//! non-exhaustive here; `Labels::from_pairs` fails with [`AppendError`], as there.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use silverback::{
    AppendError, Appender, Applied, BulkLoader, BulkRef, Cancel, Columns, Committed, Db, Error, ErrorKind,
    Event, Labels, Maintenance, OpenReport, Options, Querier, Rejection, Result, STALE, Sample, Samples,
    Selector, Series, SeriesRef, SeriesSet, Stats, SyncPolicy, TimeRange, VerifyReport, is_stale, labels,
};

const fn owned<T: Send + 'static>() {}
const fn shared<T: Send + Sync + 'static>() {}
const fn cloned<T: Clone>() {}
const fn copied<T: Copy>() {}
const fn by_default<T: Default>() {}
const fn an_error<T: std::error::Error>() {}

const _: () = {
    owned::<Appender>();
    owned::<SeriesSet>();
    owned::<Samples>();
    owned::<BulkLoader>();
    shared::<Db>();
    shared::<Querier>();
    shared::<Series>();
    shared::<Error>();
    shared::<Labels>();
    shared::<Selector>();
    shared::<Options>();
    shared::<Cancel>();
    shared::<Event>();
    cloned::<Db>();
    cloned::<Querier>();
    cloned::<Series>();
    cloned::<Labels>();
    cloned::<Cancel>();
    copied::<SeriesRef>();
    copied::<BulkRef>();
    copied::<Sample>();
    copied::<TimeRange>();
    copied::<AppendError>();
    copied::<Applied>();
    by_default::<Options>();
    by_default::<Columns>();
    by_default::<Cancel>();
    an_error::<Error>();
    an_error::<AppendError>();
};

/// Compiles if every signature is the promised one.
#[test]
fn signatures_are_the_promised_ones() {
    let _: fn(&Error) -> Applied = Error::applied;
    let _: fn(&Error) -> ErrorKind = Error::kind;
    let _: for<'a> fn(&'a Error) -> Option<&'a Path> = Error::path;
    let _: fn(f64) -> bool = is_stale;
    let _: fn(Range<i64>) -> TimeRange = TimeRange::from;
    let _: fn(&str) -> Result<Selector> = <Selector as FromStr>::from_str;
    let _: fn() -> Selector = Selector::all;
    type Pairs = Vec<(String, String)>;
    let _: fn(Pairs) -> Result<Labels, AppendError> = Labels::from_pairs;
    let _: fn(&Cancel) = Cancel::cancel;
    let _: fn(Options, SyncPolicy) -> Options = Options::sync;
    let _: fn(Options, Duration) -> Options = Options::retention;
    let _: fn(Options, u64) -> Options = Options::retention_bytes;
    let _: fn(Options, Duration) -> Options = Options::out_of_order_window;
    let _: fn(Options, u64) -> Options = Options::head_memory;
    let _: fn(Options, usize) -> Options = Options::threads;
    let _: fn(Options, Maintenance) -> Options = Options::maintenance;
    let _: fn(Options, fn(&Event)) -> Options = Options::on_event;
    let _: fn(&'static str, Options) -> Result<Db> = Db::open;
    let _: fn(&'static str, Options) -> Result<Db> = Db::open_read_only;
    let _: for<'a> fn(&'a Db) -> &'a OpenReport = Db::open_report;
    let _: fn(&Db) -> Result<Appender> = Db::appender;
    let _: fn(&Db) -> Result<BulkLoader> = Db::bulk_loader;
    let _: fn(&Db, Range<i64>) -> Result<Querier> = Db::querier;
    let _: fn(&Db, Range<i64>, &Selector) -> Result<u64> = Db::delete;
    let _: fn(&Db) -> Result<()> = Db::maintain;
    let _: fn(&Db, &'static str) -> Result<()> = Db::snapshot;
    let _: fn(&Db) -> Result<VerifyReport> = Db::verify;
    let _: fn(&Db) -> Stats = Db::stats;
    let _: fn(&Db, &mut dyn fmt::Write) -> fmt::Result = Db::write_openmetrics;
    let _: fn(&Db) -> Result<()> = Db::close;
    let _: fn(&mut Appender, &Labels, i64, f64) -> Result<SeriesRef, AppendError> = Appender::append;
    let _: fn(&mut Appender, SeriesRef, i64, f64) -> Result<(), AppendError> = Appender::append_ref;
    let _: fn(&mut Appender, i64, &[(SeriesRef, f64)]) = Appender::append_row;
    let _: fn(&mut Appender) -> Result<Committed> = Appender::commit;
    let _: fn(&mut Appender) = Appender::rollback;
    let _: fn(&Committed) -> u64 = Committed::appended;
    let _: fn(&Committed) -> u64 = Committed::duplicates;
    let _: for<'a> fn(&'a Committed) -> &'a [Rejection] = Committed::rejected;
    let _: fn(&mut BulkLoader, &Labels) -> Result<BulkRef> = BulkLoader::series;
    let _: fn(&mut BulkLoader, BulkRef, &[i64], &[f64]) -> Result<()> = BulkLoader::extend;
    let _: fn(BulkLoader) -> Result<Committed> = BulkLoader::finish;
    let _: fn(Querier, u64) -> Querier = Querier::max_samples;
    let _: fn(Querier, u64) -> Querier = Querier::max_series;
    let _: fn(Querier, &Cancel) -> Querier = Querier::cancel;
    let _: fn(&Querier, &Selector) -> Result<SeriesSet> = Querier::select;
    let _: fn(&Querier, &Selector) -> Result<Vec<String>> = Querier::label_names;
    let _: fn(&Querier, &str, &Selector) -> Result<Vec<String>> = Querier::label_values;
    let _: fn(&mut Samples, i64) -> Result<()> = Samples::seek;
    let _: fn(&mut Samples, &mut Columns, usize) -> Result<usize> = Samples::read_into;
    let _: for<'a> fn(&'a Series) -> &'a Labels = Series::labels;
    let _: fn(&Series) -> Samples = Series::samples;
    let _: fn(&mut SeriesSet) -> Option<Result<Series>> = SeriesSet::next;
    let _: fn(&mut Samples) -> Option<Result<Sample>> = Samples::next;
}

#[test]
fn rejections_and_errors_say_what_they_should() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::default().maintenance(Maintenance::Manual).sync(SyncPolicy::Never);
    let db = Db::open(dir.path(), options).unwrap();
    let mut app = db.appender().unwrap();
    let up = app.append(&labels!("up", "job" => "node").unwrap(), 1_000, STALE).unwrap();
    app.append_row(2_000, &[(up, 1.0)]);
    app.append_ref(up, 2_000, 2.0).unwrap();
    app.append_ref(up, 500, 1.0).unwrap();
    app.append_ref(up, i64::MAX, 1.0).unwrap();
    let committed = app.commit().unwrap();
    let rejected: Vec<(usize, SeriesRef, i64, AppendError)> =
        committed.rejected().iter().map(|r| (r.index, r.series, r.t, r.why)).collect();
    assert_eq!(
        rejected,
        [
            (2, up, 2_000, AppendError::Conflict),
            (3, up, 500, AppendError::TooOld),
            (4, up, i64::MAX, AppendError::BadTimestamp),
        ]
    );
    assert_eq!((committed.appended(), committed.duplicates()), (2, 0));
    let all =
        [AppendError::TooFarInFuture, AppendError::StaleRef, AppendError::BadLabels, AppendError::Ceiling];
    assert!(all.iter().all(|e| !e.to_string().is_empty()));
    let other = db.clone();
    db.close().unwrap();
    let error = other.appender().unwrap_err();
    assert_eq!(
        (error.kind(), error.path(), error.applied()),
        (ErrorKind::Closed, Some(dir.path()), Applied::No)
    );
}
