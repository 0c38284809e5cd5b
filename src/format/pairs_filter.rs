//! A filter of all label pairs of a block, in `index`: says that a pair is not there, or that it may be.
//!
//! ```text
//!   ┌────────────────────────────────┬───────┬────────────────────────────────┬───────┬─
//!   │ 32 buckets of 8 x u32          │ crc32 │ 32 buckets                     │ crc32 │ …   pages; the last may be shorter
//!   └────────────────────────────────┴───────┴────────────────────────────────┴───────┴─
//!   hash of (name, value): its upper half chooses the bucket, its lower half a bit in each of the 8 words
//! ```
//!
//! A split-block Bloom filter, as Putze, Sanders and Singler describe and Parquet uses: ten bits a pair, one pair in a hundred
//! is taken for there though it is not. A query over many blocks asks it before it descends any tree: one
//! read of a kilobyte, where a look-up takes three of sixteen. A block with more pairs than a million has none, so that it
//! is never larger than 1.4 MB: such a block is worth a look.
//!
//! Invariants: every pair of the dictionary with a value is in it. Pages are checked one by one, as they are read.

use super::cursor::{checked, place_seed, seal};
use crate::error::{DecodeError, DecodeReason};

const STRUCTURE: &str = "pairs_filter";
/// The most pairs that a filter is made for, names with the empty value counted.
pub(crate) const MAX_PAIRS: u32 = 1_048_576;
/// Bits for each pair.
pub(crate) const BITS_PER_PAIR: u32 = 10;
/// Bytes of a bucket.
pub(crate) const BUCKET_BYTES: u32 = 32;
/// Buckets of a page.
pub(crate) const PAGE_BUCKETS: u32 = 32;
/// Where hashing begins: the offset basis of 64-bit FNV-1a.
pub(crate) const HASH_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
/// What each byte multiplies by: the prime of 64-bit FNV-1a.
pub(crate) const HASH_PRIME: u64 = 0x0000_0100_0000_01b3;
/// Between name and value: no byte of UTF-8.
pub(crate) const HASH_SEPARATOR: u8 = 0xff;
/// Odd numbers that spread the lower half of a hash over the words of a bucket; Parquet's.
const SPREAD: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];
/// Bytes of a whole page.
const PAGE_BYTES: u64 = PAGE_BUCKETS as u64 * BUCKET_BYTES as u64 + 4;

/// The hash of a pair: FNV-1a over name, separator and value, then the finaliser of MurmurHash3.
pub(crate) fn hash(name: &str, value: &str) -> u64 {
    let bytes = name.bytes().chain([HASH_SEPARATOR]).chain(value.bytes());
    let mut h = bytes.fold(HASH_BASIS, |h, b| (h ^ u64::from(b)).wrapping_mul(HASH_PRIME));
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// How many buckets the filter of so many pairs has; 0 if it has none.
pub(crate) fn buckets(pairs: u32) -> u32 {
    match pairs <= MAX_PAIRS {
        true => (pairs * BITS_PER_PAIR).div_ceil(BUCKET_BYTES * 8),
        false => 0,
    }
}

/// The length of a filter.
pub(crate) fn total_bytes(buckets: u32) -> u64 {
    u64::from(buckets) * u64::from(BUCKET_BYTES) + u64::from(buckets.div_ceil(PAGE_BUCKETS)) * 4
}

/// Where the answer for a hash is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Of its page, from the filter's start.
    pub(crate) offset: u64,
    /// Of its page.
    pub(crate) bytes: u32,
    /// Its bucket in the page.
    bucket: u32,
}

/// The place of a hash in a filter of so many buckets, which is not 0.
pub(crate) fn place(buckets: u32, hash: u64) -> Place {
    let bucket = ((hash >> 32) * u64::from(buckets)) >> 32;
    let bucket = u32::try_from(bucket).unwrap_or(0);
    Place { bucket: bucket % PAGE_BUCKETS, ..page(buckets, bucket / PAGE_BUCKETS) }
}

/// The place of a page.
pub(crate) fn page(buckets: u32, number: u32) -> Place {
    let held = buckets.saturating_sub(number * PAGE_BUCKETS).min(PAGE_BUCKETS);
    Place { offset: u64::from(number) * PAGE_BYTES, bytes: held * BUCKET_BYTES + 4, bucket: 0 }
}

/// The bits of a hash in its bucket.
fn bits(hash: u64) -> [u32; 8] {
    let [key, _] = halves(hash);
    SPREAD.map(|odd| 1 << (key.wrapping_mul(odd) >> 27))
}

fn halves(hash: u64) -> [u32; 2] {
    [hash, hash >> 32].map(|half| u32::try_from(half & u64::from(u32::MAX)).unwrap_or(0))
}

/// Collects the pairs of a block.
#[derive(Debug)]
pub(crate) struct Builder {
    buckets: u32,
    words: Vec<[u32; 8]>,
}

impl Builder {
    /// A filter for so many pairs.
    pub(crate) fn new(pairs: u32) -> Builder {
        let buckets = buckets(pairs);
        Builder { buckets, words: vec![[0; 8]; buckets as usize] }
    }

    /// Adds a pair by its hash.
    pub(crate) fn insert(&mut self, hash: u64) {
        let bucket = ((hash >> 32) * u64::from(self.buckets)) >> 32;
        let words = usize::try_from(bucket).ok().and_then(|bucket| self.words.get_mut(bucket));
        for (word, bit) in words.into_iter().flatten().zip(bits(hash)) {
            *word |= bit;
        }
    }

