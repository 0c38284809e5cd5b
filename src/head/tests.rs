//! Goal: a reader pinned at a commit sees exactly the rows of the commits up to it, whatever commits,
//! deletes, truncations and collections follow. Method: random steps against a plain list of states.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::model::{Cancel, Columns, MatchOp};
use crate::source::Source;

type Model = BTreeMap<(String, i64), u64>;

pub(super) fn options() -> HeadOptions {
    HeadOptions {
        out_of_order_window_ms: 500,
        max_future_ms: 1_000_000,
        max_series: 1_000,
        max_bytes: 1 << 30,
    }
}

fn labels(i: u64) -> Labels {
    Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())]).unwrap()
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Everything that a view shows.
fn read(view: &HeadView, matchers: &[Matcher]) -> Model {
    let mut out = Model::new();
    let mut stream = view.select(matchers, TimeRange::ALL, &Cancel::default()).unwrap();
    let mut previous: Option<Labels> = None;
    while let Some(series) = stream.next().unwrap() {
        assert!(previous.as_ref().is_none_or(|p| *p < series.labels), "label order, each once");
        for chunk in &series.chunks {
            let mut rows = Columns::default();
            let crate::source::ChunkData::Memory(payload) = &chunk.data else { panic!("in memory") };
            crate::format::gorilla::decode_into(payload, &mut rows).unwrap();
            assert!(rows.t.windows(2).all(|w| w[0] < w[1]));
            for (t, v) in rows.t.iter().zip(&rows.v).take(chunk.rows as usize) {
                let old = out.insert((series.labels.to_string(), *t), v.to_bits());
                assert_eq!(old, None, "no row twice");
            }
        }
        previous = Some(series.labels);
    }
    out
}

fn commit(head: &Head, lsn: u64, rows: &[Row]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    head.judge(rows, 0, &mut verdicts).unwrap();
    head.apply(Lsn(lsn), &verdicts.accepted);
    head.set_visible(Lsn(lsn));
    verdicts
}

fn collect(head: &Head) -> Removed {
    let empty = head.collect();
    head.remove(&empty.slots, empty.safe)
}

fn why(verdicts: &Verdicts) -> Vec<(usize, AppendError)> {
    verdicts.rejected.clone()
}

#[test]
fn verdicts() {
    let head = Arc::new(Head::new(options(), 1));
    let a = head.series(&labels(1)).unwrap();
    let row = |t, v| Row { series: a, t, v };
    assert!(why(&commit(&head, 1, &[row(0, 1.0), row(1_000, 2.0), row(700, 3.0)])).is_empty());
    let v =
        commit(&head, 2, &[row(1_000, 2.0), row(1_000, 9.0), row(700, 3.0), row(700, 8.0), row(499, 0.0)]);
    assert_eq!(v.duplicates, 2);
    assert_eq!(why(&v), [(1, AppendError::Conflict), (3, AppendError::Conflict), (4, AppendError::TooOld)]);
    let v = commit(
        &head,
        3,
        &[
            row(i64::MAX, 0.0),
            row(1_000_001, 0.0),
            row(1_500, 1.0),
            row(1_500, 2.0),
            row(1_200, 5.0),
            row(1_200, 6.0),
        ],
    );
    let expected = [
        (0, AppendError::BadTimestamp),
        (1, AppendError::TooFarInFuture),
        (3, AppendError::Conflict),
        (5, AppendError::Conflict),
    ];
    assert_eq!(why(&v), expected);
    assert_eq!(v.accepted.len(), 2);
    let foreign = Head::new(options(), 2).series(&labels(1)).unwrap();
    let v = commit(&head, 4, &[Row { series: foreign, t: 2_000, v: 0.0 }, row(2_000, 1.0)]);
    assert_eq!(why(&v), [(0, AppendError::StaleRef)]);
}

#[test]
fn a_batch_that_was_not_applied_is_judged_the_same_again() {
    let head = Head::new(options(), 1);
    let (a, b) = (head.series(&labels(1)).unwrap(), head.series(&labels(2)).unwrap());
    commit(&head, 1, &[Row { series: a, t: 100, v: 1.0 }]);
    let row = |series, t| Row { series, t, v: 2.0 };
    let batch = [row(a, 200), row(b, 50), row(a, 200), row(a, 150), row(b, 60)];
    let mut first = Verdicts::default();
    head.judge(&batch, 0, &mut first).unwrap();
    assert_eq!((first.accepted.len(), first.duplicates), (4, 1));
    head.settle(&first.accepted);
    let again = commit(&head, 2, &batch);
    assert_eq!((again.accepted, again.duplicates), (first.accepted, first.duplicates));
    assert_eq!(commit(&head, 3, &batch).duplicates, 5);
}

