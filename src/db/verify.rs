//! Verify: reads and checks every byte of the published state.

use crate::db::{Db, Shared, VerifyReport};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Cancel, Labels, Lsn, Metadata};
use crate::wal::{self, Visitor, WalSample};

impl Db {
    /// Reads every byte of manifest, tombstones, blocks and log, and checks all that can be checked: checksums, order, counts,
    /// times. Blocks in parallel, on the handle's own pool.
    ///
    /// Works beside writers, on the state as of the call. Faults are in the report, each with file and offset.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = silverback::Db::open(dir.path(), silverback::Options::default())?;
    /// for fault in db.verify()?.faults {
    ///     eprintln!("{fault}"); // names file and offset
    /// }
    /// # Ok::<(), silverback::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`], [`ErrorKind::Closed`]; faults are no errors.
    pub fn verify(&self) -> Result<VerifyReport> {
        self.shared().check_open()?;
        self.shared().verify(&self.shared().options.cancel)
    }
}

impl Shared {
    fn verify(&self, cancel: &Cancel) -> Result<VerifyReport> {
        use rayon::prelude::*;
        let mut report = VerifyReport::default();
        let version = {
            let _no_swap = self.publish.lock();
            let version = self.version();
            self.verify_manifest(version.manifest.generation, &mut report)?;
            version
        };
        let blocks: Vec<(Result<u64>, Vec<Error>)> = self.pool.install(|| {
            version
                .blocks
                .par_iter()
                .map(|b| {
                    let mut faults = Vec::new();
                    (b.block.verify(cancel, &mut faults), faults)
                })
                .collect()
        });
        for (bytes, faults) in blocks {
            report.files += 4;
            report.faults.extend(faults);
            note(bytes, &mut report)?;
        }
        self.verify_log(cancel, &mut report)?;
        report.faults.extend(self.report.damage.iter().map(Error::duplicate));
        Ok(report)
    }

    fn verify_manifest(&self, generation: u64, report: &mut VerifyReport) -> Result<()> {
        let read = self.manifests.read(generation).and_then(|m| self.manifests.tombstones(&m).map(|_| m));
        let size =
            |path: &std::path::Path| self.options.fs.stat(path).ok().flatten().map_or(0, |entry| entry.bytes);
        match read {
            Ok(manifest) => {
                report.files += 1;
                report.bytes += size(&self.layout.manifest(generation));
                if let Some(g) = manifest.tombstones {
                    report.files += 1;
                    report.bytes += size(&self.layout.tombstones(g));
                }
                Ok(())
            }
            // A writer in another process has swapped it meanwhile.
            Err(_) if self.writer.is_none() && size(&self.layout.manifest(generation)) == 0 => Ok(()),
            Err(e) => note(Err(e), report),
        }
    }

    fn verify_log(&self, cancel: &Cancel, report: &mut VerifyReport) -> Result<()> {
        let dir = self.layout.wal();
        match wal::replay(&*self.options.fs, &dir, &mut Ignore(0), cancel) {
            Ok(replay) => {
                report.files += replay.end.segments.len() as u64;
                report.bytes += replay.end.segments.iter().map(|s| s.bytes).sum::<u64>();
                report.faults.extend(replay.damage);
                Ok(())
            }
            Err(e) => note(Err(e), report),
        }
    }
}

/// Bytes are counted, damage is a fault, everything else ends the verification.
fn note(outcome: Result<u64>, report: &mut VerifyReport) -> Result<()> {
    match outcome {
        Ok(bytes) => report.bytes += bytes,
        Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
        Err(e) => report.faults.push(e),
    }
    Ok(())
}

/// Reads the log and keeps nothing.
struct Ignore(u32);

impl Visitor for Ignore {
    fn series(&mut self, _: Labels) -> Result<u32> {
        self.0 = self.0.wrapping_add(1);
        Ok(self.0)
    }

    fn commit(&mut self, _: Lsn, _: &[WalSample]) -> Result<()> {
        Ok(())
    }

    fn metadata(&mut self, _: Lsn, _: &str, _: Metadata) -> Result<()> {
        Ok(())
    }
}
