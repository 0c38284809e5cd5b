//! Files read through a memory map: the only file of this crate with unsafe code.
//!
//! A map costs no copy and no system call per read; the price is that a file which somebody
//! else shortens under us ends the process (SIGBUS) when the lost pages are touched, and that an
//! I/O error does the same. The store never shortens or overwrites a file that it maps (blocks are written,
//! synced, and only then opened), and removing the name of a mapped file is harmless. Whoever
//! cannot rule out interference by others builds without feature `mmap` and reads by position.
#![expect(unsafe_code, reason = "a memory map cannot be made without it; the contract is in the essay")]

use std::fs::File;
use std::io;

use memmap2::Mmap;

use super::ReadFile;

/// A file of which all bytes are mapped. An empty one has no map: there is nothing to map.
#[derive(Debug)]
pub(crate) struct MappedFile(Option<Mmap>);

impl MappedFile {
    /// Maps `file`, which is `bytes` long. The file may be closed afterwards.
    pub(crate) fn new(file: &File, bytes: u64) -> io::Result<MappedFile> {
        if bytes == 0 {
            return Ok(MappedFile(None));
        }
        let bytes = usize::try_from(bytes).map_err(|_| {
            io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than the address space")
        })?;
        // SAFETY: the slice handed out is sound as long as the file's bytes neither change nor
        // vanish while it lives. Files of the store are append-only, and only those that are
        // complete are mapped; every file is opened by us, as a regular file, and no other process
        // of this crate shortens or overwrites files. A third party that does breaks the contract
        // of the database directory (see the essay). Every reader verifies checksums of the
        // bytes before it interprets them, and treats no byte as anything but a `u8`.
        let map = unsafe { memmap2::MmapOptions::new().len(bytes).map(file)? };
        Ok(MappedFile(Some(map)))
    }

    fn slice(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl ReadFile for MappedFile {
    fn bytes(&self) -> u64 {
        self.slice().len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        super::copy_at(self.slice(), offset, out)
    }

    fn mapped(&self) -> Option<&[u8]> {
        Some(self.slice())
    }
}
