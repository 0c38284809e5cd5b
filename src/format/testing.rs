//! What the tests of every structure share: the golden file, truncations, bit flips.

use std::fmt::Debug;
use std::path::Path;

use crate::error::DecodeError;

/// Compares with `tests/golden/<structure>.bin`; `UPDATE_GOLDEN=1` writes it. The page's worked
/// example is the same bytes, which `tests/tidy.rs` checks.
pub(crate) fn golden(structure: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{structure}.bin"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    let golden = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(bytes, golden, "{structure}: the bytes changed; that is a new format version");
}

/// Every proper prefix must be an error.
pub(crate) fn truncations_fail<T: Debug>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, DecodeError>) {
    for n in 0..bytes.len() {
        let got = decode(&bytes[..n]);
        assert!(got.is_err(), "the first {n} of {} bytes decode to {got:?}", bytes.len());
    }
}

/// Every single-bit flip must be an error, or decode to an equal value.
pub(crate) fn bit_flips_fail_or_agree<T: Debug + PartialEq>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) {
    let good = decode(bytes).expect("the unharmed bytes decode");
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        if let Ok(value) = decode(&bad) {
            assert_eq!(value, good, "bit {bit} flipped decodes to another value");
        }
    }
}
