//! The `chunks` file: a header, then groups of consecutive chunks, each group under one checksum.
//!
//! ```text
//!   chunks   header │ group │ group │ …
//!   header   magic:u32 │ version:u32 │ salt:u32 │ crc:u32
//!   group    body_bytes:u32 │ chunk chunk chunk … │ crc:u32
//!            ▲ group offset   ▲ within = 0
//! ```
//!
//! A group is the read unit: read it whole, verify, then take chunks out of it. It is closed once its
//! body reaches [`GROUP_TARGET_BYTES`], so a group is as small as one read is cheap, and a large chunk
//! stands alone or last. The index names a chunk by (group offset, offset within the body).
//!
//! **Checks.** A group's checksum starts from the block's salt and covers the group's own offset (eight
//! bytes, not stored), the length and the body: a group read at a wrong place or in a wrong file
//! does not pass. The length is checked against [`MAX_BODY_BYTES`] before anything is allocated by it.
//! The header keeps its shape in every version, so that a newer one is told from damage.
//!
//! **Cost.** Eight bytes and one pass of crc32fast for each group.

use byteorder::{ByteOrder, LittleEndian};

use crate::error::{DecodeError, DecodeReason};
use crate::format::chunk::ChunkRef;
use crate::format::cursor::{Reader, Write, checked, crc, seal};

const STRUCTURE: &str = "chunk_group";

/// The first four bytes of a `chunks` file, `SBCH` in ASCII.
pub(crate) const MAGIC: u32 = 0x48434253;
/// The version of the file.
pub(crate) const VERSION: u32 = 1;
/// The bytes of the file's header: the offset of the first group.
pub(crate) const HEADER_BYTES: usize = 16;
/// A group is closed once its body has so many bytes.
pub(crate) const GROUP_TARGET_BYTES: usize = 16_384;
/// The largest body: one byte below the target, and then the largest chunk.
pub(crate) const MAX_BODY_BYTES: usize = 2_113_540;
/// The bytes of a group besides its body.
pub(crate) const FRAME_BYTES: usize = 8;
/// The bytes of the length before the body.
const LENGTH_BYTES: usize = 4;

const _: () = assert!(MAX_BODY_BYTES == GROUP_TARGET_BYTES - 1 + super::chunk::MAX_CHUNK_BYTES);

/// Appends the header of a `chunks` file, whose groups are salted with `salt`.
pub(crate) fn encode_header(salt: u32, out: &mut Vec<u8>) {
    let start = out.len();
    out.put_u32(MAGIC);
    out.put_u32(VERSION);
    out.put_u32(salt);
    seal(out, start, 0);
}

/// The salt in the header of a `chunks` file, given its [`HEADER_BYTES`] bytes.
pub(crate) fn decode_header(bytes: &[u8]) -> Result<u32, DecodeError> {
    let mut r = Reader::new(STRUCTURE, bytes);
    if r.u32()? != MAGIC {
        return Err(DecodeError::new(STRUCTURE, 0, DecodeReason::BadMagic));
    }
    let Some(header) = bytes.get(..HEADER_BYTES) else {
        return Err(DecodeError::new(STRUCTURE, bytes.len() as u64, DecodeReason::Truncated));
    };
    checked(STRUCTURE, 0, header)?;
    let found = r.u32()?;
    if found == 0 {
        return Err(DecodeError::new(STRUCTURE, 4, DecodeReason::Invalid("there is no version 0")));
    }
    if found != VERSION {
        return Err(DecodeError::new(STRUCTURE, 4, DecodeReason::NewerVersion { found, known: VERSION }));
    }
    let salt = r.u32()?;
    r.u32()?;
    r.finish()?;
    Ok(salt)
}

/// Collects the chunks of one group.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupBuilder {
    body: Vec<u8>,
}