#[test]
fn a_collected_series_leaves_a_stale_reference() {
    let head = Arc::new(Head::new(options(), 1));
    let old = head.series(&labels(1)).unwrap();
    assert!(collect(&head).slots.is_empty(), "asked for in this round");
    collect(&head);
    assert!(!head.is_live(old) || head.series_count() == 1);
    let removed = collect(&head);
    head.release(&removed);
    assert!(!head.is_live(old));
    assert_eq!(head.series_count(), 0);
    let new = head.series(&labels(2)).unwrap();
    assert!(head.is_live(new) && !head.is_live(old) && new != old);
    assert_eq!(why(&commit(&head, 1, &[Row { series: old, t: 1, v: 1.0 }])), [(0, AppendError::StaleRef)]);
}

#[test]
fn a_batch_keeps_its_series() {
    let head = Head::new(options(), 1);
    let round = head.begin_batch();
    let series = head.series(&labels(1)).unwrap();
    for _ in 0..5 {
        collect(&head);
    }
    assert!(head.is_live(series));
    head.end_batch(round);
    collect(&head);
    collect(&head);
    assert!(!head.is_live(series));
}

#[test]
fn ceilings() {
    let head = Head::new(HeadOptions { max_series: 2, ..options() }, 1);
    head.series(&labels(1)).unwrap();
    head.series(&labels(2)).unwrap();
    assert_eq!(head.series(&labels(3)), Err(AppendError::Ceiling));
    assert!(head.series(&labels(2)).is_ok());
}

#[test]
fn pinned_readers_see_their_commit() {
    for seed in 1..=12 {
        println!("seed {seed}");
        random_steps(seed);
    }
}

fn random_steps(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let head = Arc::new(Head::new(options(), 1));
    let mut model = Model::new();
    let mut readers: Vec<(HeadView, Model)> = Vec::new();
    let mut now = 0i64;
    for lsn in 1..400u64 {
        match random.below(20) {
            0 => {
                let which = Matcher::new(MatchOp::Equal, "i", random.below(6).to_string()).unwrap();
                let start = now - random.below(1_500) as i64;
                let range = TimeRange::new(start, start + random.below(700) as i64);
                head.delete(std::slice::from_ref(&which), range).unwrap();
                let name = format!("i=\"{}\"", which.value());
                model.retain(|(series, t), _| !(series.contains(&name) && range.contains(*t)));
                head.set_visible(Lsn(lsn));
            }
            1 => {
                // A flush: what is in the range goes to a block, which new readers would see instead.
                let hull = head.time_range();
                if !hull.is_empty() {
                    let start = hull.start().div_euclid(1_000) * 1_000;
                    let range = TimeRange::new(start, start + 1_000);
                    let pin = head.pin();
                    let edition = head.next_edition();
                    head.publish_edition(edition);
                    head.truncate(range, &pin, edition).unwrap();
                    model.retain(|(_, t), _| !range.contains(*t));
                }
            }
            2 => {
                let removed = collect(&head);
                head.release(&removed);
                head.tighten();
            }
            3 if !readers.is_empty() => {
                let gone = random.below(readers.len() as u64) as usize;
                readers.swap_remove(gone);
            }
            _ => {
                now += random.below(60) as i64;
                let mut rows = Vec::new();
                for _ in 0..random.below(8) {
                    let series = head.series(&labels(random.below(6))).unwrap();
                    let t = now - random.below(4).pow(5) as i64;
                    rows.push(Row { series, t, v: random.below(3) as f64 });
                }
                let verdicts = commit(&head, lsn, &rows);
                for row in &verdicts.accepted {
                    let name = head.labels_of(row.series).unwrap().0.to_string();
                    model.insert((name, row.t), row.v.to_bits());
                }
            }
        }
        if random.below(10) == 0 {
            readers.push((HeadView::new(Arc::clone(&head), head.pin()), model.clone()));
        }
        if random.below(25) == 0 {
            readers.iter().for_each(|(view, expected)| assert_eq!(&read(view, &[]), expected));
        }
    }
    readers.push((HeadView::new(Arc::clone(&head), head.pin()), model));
    readers.iter().for_each(|(view, expected)| assert_eq!(&read(view, &[]), expected));
}

