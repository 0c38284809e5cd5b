//! A leaf of the family table in `index`: metadata of metric families, sorted by name.
//!
//! ```text
//!   ┌───────────────┬───────────────┬─────────┬─────────┬───┬───────┐
//!   │ first: varint │ count: varint │ entry 0 │ entry 1 │ … │ crc32 │
//!   └───────────────┴───────────────┴─────────┴─────────┴───┴───────┘
//!   entry   name: sized   type: 1 B   unit: sized   help: sized
//! ```
//!
//! Families are numbered in the order of their names; `first` is the number of the first entry.
//! The type's byte: 0 unknown, 1 counter, 2 gauge, 3 histogram, 4 summary, 5 gaugehistogram, 6 info, 7 stateset.
//!
//! Invariants: names are not empty and strictly ascend; strings are UTF-8. Families are few and
//! their texts differ, so they are stored plainly; a page is read from its beginning.

use super::cursor::{Reader, Write, checked, place_seed, seal};
use crate::error::{DecodeError, DecodeReason};
use crate::model::{Metadata, MetricType};

const STRUCTURE: &str = "families_page";
/// A page is closed before an entry that would make it larger; a single larger entry has a page of its own.
pub(crate) const TARGET_BYTES: usize = 16_384;
/// The largest page.
pub(crate) const MAX_PAGE_BYTES: usize = 262_144;
/// The longest name, unit, or help text.
pub(crate) const MAX_TEXT_BYTES: usize = 65_535;
/// An upper bound for the bytes of an entry beside its texts, and of the page beside its entries.
const ENTRY_OVERHEAD_BYTES: usize = 16;

/// Collects the entries of one page.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    first: u32,
    count: u32,
    entries: Vec<u8>,
}

impl Builder {
    /// A page that begins with family number `first`.
    pub(crate) fn new(first: u32) -> Builder {
        Builder { first, ..Builder::default() }
    }

    /// The number of entries.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Whether there is room for one more entry.
    pub(crate) fn fits(&self, name: &str, metadata: &Metadata) -> bool {
        let texts = name.len() + metadata.unit.len() + metadata.help.len();
        self.count == 0 || self.entries.len() + texts + 2 * ENTRY_OVERHEAD_BYTES <= TARGET_BYTES
    }

    /// Adds a family with a greater name than the one before.
    pub(crate) fn push(&mut self, name: &str, metadata: &Metadata) {
        let code = MetricType::ALL.iter().position(|t| *t == metadata.metric_type).unwrap_or(0);
        self.entries.put_sized(name.as_bytes());
        self.entries.put_u8(u8::try_from(code).unwrap_or(0));
        self.entries.put_sized(metadata.unit.as_bytes());
        self.entries.put_sized(metadata.help.as_bytes());
        self.count += 1;
    }

    /// Appends the page, which will stand at `offset`.
    pub(crate) fn finish(&self, salt: u32, offset: u64, out: &mut Vec<u8>) {
        let from = out.len();
        out.put_varint(u64::from(self.first));
        out.put_varint(u64::from(self.count));
        out.extend_from_slice(&self.entries);
        seal(out, from, place_seed(salt, offset));
    }
}

/// A page in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The number of the first family.
    pub(crate) first: u32,
    /// Names and metadata, at least one, sorted by name.
    pub(crate) families: Vec<(String, Metadata)>,
}

impl Page {
    /// Decodes the page that stands at `offset`.
    pub(crate) fn decode(salt: u32, offset: u64, bytes: &[u8]) -> Result<Page, DecodeError> {
        let body = checked(STRUCTURE, place_seed(salt, offset), bytes)?;
        let mut r = Reader::new(STRUCTURE, body);
        let first = r.varint32()?;
        // An entry takes five bytes at least.
        let count = r.count(r.remaining() / 5)?;
        let numbered = u32::try_from(count).ok().and_then(|n| first.checked_add(n));
        if count == 0 || numbered.is_none() {
            return Err(r.invalid("the page has no family, or more than there are numbers"));
        }
        let mut families: Vec<(String, Metadata)> = Vec::new();
        for _ in 0..count {
            let (name, metadata) = decode_entry(&mut r)?;
            if name.is_empty() || families.last().is_some_and(|(before, _)| before.as_str() >= name) {
                return Err(r.invalid("the families are not in order"));
            }
            families.push((name.to_owned(), metadata));
        }
        r.finish()?;
        Ok(Page { first, families })
    }
}