    /// Appends the pages, the first of which will stand at `offset`.
    pub(crate) fn finish(&self, salt: u32, offset: u64, out: &mut Vec<u8>) {
        for (number, buckets) in (0..).zip(self.words.chunks(PAGE_BUCKETS as usize)) {
            let from = out.len();
            buckets.iter().flatten().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
            let at = offset.saturating_add(page(self.buckets, number).offset);
            seal(out, from, place_seed(salt, at));
        }
    }
}

/// A page whose checksum and length are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page<'a>(&'a [u8]);

impl<'a> Page<'a> {
    /// Verifies the page that stands at `offset` of the file.
    pub(crate) fn decode(salt: u32, offset: u64, bytes: &'a [u8]) -> Result<Page<'a>, DecodeError> {
        let body = checked(STRUCTURE, place_seed(salt, offset), bytes)?;
        match body.is_empty() || !body.len().is_multiple_of(BUCKET_BYTES as usize) {
            true => {
                Err(DecodeError::new(STRUCTURE, 0, DecodeReason::Invalid("the page has no whole buckets")))
            }
            false => Ok(Page(body)),
        }
    }

    /// Whether a pair with this hash may be there; `place` is that of the hash.
    pub(crate) fn may_have(&self, place: Place, hash: u64) -> bool {
        let bytes = BUCKET_BYTES as usize;
        let from = place.bucket as usize * bytes;
        let words = self.0.get(from..from + bytes).unwrap_or_default().chunks_exact(4);
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0u32, |word, &b| word << 8 | u32::from(b));
        words.zip(bits(hash)).all(|(bytes, bit)| word(bytes) & bit != 0)
    }
}

/// The property that fuzzing checks: what is accepted answers for any hash, and whatever is set stays set.
pub(crate) fn fuzz(data: &[u8]) {
    const PLACE: (u32, u64) = (7, 4_096);
    let mut sealed = data.to_vec();
    seal(&mut sealed, 0, place_seed(PLACE.0, PLACE.1));
    for bytes in [data, &sealed] {
        let Ok(page) = Page::decode(PLACE.0, PLACE.1, bytes) else { continue };
        let seed = hash("fuzz", &data.len().to_string());
        for i in 0..64 {
            let hash = seed.rotate_left(i);
            let buckets = 1 + i;
            let place = place(buckets, hash);
            let _ = page.may_have(place, hash);
            let mut one = Builder { buckets, words: vec![[0; 8]; buckets as usize] };
            one.insert(hash);
            let mut out = Vec::new();
            one.finish(PLACE.0, PLACE.1, &mut out);
            let from = usize::try_from(place.offset).unwrap_or(usize::MAX);
            let bytes = out.get(from..).and_then(|rest| rest.get(..place.bytes as usize)).unwrap_or_default();
            let own = Page::decode(PLACE.0, PLACE.1 + place.offset, bytes);
            assert!(own.is_ok_and(|own| own.may_have(place, hash)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn filter(pairs: u32, values: impl Iterator<Item = String>) -> Vec<u8> {
        let mut builder = Builder::new(pairs);
        values.for_each(|value| builder.insert(hash("job", &value)));
        let mut out = Vec::new();
        builder.finish(1, 640, &mut out);
        assert_eq!(out.len() as u64, total_bytes(buckets(pairs)));
        out
    }

    fn asked(pairs: u32, bytes: &[u8], value: &str) -> bool {
        let hash = hash("job", value);
        let place = place(buckets(pairs), hash);
        let from = usize::try_from(place.offset).unwrap();
        let page = &bytes[from..from + place.bytes as usize];
        Page::decode(1, 640 + place.offset, page).unwrap().may_have(place, hash)
    }

    #[test]
    fn what_is_in_is_found_and_little_else() {
        for pairs in [1, 2, 25, 26, 820, 5_000] {
            let bytes = filter(pairs, (0..pairs).map(|i| i.to_string()));
            assert!((0..pairs).all(|i| asked(pairs, &bytes, &i.to_string())));
            let wrong = (0..10_000).filter(|i| asked(pairs, &bytes, &format!("no{i}"))).count();
            assert!(wrong < 300, "{pairs} pairs: {wrong} of 10,000 others are taken for there");
        }
        assert_eq!((buckets(0), buckets(MAX_PAIRS + 1)), (0, 0));
        assert!(total_bytes(buckets(MAX_PAIRS)) < 1_400_000);
        assert_ne!(hash("a", "bc"), hash("ab", "c"));
    }

    #[test]
    fn damage_is_found() {
        let bytes = filter(25, (0..25).map(|i| i.to_string()));
        testing::truncations_fail(&bytes, |b| Page::decode(1, 640, b).map(|p| p.0.to_vec()));
        testing::bit_flips_fail_or_agree(&bytes, |b| Page::decode(1, 640, b).map(|p| p.0.to_vec()));
        assert!(Page::decode(1, 641, &bytes).is_err(), "another place");
        assert!(Page::decode(2, 640, &bytes).is_err(), "another file");
        let mut odd = vec![0; 33];
        seal(&mut odd, 0, place_seed(1, 640));
        assert!(Page::decode(1, 640, &odd).is_err(), "no whole buckets");
        for n in 0..70 {
            fuzz(&vec![n; usize::from(n)]);
        }
    }

    #[test]
    fn golden() {
        testing::golden("pairs_filter", &filter(3, ["api", "app"].map(str::to_owned).into_iter()));
    }
}