/// Series that come, have a row, are flushed and go, by the million: `SILVERBACK_CHURN=10000000 cargo test --release
/// churn_keeps_memory_flat` for an hour of a large site; a moment's worth otherwise.
#[test]
fn churn_keeps_memory_flat() {
    let total = std::env::var("SILVERBACK_CHURN").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000u64);
    let (rounds, mut peak) = (40, 0);
    let at_once = total / rounds;
    let options = HeadOptions { max_series: usize::try_from(at_once).unwrap() * 4, ..options() };
    let head = Arc::new(Head::new(options, 1));
    let mut most_slots = 0;
    for round in 0..rounds {
        let t = round.cast_signed() * 1_000;
        for n in 0..at_once {
            let labels =
                [("__name__", "m".to_owned()), ("job", "api".to_owned()), ("pod", format!("{round}-{n}"))];
            let series = head.series(&Labels::from_pairs(labels).unwrap()).unwrap();
            most_slots = most_slots.max(u64::from(series.parts().0) + 1);
            if n % 64 == 0 {
                commit(&head, round * at_once + n + 1, &[Row { series, t, v: 1.0 }]);
            }
        }
        let pin = head.pin();
        let edition = head.next_edition();
        head.publish_edition(edition);
        head.truncate(TimeRange::new(t, t + 1_000), &pin, edition).unwrap();
        drop(pin);
        let removed = collect(&head);
        head.release(&removed);
        head.tighten();
        if round == rounds / 4 {
            peak = head.bytes();
        }
        assert!(round <= rounds / 4 || head.bytes() <= peak + peak / 16, "{} in round {round}", head.bytes());
    }
    assert!(most_slots <= at_once * 4, "slots are used again: {most_slots}");
    for _ in 0..3 {
        let removed = collect(&head);
        head.release(&removed);
    }
    assert_eq!((head.series_count(), head.bytes()), (0, 0));
}

/// A flush has published its block, a reader comes, then a delete; only then the rows of the flush are taken out of the head.
#[test]
fn a_delete_between_a_flush_and_its_truncation_is_not_seen_by_who_came_before_it() {
    let head = Arc::new(Head::new(options(), 1));
    let series = head.series(&labels(1)).unwrap();
    let rows: Vec<Row> = (0..10).map(|t| Row { series, t, v: 1.0 }).collect();
    commit(&head, 1, &rows);
    for who_reads in [false, true] {
        let before = who_reads.then(|| HeadView::new(Arc::clone(&head), head.pin()));
        let pin = head.pin();
        let edition = head.next_edition();
        head.publish_edition(edition);
        let between = HeadView::new(Arc::clone(&head), head.pin());
        let expected = read(&between, &[]);
        assert_eq!(expected.len(), if who_reads { 8 } else { 10 });
        let gone = if who_reads { 6 } else { 8 };
        head.delete(&[], TimeRange::new(gone, gone + 2)).unwrap();
        head.truncate(TimeRange::new(0, 1 + i64::from(who_reads)), &pin, edition).unwrap();
        drop(pin);
        for _ in 0..3 {
            let removed = collect(&head);
            head.release(&removed);
            assert_eq!(read(&between, &[]), expected);
            assert!(before.as_ref().is_none_or(|before| read(before, &[]) == expected));
        }
        // Without the two that were deleted, and the one that was flushed.
        let now = read(&HeadView::new(Arc::clone(&head), head.pin()), &[]);
        assert_eq!(now.len(), if who_reads { 5 } else { 7 });
        if !who_reads {
            commit(&head, 2, &[Row { series, t: 20, v: 1.0 }]);
        }
    }
}

/// Series that are past the range of a flush keep nothing for it; one that lags behind does.
#[test]
fn a_flush_sees_its_range_as_it_was_and_costs_series_past_it_nothing() {
    const END: i64 = 1_000;
    let head = Arc::new(Head::new(options(), 1));
    let [lags, past] = [1, 2].map(|i| head.series(&labels(i)).unwrap());
    let row = |series, t: i64| Row { series, t, v: t as f64 };
    commit(&head, 1, &[row(lags, 10), row(past, 900), row(past, END)]);
    let pin = Arc::new(head.pin().before(END));
    let view = HeadView::new(Arc::clone(&head), Arc::clone(&pin));
    for n in 2..6 {
        commit(&head, n, &[row(lags, 10 * n.cast_signed()), row(past, END + n.cast_signed())]);
    }
    let marks = |series: SeriesRef| {
        let slot = series.parts().0;
        head.shard(slot).unwrap().write().series_mut(slot).unwrap().data.marks()
    };
    assert_eq!((marks(lags), marks(past)), (1, 0));
    let in_range = |view: &HeadView| read(view, &[]).into_keys().filter(|(_, t)| *t < END).map(|(_, t)| t);
    assert_eq!(in_range(&view).collect::<Vec<_>>(), [10, 900]);
    let edition = head.next_edition();
    head.publish_edition(edition);
    head.truncate(TimeRange::new(0, END), &pin, edition).unwrap();
    let rest = read(&HeadView::new(Arc::clone(&head), head.pin()), &[]);
    assert_eq!(
        rest.into_keys().map(|(_, t)| t).collect::<Vec<_>>(),
        [20, 30, 40, 50, END, 1_002, 1_003, 1_004, 1_005]
    );
    // Who reads all times asks for more, as before.
    let reader = HeadView::new(Arc::clone(&head), head.pin());
    let expected = read(&reader, &[]);
    commit(&head, 6, &[row(past, 2_000)]);
    commit(&head, 7, &[row(past, 2_001)]);
    assert_eq!((read(&reader, &[]), marks(past)), (expected, 1));
}