fn decode_entry<'a>(r: &mut Reader<'a>) -> Result<(&'a str, Metadata), DecodeError> {
    let name = r.sized_str(MAX_TEXT_BYTES)?;
    let code = r.u8()?;
    let Some(&metric_type) = MetricType::ALL.get(usize::from(code)) else {
        let maximum = MetricType::ALL.len() as u64 - 1;
        return Err(r.error(DecodeReason::AboveMaximum { found: u64::from(code), maximum }));
    };
    let unit = r.sized_str(MAX_TEXT_BYTES)?.to_owned();
    let help = r.sized_str(MAX_TEXT_BYTES)?.to_owned();
    Ok((name, Metadata { metric_type, unit, help }))
}

/// The property that fuzzing checks: what is accepted, sealed or not, is written back to the same bytes.
pub(crate) fn fuzz(data: &[u8]) {
    const PLACE: (u32, u64) = (7, 4_096);
    let mut sealed = data.to_vec();
    seal(&mut sealed, 0, place_seed(PLACE.0, PLACE.1));
    for bytes in [data, &sealed] {
        let Ok(page) = Page::decode(PLACE.0, PLACE.1, bytes) else { continue };
        let mut builder = Builder::new(page.first);
        for (name, metadata) in &page.families {
            builder.push(name, metadata);
        }
        let mut out = Vec::new();
        builder.finish(PLACE.0, PLACE.1, &mut out);
        assert_eq!(out, bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    fn page(first: u32, families: &[(String, Metadata)]) -> Vec<u8> {
        let mut builder = Builder::new(first);
        for (name, metadata) in families {
            builder.push(name, metadata);
        }
        let mut out = Vec::new();
        builder.finish(1, 5_000, &mut out);
        out
    }

    fn family(name: &str, metric_type: MetricType, unit: &str, help: &str) -> (String, Metadata) {
        (name.to_owned(), Metadata { metric_type, unit: unit.to_owned(), help: help.to_owned() })
    }

    fn example() -> Vec<(String, Metadata)> {
        vec![family("boot", MetricType::Gauge, "s", "Uptime."), family("up", MetricType::Unknown, "", "")]
    }

    fn decode(bytes: &[u8]) -> Result<Page, DecodeError> {
        Page::decode(1, 5_000, bytes)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_families_round_trip(map in prop::collection::btree_map("[a-dü]{1,4}", (0usize..8, ".{0,5}", ".{0,30}"), 1..40)) {
            let families: Vec<_> =
                map.iter().map(|(name, (code, unit, help))| family(name, MetricType::ALL[*code], unit, help)).collect();
            prop_assert_eq!(decode(&page(9, &families)).unwrap(), Page { first: 9, families });
        }
        #[test]
        fn bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
            fuzz(&data);
        }
    }

    #[test]
    fn damage_is_found() {
        let bytes = page(0, &example());
        testing::truncations_fail(&bytes, decode);
        testing::bit_flips_fail_or_agree(&bytes, decode);
        assert!(Page::decode(1, 5_001, &bytes).is_err(), "another place");
    }

    #[test]
    fn limits_and_order() {
        let text = "x".repeat(MAX_TEXT_BYTES);
        let largest = page(0, &[family(&text, MetricType::StateSet, &text, &text)]);
        assert!(largest.len() <= MAX_PAGE_BYTES && decode(&largest).is_ok());
        let longer = format!("{text}x");
        assert!(decode(&page(0, &[family(&longer, MetricType::Info, "", "")])).is_err());
        assert!(decode(&page(0, &[family("a", MetricType::Info, &longer, "")])).is_err());
        assert!(decode(&page(0, &[family("a", MetricType::Info, "", &longer)])).is_err());
        assert!(decode(&page(0, &[])).is_err(), "no entry");
        assert!(decode(&page(0, &[family("", MetricType::Info, "", "")])).is_err(), "an empty name");
        let twice = [family("a", MetricType::Info, "", ""), family("a", MetricType::Info, "", "")];
        assert!(decode(&page(0, &twice)).is_err());
        assert!(decode(&page(u32::MAX - 1, &example())).is_err(), "numbers overflow");
        let (name, metadata) = family("a", MetricType::Info, "", &"x".repeat(TARGET_BYTES / 2));
        let mut builder = Builder::new(0);
        assert!(builder.fits(&name, &metadata));
        builder.push(&name, &metadata);
        assert!(!builder.fits(&name, &metadata));
        let mut body = vec![0, 1, 1, b'a', 7, 0, 0];
        seal(&mut body, 0, place_seed(1, 5_000));
        assert!(decode(&body).is_ok());
        let mut body = vec![0, 1, 1, b'a', 8, 0, 0];
        seal(&mut body, 0, place_seed(1, 5_000));
        assert!(decode(&body).is_err(), "a type of the future");
    }

    #[test]
    fn golden() {
        testing::golden("families_page", &page(0, &example()));
    }
}