impl GroupBuilder {
    /// Adds a chunk; returns its offset within the body. A full group takes none.
    pub(crate) fn push(&mut self, chunk: ChunkRef<'_>) -> u32 {
        assert!(!self.is_full(), "a full group takes no more chunks");
        let within = self.body.len();
        chunk.encode(&mut self.body);
        // Below the target, hence below 32 bits.
        u32::try_from(within).unwrap_or(u32::MAX)
    }

    /// Whether the body has reached its target: finish it before the next chunk.
    pub(crate) fn is_full(&self) -> bool {
        self.body.len() >= GROUP_TARGET_BYTES
    }

    /// Whether there are no chunks.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// Appends the group, which will stand at `offset` of the file, to `out`, and starts the next one. Without
    /// chunks it writes nothing.
    pub(crate) fn finish(&mut self, salt: u32, offset: u64, out: &mut Vec<u8>) {
        if self.body.is_empty() {
            return;
        }
        let start = out.len();
        out.put_u32(u32::try_from(self.body.len()).unwrap_or(u32::MAX));
        out.extend_from_slice(&self.body);
        seal(out, start, seed(salt, offset));
        self.body.clear();
    }
}

/// The bytes of a whole group, by its first four.
pub(crate) fn group_bytes(first: &[u8]) -> Result<usize, DecodeError> {
    let Some(length) = first.get(..LENGTH_BYTES).map(LittleEndian::read_u32) else {
        return Err(DecodeError::new(STRUCTURE, first.len() as u64, DecodeReason::Truncated));
    };
    let reason = match usize::try_from(length) {
        Ok(0) => DecodeReason::Invalid("a group is empty"),
        Ok(n) if n <= MAX_BODY_BYTES => return Ok(n + FRAME_BYTES),
        _ => DecodeReason::AboveMaximum { found: u64::from(length), maximum: MAX_BODY_BYTES as u64 },
    };
    Err(DecodeError::new(STRUCTURE, 0, reason))
}

/// Verifies a group that was read at `offset`, given exactly its bytes; returns its body.
pub(crate) fn decode_group(salt: u32, offset: u64, bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let expected = group_bytes(bytes)?;
    if bytes.len() < expected {
        return Err(DecodeError::new(STRUCTURE, bytes.len() as u64, DecodeReason::Truncated));
    }
    if bytes.len() > expected {
        return Err(DecodeError::new(STRUCTURE, expected as u64, DecodeReason::TrailingBytes));
    }
    let framed = checked(STRUCTURE, seed(salt, offset), bytes)?;
    Ok(framed.get(LENGTH_BYTES..).unwrap_or_default())
}

/// The chunk at `within` of a verified body.
pub(crate) fn chunk_at(body: &[u8], within: u32) -> Result<ChunkRef<'_>, DecodeError> {
    let mut r = Reader::new(STRUCTURE, body);
    r.bytes(usize::try_from(within).unwrap_or(usize::MAX))?;
    ChunkRef::decode(&mut r)
}

/// All chunks of a verified body with their offsets; ends after an error.
pub(crate) fn chunks(body: &[u8]) -> impl Iterator<Item = Result<(u32, ChunkRef<'_>), DecodeError>> {
    let mut at = Some(0u32);
    std::iter::from_fn(move || {
        let within = at.take().filter(|&at| (at as usize) < body.len())?;
        let mut r = Reader::new(STRUCTURE, body);
        let chunk = r.bytes(within as usize).and_then(|_| ChunkRef::decode(&mut r));
        at = chunk.is_ok().then(|| u32::try_from(r.offset()).ok()).flatten();
        Some(chunk.map(|chunk| (within, chunk)))
    })
}

/// What a group's checksum starts from: the salt and the place.
fn seed(salt: u32, offset: u64) -> u32 {
    crc(salt, &offset.to_le_bytes())
}