/// Of series that have a row in each commit, few end a chunk in the same one; and no chunk is long or short.
#[test]
fn series_that_began_together_end_their_chunks_apart() {
    const SERIES: u32 = 120;
    let mut all: Vec<series::SeriesData> = (0..SERIES).map(|_| series::SeriesData::default()).collect();
    let chunks = |data: &series::SeriesData| -> Vec<u32> {
        data.chunks(Lsn(u64::MAX), TimeRange::ALL).unwrap().iter().map(|chunk| chunk.rows).collect()
    };
    for t in 0..700 {
        let mut ended = 0;
        for (slot, data) in (0..).zip(&mut all) {
            let before = chunks(data).len();
            data.append(Lsn(1), (t, t as f64), slot, None);
            ended += u32::from(before > 0 && chunks(data).len() > before);
        }
        assert!(ended <= SERIES / 60, "{ended} of {SERIES} with row {t}");
    }
    for data in &all {
        let rows = chunks(data);
        let (first, rest) = rows.split_first().unwrap();
        assert!((120..180).contains(first), "{first}");
        assert!(rest.split_last().unwrap().1.iter().all(|rows| *rows == 120));
    }
}

/// With rows taken from the front, the middle and the open chunk, seen by a reader or not.
#[test]
fn bytes_are_given_back_as_they_were_taken() {
    for reads in [false, true] {
        let head = Arc::new(Head::new(options(), 1));
        let series = head.series(&labels(1)).unwrap();
        let none = head.bytes();
        let rows: Vec<Row> = (0..500).map(|t| Row { series, t, v: (t * t % 977) as f64 }).collect();
        commit(&head, 1, &rows);
        let all = head.bytes();
        for (from, to) in [(0, 50), (50, 130), (200, 210), (480, 490), (130, 300)] {
            let reader = reads.then(|| head.pin());
            head.delete(&[], TimeRange::new(from, to)).unwrap();
            drop(reader);
            head.collect();
            let slot = series.parts().0;
            let here = head.shard(slot).unwrap().write().series_mut(slot).unwrap().data.bytes();
            assert_eq!(head.bytes(), none + here, "without {from}..{to}, read: {reads}");
            assert!(head.bytes() < all);
        }
        head.delete(&[], TimeRange::ALL).unwrap();
        head.collect();
        assert_eq!(head.bytes(), none);
    }
}

#[test]
fn what_an_edit_replaces_stays_while_somebody_may_ask_for_it() {
    let archived = |editions: &[u64]| {
        let mut data = series::SeriesData::default();
        for (&edition, t) in editions.iter().zip(0..) {
            data.append(Lsn(1), (t, 0.0), 0, None);
            data.replace(edition, data.clone());
        }
        data
    };
    // (editions, the one that began the clean-up, pinned ones) to the rows that each of some editions still finds.
    let kept = |editions: &[u64], edition: u64, pinned: &[u64]| {
        let mut data = archived(editions);
        let freed =
            data.prune_archive(&series::Readers { edition, pinned: pinned.iter().copied().collect() });
        let all = archived(editions).prune_archive(&series::Readers { edition: u64::MAX, pinned: [].into() });
        assert!(freed <= all, "{freed} of {all} bytes");
        pinned.iter().map(|edition| data.as_of(*edition).rows()).collect::<Vec<_>>()
    };
    assert_eq!(kept(&[1, 2, 3], 3, &[0, 1, 2, 3]), [1, 2, 3, 3]);
    assert_eq!(kept(&[1, 2, 3], 3, &[0]), [1], "the state of edition 1 alone");
    assert_eq!(kept(&[1, 2, 3], 3, &[2]), [3]);
    // A delete that came to the series ahead of a truncation that began before it.
    assert_eq!(kept(&[2, 1], 2, &[0]), [1]);
    assert_eq!(kept(&[2, 1, 3], 3, &[1, 2]), [1, 3]);
    // Edits that come while others are cleaned up: a reader of before them is not among the pinned ones yet.
    for edition in [0, 1] {
        let mut data = archived(&[edition + 1, edition + 2]);
        data.prune_archive(&series::Readers { edition, pinned: [].into() });
        assert_eq!((data.as_of(edition).rows(), data.as_of(edition + 1).rows()), (1, 2));
    }
}
