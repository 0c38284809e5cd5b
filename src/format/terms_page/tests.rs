//! Goal: pages come back as they were written, and nothing else passes. Method: random pairs, every damage, the limits from both sides.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::format::testing;

type Owned = (u32, String, String, Result<ListPlace, Vec<u32>>);

/// Every other pair has ids of its own: as many as its number allows.
fn ids(i: u32) -> Vec<u32> {
    (0..=i % MAX_INLINE_IDS as u32).map(|n| i * 1_000 + n * n * n).collect()
}

fn page(pairs: &BTreeSet<(String, String)>) -> Vec<u8> {
    let mut builder = Builder::new(10, 1_000);
    for (i, (name, value)) in (0u32..).zip(pairs) {
        match i % 2 {
            0 => builder.push(name, value, NewPostings::Listed(MIN_LIST_BYTES + i)),
            _ => builder.push(name, value, NewPostings::Inline(&ids(i))),
        }
    }
    let mut out = Vec::new();
    builder.finish(1, 5_000, &mut out);
    out
}

fn all(bytes: &[u8]) -> Result<Vec<Owned>, DecodeError> {
    let page = Page::decode(1, 5_000, bytes)?;
    let mut walk = page.walk();
    let mut out = Vec::new();
    while let Some(t) = walk.next()? {
        out.push((t.ordinal, t.name.to_owned(), t.value.to_owned(), owned(t.postings)?));
    }
    Ok(out)
}

fn owned(postings: Postings<'_>) -> Result<Result<ListPlace, Vec<u32>>, DecodeError> {
    let mut ids = Vec::new();
    match postings {
        Postings::Listed(list) => Ok(Ok(list)),
        Postings::Inline(inline) => inline.decode_into(u32::MAX, &mut ids).map(|()| Err(ids)),
    }
}

fn with_names(pairs: impl IntoIterator<Item = (String, String)>) -> BTreeSet<(String, String)> {
    pairs.into_iter().flat_map(|(n, v)| [(n.clone(), String::new()), (n, v)]).collect()
}

fn sample(n: usize) -> BTreeSet<(String, String)> {
    with_names((0..n).map(|i| (format!("label{}", i % 3), format!("value-{i}"))))
}

fn check(pairs: &BTreeSet<(String, String)>) {
    let bytes = page(pairs);
    let got = all(&bytes).unwrap();
    let keys: BTreeSet<_> = got.iter().map(|(_, n, v, _)| (n.clone(), v.clone())).collect();
    assert_eq!(&keys, pairs);
    let read = Page::decode(1, 5_000, &bytes).unwrap();
    let mut offset = 1_000;
    for (i, (ordinal, name, value, postings)) in (0u32..).zip(&got) {
        let bytes = MIN_LIST_BYTES + i;
        let expected = if i % 2 == 0 { Ok(ListPlace { offset, bytes }) } else { Err(ids(i)) };
        assert_eq!((*ordinal, postings), (10 + i, &expected));
        offset += expected.map_or(0, |list| u64::from(list.bytes));
        let (number, found) = read.find(name, value).unwrap().unwrap();
        assert_eq!((number, owned(found).as_ref()), (*ordinal, Ok(postings)));
        assert!(read.walk_to(*ordinal).next().unwrap().unwrap().ordinal <= *ordinal);
        assert_eq!(read.find(name, &format!("{value}\u{1}")).unwrap(), None);
    }
    assert_eq!(read.find("", "").unwrap(), None);
    assert_eq!(read.find("~", "").unwrap(), None);
}

#[test]
fn pages_round_trip_around_the_restarts() {
    for n in [1, 2, 29, 30, 31, 32, 33, 64, 65, 200] {
        check(&sample(n));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_pairs_round_trip(pairs in prop::collection::vec(("[a-cü]{1,3}", "[a-bé\u{0}]{1,5}"), 1..120)) {
        check(&with_names(pairs));
    }
    #[test]
    fn bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz(&data);
    }
    #[test]
    fn forged_pages_never_panic(at in 0usize..10_000, byte in any::<u8>()) {
        let mut body = page(&sample(70));
        body.truncate(body.len() - 4);
        let at = at % body.len();
        body[at] = byte;
        fuzz(&body);
    }
}

#[test]
fn damage_is_found() {
    let bytes = page(&sample(36));
    testing::truncations_fail(&bytes, all);
    testing::bit_flips_fail_or_agree(&bytes, all);
}

#[test]
fn limits() {
    let longest = with_names([("n".repeat(MAX_LABEL_NAME_BYTES), "v".repeat(MAX_LABEL_VALUE_BYTES))]);
    let bytes = page(&longest);
    assert!(bytes.len() <= MAX_PAGE_BYTES);
    assert_eq!(all(&bytes).unwrap().len(), 2);
    assert!(all(&page(&with_names([("n".repeat(MAX_LABEL_NAME_BYTES + 1), "v".into())]))).is_err());
    assert!(all(&page(&with_names([("n".into(), "v".repeat(MAX_LABEL_VALUE_BYTES + 1))]))).is_err());
    let mut builder = Builder::new(0, 0);
    builder.push("n", "", NewPostings::Inline(&[3]));
    assert!(builder.fits("n", &"v".repeat(TARGET_BYTES / 2)));
    assert!(!builder.fits("n", &"v".repeat(TARGET_BYTES)));
    while builder.fits("n", "12345678") {
        builder.push("n", &format!("{:08}", builder.count()), NewPostings::Inline(&[u32::MAX - 1]));
    }
    let mut out = Vec::new();
    builder.finish(1, 5_000, &mut out);
    assert!(out.len() <= TARGET_BYTES && out.len() > TARGET_BYTES / 2, "{}", out.len());
}