/// The property that fuzzing checks: an accepted header or group is written back as it was; `data` as the body
/// of a group passes at its place and nowhere else; its chunks are found again at their offsets.
pub(crate) fn fuzz(data: &[u8]) {
    let mut written = Vec::new();
    if let Ok(salt) = decode_header(data) {
        encode_header(salt, &mut written);
        assert_eq!(written, data, "a header is not written back as it was");
    }
    if let Ok(body) = decode_group(0, 16, data) {
        assert_eq!(frame(body, 0, 16), data, "a group is not written back as it was");
    }
    let group = frame(data, 7, 4_096);
    let valid = !data.is_empty() && data.len() <= MAX_BODY_BYTES;
    assert_eq!(decode_group(7, 4_096, &group).ok(), valid.then_some(data));
    assert!(decode_group(8, 4_096, &group).is_err(), "passes in another file");
    assert!(decode_group(7, 4_097, &group).is_err(), "passes at another place");

    let (mut builder, mut found) = (GroupBuilder::default(), 0);
    for (within, chunk) in chunks(data).map_while(Result::ok) {
        assert_eq!(chunk_at(data, within), Ok(chunk));
        if builder.is_full() {
            return;
        }
        assert_eq!(builder.push(chunk), within);
        found += 1;
    }
    written.clear();
    builder.finish(7, 4_096, &mut written);
    if let Ok(body) = decode_group(7, 4_096, &written) {
        assert_eq!(Some(body), data.get(..body.len()));
        assert_eq!(chunks(body).filter(Result::is_ok).count(), found);
    } else {
        assert_eq!(found, 0, "a group of our own is refused");
    }
}

