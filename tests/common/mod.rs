//! What several tests of dumps share: where they are, and the canonical form in which they are compared.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use silverback::Labels;

/// A place in the shared test data; says so if it is not here.
pub(crate) fn data(below: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(below);
    if !path.exists() {
        println!("skipped: ../shared is not here");
        return None;
    }
    Some(path)
}

/// The SHA-256 of the canonical form of series and their samples' bits, as `canon.py` beside the dumps defines it.
pub(crate) fn canonical_sha256(samples: &[(Labels, Vec<(i64, u64)>)]) -> String {
    let mut series: Vec<(String, &Vec<(i64, u64)>)> = samples
        .iter()
        .map(|(labels, samples)| {
            let mut key = String::from("{");
            for (i, (name, value)) in labels.iter().enumerate() {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                write!(key, "{}{name}=\"{value}\"", if i > 0 { "," } else { "" }).unwrap();
            }
            (key + "}", samples)
        })
        .collect();
    series.sort();
    let mut hash = Sha256::default();
    for (key, samples) in series {
        let mut samples = samples.clone();
        samples.sort_unstable();
        samples.dedup();
        for (t, bits) in samples {
            match f64::from_bits(bits).is_nan() {
                true => hash.update(format!("{key} {t} nan\n").as_bytes()),
                false => hash.update(format!("{key} {t} {bits:016x}\n").as_bytes()),
            }
        }
    }
    hash.finish()
}

/// SHA-256 (FIPS 180-4), its constants computed from the primes as the standard defines them.
#[derive(Debug)]
pub(crate) struct Sha256 {
    state: [u32; 8],
    constants: Vec<u32>,
    pending: Vec<u8>,
    bytes: u64,
}

impl Default for Sha256 {
    fn default() -> Sha256 {
        let primes: Vec<u128> = (2u128..).filter(|n| (2..*n).all(|d| n % d != 0)).take(64).collect();
        // The first 32 bits of the fraction of a root: the root of p * 2^(32 * power), cut.
        let fraction = |p: u128, power: u32| {
            let target = p << (32 * power);
            let root = (0..40).rev().fold(0u128, |r, bit| {
                let next = r | 1 << bit;
                if next.pow(power) <= target { next } else { r }
            });
            (root & 0xffff_ffff) as u32
        };
        let state: Vec<u32> = primes.iter().take(8).map(|p| fraction(*p, 2)).collect();
        let constants = primes.iter().map(|p| fraction(*p, 3)).collect();
        Sha256 { state: state.try_into().unwrap(), constants, pending: Vec::new(), bytes: 0 }
    }
}

impl Sha256 {
    /// Goes on with `data`.
    pub(crate) fn update(&mut self, data: &[u8]) {
        self.bytes += data.len() as u64;
        self.pending.extend_from_slice(data);
        let whole = self.pending.len() / 64 * 64;
        let blocks: Vec<u8> = self.pending.drain(..whole).collect();
        blocks.chunks_exact(64).for_each(|block| self.block(block));
    }

    fn block(&mut self, block: &[u8]) {
        let mut w: Vec<u32> =
            block.chunks_exact(4).map(|b| u32::from_be_bytes(b.try_into().unwrap())).collect();
        for i in 16..64 {
            let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ w[i - 15] >> 3;
            let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ w[i - 2] >> 10;
            w.push(w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1));
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = self.state;
        for (w, k) in w.iter().zip(&self.constants) {
            let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let t1 = h.wrapping_add(s1).wrapping_add(e & f ^ !e & g).wrapping_add(*k).wrapping_add(*w);
            let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let t2 = s0.wrapping_add(a & b ^ a & c ^ b & c);
            (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
        }
        for (s, v) in self.state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *s = s.wrapping_add(v);
        }
    }

    /// The hash, in hex.
    pub(crate) fn finish(mut self) -> String {
        let bits = self.bytes * 8;
        self.update(&[0x80]);
        while self.pending.len() != 56 {
            self.update(&[0]);
        }
        self.update(&bits.to_be_bytes());
        self.state.iter().fold(String::new(), |out, word| out + &format!("{word:08x}"))
    }
}
