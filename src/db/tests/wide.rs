//! Goal: a query over many blocks looks at those alone that can have what it asks for. Method: reads are counted.

use super::*;

/// Blocks of ten seconds each, in which one series of each is like no other, and one is in all.
fn many_blocks(fs: &MemFs, count: i64) {
    let db = open(fs);
    for k in 0..count {
        let mut bulk = db.bulk_loader().unwrap();
        for i in [0, 1_000 + k.cast_unsigned()] {
            let s = bulk.series(&series(i)).unwrap();
            let t: Vec<i64> = (0..10).map(|n| k * 10_000_000 + n * 1_000).collect();
            bulk.extend(s, &t, &[1.5; 10]).unwrap();
        }
        bulk.finish().unwrap();
    }
    assert_eq!(db.stats().blocks, count.cast_unsigned());
}

/// How many calls of the filesystem, and how many samples, a query takes.
fn ask(fs: &MemFs, range: TimeRange, selector: &str) -> (u64, usize) {
    let counted = FaultFs::new(Arc::new(fs.clone()));
    let db = Db::open_read_only("/db", options_on(Arc::new(counted.clone()))).unwrap();
    let before = counted.operations();
    let found = read(&db.querier(range).unwrap(), &selector.parse().unwrap());
    (counted.operations() - before, found.len())
}

#[test]
fn blocks_beside_the_range_and_blocks_without_the_pair_are_passed_by() {
    let (few, many) = (MemFs::new(), MemFs::new());
    many_blocks(&few, 3);
    many_blocks(&many, 120);
    let one = TimeRange::new(10_000_000, 10_010_000);
    let (calls, samples) = ask(&few, one, r#"{i="0"}"#);
    assert_eq!((calls, samples), ask(&many, one, r#"{i="0"}"#), "117 blocks more cost nothing");
    assert_eq!(samples, 10);

    let (calls_few, samples) = ask(&few, TimeRange::ALL, r#"{i="1001"}"#);
    let (calls_many, same) = ask(&many, TimeRange::ALL, r#"{i="1001"}"#);
    assert_eq!((samples, same), (10, 10));
    assert_eq!(calls_many, calls_few + 117, "a page of its filter for each block that has no such pair");
    let (calls_all, all) = ask(&many, TimeRange::ALL, r#"{i="0"}"#);
    assert!(
        all == 1_200 && calls_all > 5 * calls_many,
        "{calls_all} calls for what is in all blocks, {calls_many}"
    );
}