/// Any bytes as the body of a group.
fn frame(body: &[u8], salt: u32, offset: u64) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(body);
    seal(&mut out, 0, seed(salt, offset));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::chunk::{Coding, MAX_PAYLOAD_BYTES};
    use crate::format::{gorilla, testing};

    const SALT: u32 = 0xfeed_beef;

    /// A group of chunks with the given payloads, and their offsets.
    fn group(payloads: &[&[u8]], offset: u64) -> (Vec<u8>, Vec<u32>) {
        let (mut builder, mut out) = (GroupBuilder::default(), Vec::new());
        let places = payloads.iter().map(|payload| builder.push(ChunkRef::gorilla(payload))).collect();
        builder.finish(SALT, offset, &mut out);
        assert!(builder.is_empty());
        (out, places)
    }

    fn read(bytes: &[u8]) -> Result<Vec<(u32, Coding, Vec<u8>)>, DecodeError> {
        let body = decode_group(SALT, 16, bytes)?;
        chunks(body).map(|c| c.map(|(within, c)| (within, c.coding, c.payload.to_vec()))).collect()
    }

    #[test]
    fn the_worked_example() {
        let (one, two) = (gorilla::encode(&[1_000], &[1.0]), gorilla::encode(&[1_000, 16_000], &[1.0, 1.0]));
        let mut file = Vec::new();
        encode_header(SALT, &mut file);
        assert_eq!(file.len(), HEADER_BYTES);
        let (group, places) = group(&[&one, &two], 16);
        file.extend_from_slice(&group);
        testing::golden("chunk_group", &file);

        let salt = decode_header(&file[..HEADER_BYTES]).unwrap();
        assert_eq!(group_bytes(&file[16..20]), Ok(file.len() - 16));
        let body = decode_group(salt, 16, &file[16..]).unwrap();
        assert_eq!(chunk_at(body, places[0]).unwrap().payload, one);
        assert_eq!(chunk_at(body, places[1]).unwrap().payload, two);
        fuzz(body);
        fuzz(&file[..HEADER_BYTES]);
    }

    #[test]
    fn damage_to_a_group_is_found() {
        let (bytes, _) = group(&[b"some bytes", b"", b"others"], 16);
        testing::truncations_fail(&bytes, read);
        testing::bit_flips_fail_or_agree(&bytes, read);
        for offset in [0, 15, 17, 16 + (1 << 32), 16 << 32] {
            assert!(decode_group(SALT, offset, &bytes).is_err(), "passes at {offset}");
        }
        assert!(decode_group(!SALT, 16, &bytes).is_err());
        assert!(read(&[&bytes[..], &[0]].concat()).is_err(), "a byte more");
        assert!(read(&[0; 64]).is_err(), "zeros");
        assert!(read(&[]).is_err());
    }

    #[test]
    fn damage_to_the_header_is_found() {
        let mut header = Vec::new();
        encode_header(SALT, &mut header);
        assert_eq!(decode_header(&header), Ok(SALT));
        testing::truncations_fail(&header, decode_header);
        testing::bit_flips_fail_or_agree(&header, decode_header);
        assert!(decode_header(&[&header[..], &[0]].concat()).is_err());
        for (version, known) in [(0u32, false), (2, true)] {
            let mut other = header[..12].to_vec();
            other[4..8].copy_from_slice(&version.to_le_bytes());
            seal(&mut other, 0, 0);
            let newer = DecodeReason::NewerVersion { found: version, known: VERSION };
            assert_eq!(decode_header(&other).unwrap_err().reason == newer, known);
        }
    }

    #[test]
    fn a_group_is_full_at_its_target_and_never_above_its_maximum() {
        let mut builder = GroupBuilder::default();
        let small = [1; 100];
        let mut pushed = 0;
        while !builder.is_full() {
            assert_eq!(builder.push(ChunkRef::gorilla(&small)), pushed * 102);
            pushed += 1;
        }
        assert_eq!(pushed as usize, GROUP_TARGET_BYTES.div_ceil(102));

        // The largest body: one byte below the target, then the largest chunk.
        let mut builder = GroupBuilder::default();
        builder.push(ChunkRef::gorilla(&[1; GROUP_TARGET_BYTES - 4]));
        assert!(!builder.is_full());
        let within = builder.push(ChunkRef::gorilla(&vec![2; MAX_PAYLOAD_BYTES]));
        assert_eq!(within as usize, GROUP_TARGET_BYTES - 1);
        let mut out = Vec::new();
        builder.finish(SALT, 16, &mut out);
        assert_eq!(out.len(), MAX_BODY_BYTES + FRAME_BYTES);
        assert_eq!(read(&out).map(|chunks| chunks.len()), Ok(2));

        let above = u32::try_from(MAX_BODY_BYTES + 1).unwrap().to_le_bytes();
        assert!(matches!(group_bytes(&above).unwrap_err().reason, DecodeReason::AboveMaximum { .. }));
        assert!(group_bytes(&[0; 4]).is_err() && group_bytes(&[1, 0, 0]).is_err());
        assert_eq!(group_bytes(&[1, 0, 0, 0]), Ok(9));
    }

    #[test]
    fn an_empty_builder_writes_nothing() {
        assert!(group(&[], 16).0.is_empty());
    }

    #[test]
    fn places_outside_a_body_are_refused() {
        let (bytes, places) = group(&[b"ab", b"cd"], 16);
        let body = decode_group(SALT, 16, &bytes).unwrap();
        assert_eq!(places, [0, 4]);
        for within in (0..20).chain([u32::MAX]).filter(|within| !places.contains(within)) {
            assert!(chunk_at(body, within).is_err(), "{within}");
        }
    }

    #[test]
    fn groups_of_random_chunks_round_trip() {
        let mut seed = 3u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        for _ in 0..200 {
            let payloads: Vec<Vec<u8>> =
                (0..1 + random(20)).map(|_| (0..random(200)).map(|_| random(256) as u8).collect()).collect();
            let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
            let (bytes, places) = group(&slices, 16);
            let expected: Vec<_> =
                places.into_iter().zip(payloads).map(|(p, bytes)| (p, Coding::Gorilla, bytes)).collect();
            assert_eq!(read(&bytes), Ok(expected));
            fuzz(&bytes[4..bytes.len() - 4]);
            fuzz(&bytes);
        }
    }
}