#[test]
fn disorder_is_refused() {
    let bad = |pairs: &[(&str, &str)]| {
        let mut builder = Builder::new(0, 0);
        for (name, value) in pairs {
            builder.push(name, value, NewPostings::Inline(&[5]));
        }
        let mut out = Vec::new();
        builder.finish(1, 5_000, &mut out);
        all(&out).is_err()
    };
    assert!(!bad(&[("a", ""), ("a", "x"), ("b", "")]));
    assert!(bad(&[]), "no entry");
    assert!(bad(&[("", "")]), "an empty name");
    assert!(bad(&[("a", ""), ("a", "")]), "repeated");
    assert!(bad(&[("a", "x"), ("a", "w")]), "descending");
    assert!(bad(&[("b", ""), ("a", "")]), "names descending");
    // In place of 0, the length of the last value's tail and its middle, "1", which ends as what it replaces does.
    let mut builder = Builder::new(0, 0);
    for value in ["", "a0-x", "a1-x"] {
        builder.push("n", value, NewPostings::Inline(&[5]));
    }
    let mut bytes = Vec::new();
    builder.finish(1, 5_000, &mut bytes);
    assert!(all(&bytes).is_ok());
    let at = bytes.windows(4).position(|entry| entry == [2, 2, 1, b'1']).unwrap();
    bytes.splice(at..at + 4, [2, 1, 2, b'1', b'-']);
    bytes.truncate(bytes.len() - 4);
    seal(&mut bytes, 0, place_seed(1, 5_000));
    assert!(all(&bytes).is_err(), "an end that is shared in part");
    let refused = |postings: NewPostings<'_>| {
        let mut builder = Builder::new(0, 0);
        builder.push("a", "", postings);
        let mut out = Vec::new();
        builder.finish(1, 5_000, &mut out);
        all(&out).is_err()
    };
    assert!(refused(NewPostings::Listed(MIN_LIST_BYTES - 1)), "a list shorter than any");
    assert!(!refused(NewPostings::Listed(MIN_LIST_BYTES)));
    assert!(refused(NewPostings::Inline(&[])), "no id");
    assert!(!refused(NewPostings::Inline(&[7; 1])));
    assert!(refused(NewPostings::Inline(&[7, 7])), "an id twice");
    let ids: Vec<u32> = (0..=MAX_INLINE_IDS as u32).collect();
    assert!(refused(NewPostings::Inline(&ids)), "too many ids");
    assert!(!refused(NewPostings::Inline(&ids[1..])));
    let mut out = Vec::new();
    assert!(InlineIds(&[5, 0]).decode_into(7, &mut out).is_ok() && out == [5, 6]);
    assert!(InlineIds(&[5, 0]).decode_into(6, &mut out).is_err(), "an id that is not below the count");
}

#[test]
fn stretches_find_what_values_contain_and_not_what_two_of_them_do() {
    let values = ["a", "aa", "aab", "ab", "abab", "b", "b2", "baab"];
    let pairs = with_names(values.map(|value| ("n".to_owned(), value.to_owned())));
    let bytes = page(&pairs);
    let page = Page::decode(1, 5_000, &bytes).unwrap();
    let mut walk = page.walk();
    let stretch = walk.next_stretch().unwrap().unwrap();
    assert!(stretch.is_of("n") && !stretch.is_of("m"));
    for infix in ["a", "b", "ab", "aa", "ba", "bab", "baba", "2", "none"] {
        let finder = Finder::new(infix);
        let (mut found, mut from) = (Vec::new(), 0);
        while let Some(i) = stretch.find(from, &finder) {
            found.push(stretch.term(i).unwrap().unwrap().value);
            from = i + 1;
        }
        let expected: Vec<&str> = values.into_iter().filter(|value| value.contains(infix)).collect();
        assert_eq!(found, expected, "{infix:?}");
    }
    assert!(walk.next_stretch().unwrap().is_none());
}

#[test]
fn values_that_end_alike_take_little_more_than_what_differs() {
    let end = "-of-a-domain-name-that-all-have-in-common:9100";
    let pairs = with_names((0..500).map(|i| ("n".to_owned(), format!("{i}{end}"))));
    let mut builder = Builder::new(0, 0);
    for (name, value) in &pairs {
        builder.push(name, value, NewPostings::Inline(&[1]));
    }
    let mut out = Vec::new();
    builder.finish(1, 5_000, &mut out);
    assert!(out.len() < 500 * 9 + 16 * end.len() + 200, "{} bytes", out.len());
}

#[test]
fn golden() {
    let mut builder = Builder::new(4, 256);
    builder.push("job", "", NewPostings::Listed(25));
    builder.push("job", "api", NewPostings::Inline(&[3, 4, 300]));
    builder.push("job", "app", NewPostings::Listed(21));
    builder.push("job", "apple", NewPostings::Inline(&[3]));
    builder.push("job", "apply-the", NewPostings::Inline(&[4]));
    builder.push("le", "", NewPostings::Inline(&[4]));
    let mut out = Vec::new();
    builder.finish(1, 281, &mut out);
    testing::golden("terms_page", &out);
}
