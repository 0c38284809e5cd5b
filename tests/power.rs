//! Goal: a power cut takes what the sync policy says, and no more, on a real filesystem.
//!
//! Method: ext4 or xfs in an image on a loop device. A victim (see `victim`) writes to it; after a random number of
//! acknowledgements the filesystem is shut down by `FS_IOC_SHUTDOWN` without a flush of its log, which drops all that was not
//! synced, as a power cut does. It is mounted again, opened, and compared. In some of the cycles what was written is pushed to the medium
//! just before (`sync -d` of the segments without waiting for names), so that tails survive in part.
//!
//! The victim is stopped before the cut, and never runs again: an `fdatasync` that is under way when the ioctl falls may
//! report success although its data is dropped (Linux 6.18, ext4; a plain loop of write and fdatasync without this crate loses its
//! last acknowledged write in 8 of 60 cycles so). That is a property of the ioctl, which a real power cut has not: who would be told
//! is dead as well.
//!
//! It needs root, loop devices, `mkfs` and `python3` (for the ioctl, since this crate has no unsafe code for it), and mounts filesystems:
//! so it runs only if asked, `SILVERBACK_POWER_CUTS=60 cargo test --release --test power -- --nocapture`, and says why it skips.

use std::path::{Path, PathBuf};
use std::process::Command;

use silverback::{Db, SyncPolicy};

mod victim;

use victim::{Oracle, Victim, options, policy};

/// Power cuts of one image, after which a new one is made.
const LIVES: u64 = 12;

/// `_IOR('X', 125, __u32)` with the flag that says: do not flush the log.
const SHUTDOWN: &str = "import fcntl,os,struct,sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// The process that writes; nothing if this is not one.
#[test]
fn victim() {
    victim::live();
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|e| format!("{program}: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// An image and where it is mounted; unmounted when it goes.
struct Disk {
    image: PathBuf,
    mount: PathBuf,
    _dir: tempfile::TempDir,
}

impl Disk {
    fn new(kind: &str) -> Result<Disk, String> {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let (image, mount) = (dir.path().join("image"), dir.path().join("mount"));
        std::fs::create_dir(&mount).map_err(|e| e.to_string())?;
        let file = std::fs::File::create(&image).map_err(|e| e.to_string())?;
        file.set_len(400 << 20).map_err(|e| e.to_string())?;
        let path = image.to_str().unwrap_or_default();
        match kind {
            "ext4" => run("mkfs.ext4", &["-q", "-F", path])?,
            _ => run("mkfs.xfs", &["-q", "-f", path])?,
        }
        let disk = Disk { image, mount, _dir: dir };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), String> {
        run("mount", &["-o", "loop", self.image.to_str().unwrap_or_default(), self.at()])
    }

    fn at(&self) -> &str {
        self.mount.to_str().unwrap_or_default()
    }

    /// The power goes.
    fn cut(&self) -> Result<(), String> {
        run("python3", &["-c", SHUTDOWN, self.at()])
    }

    fn unmount(&self) -> Result<(), String> {
        run("umount", &[self.at()])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _unmounted = self.unmount();
    }
}

/// Pushes what was written to the medium, names and lengths apart, for the mixed tails that real disks leave.
fn push(dir: &Path) {
    let Ok(segments) = std::fs::read_dir(dir.join("wal")) else { return };
    for segment in segments.flatten() {
        let _pushed = run("sync", &["-d", segment.path().to_str().unwrap_or_default()]);
    }
}

#[test]
fn a_power_cut_takes_what_the_policy_says() {
    let Some(cuts) = std::env::var("SILVERBACK_POWER_CUTS").ok().and_then(|v| v.parse::<u64>().ok()) else {
        println!("skipped: set SILVERBACK_POWER_CUTS to a number; needs root and loop devices");
        return;
    };
    for kind in ["ext4", "xfs"] {
        if let Err(why) = Disk::new(kind).and_then(|disk| disk.cut()) {
            println!("skipped: {kind}: {why}");
            continue;
        }
        let (mut done, mut acks, mut lost) = (0, 0, 0);
        while done < cuts {
            let disk = Disk::new(kind).unwrap();
            let dir = disk.mount.join("db");
            let mut oracle = Oracle::new();
            for seed in done..done + LIVES {
                let sync = policy(seed);
                let mut victim = Victim::start(&dir, seed, &oracle);
                let until = oracle.acks + 1 + seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 120;
                while oracle.acks < until {
                    assert!(victim.hear(&mut oracle), "{kind}, seed {seed}: the victim died by itself");
                }
                if seed % 3 == 0 {
                    push(&dir);
                }
                run("kill", &["-STOP", &victim.id().to_string()]).unwrap();
                disk.cut().unwrap();
                victim.kill(&mut oracle);
                disk.unmount().unwrap();
                disk.mount().unwrap();
                let acknowledged = oracle.commits();
                let reader = Db::open_read_only(&dir, options(sync)).unwrap();
                if sync == SyncPolicy::EachCommit {
                    oracle.check_reader(&reader).unwrap_or_else(|why| panic!("{kind}, seed {seed}: {why}"));
                }
                drop(reader);
                let db = Db::open(&dir, options(sync)).unwrap();
                let report = db.open_report();
                assert!(report.damage.is_empty() && report.quarantined.is_empty(), "seed {seed}: {report:?}");
                let checked = oracle.check(&db, sync != SyncPolicy::EachCommit);
                checked.unwrap_or_else(|why| panic!("{kind}, seed {seed}, {sync:?}: {why}"));
                assert!(db.verify().unwrap().is_clean(), "{kind}, seed {seed}");
                db.close().unwrap();
                lost += (acknowledged - oracle.commits()).max(0);
            }
            acks += oracle.acks;
            done += LIVES;
        }
        println!(
            "power cuts on {kind}: {done} (seeds 0..{done}), {acks} commits acknowledged, {lost} of them lost as Interval and Never allow, failures = 0"
        );
    }
}
