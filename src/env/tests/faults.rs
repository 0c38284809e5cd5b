//! Each fault does what its name says, once or for ever, to the calls that it can befall.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::*;

fn setup() -> (MemFs, FaultFs, Arc<dyn AppendFile>) {
    let mem = MemFs::new();
    let fs = FaultFs::new(Arc::new(mem.clone()));
    let file = fs.create(Path::new("/f")).unwrap();
    file.append(b"durable ").unwrap();
    file.sync().unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    assert_eq!(fs.operations(), 4);
    (mem, fs, file)
}

fn plan(at: u64, class: impl Into<Option<OpClass>>, fault: Fault) -> FaultPlan {
    FaultPlan { at, class: class.into(), fault }
}

fn kind(result: Result<(), AppendFault>) -> Option<(usize, io::ErrorKind)> {
    result.err().map(|fault| (fault.written, fault.error.kind()))
}

#[test]
fn the_nth_call_of_a_class_fails_once() {
    let (mem, fs, file) = setup();
    fs.arm(plan(1, OpClass::Write, Fault::EioOnce));
    file.append(b"one ").unwrap();
    file.sync().unwrap();
    assert!(!fs.triggered());
    let fault = file.append(b"two ").unwrap_err();
    assert_eq!((fault.written, fault.error.raw_os_error()), (0, Some(5)));
    assert_eq!(fs.what_failed().as_deref(), Some("append /f"));
    file.append(b"three").unwrap();
    assert_eq!(mem.read("/f").unwrap(), b"durable one three");
}

#[test]
fn for_ever_lasts_until_disarmed() {
    let (_, fs, file) = setup();
    fs.arm(plan(1, None, Fault::EioForever));
    file.append(b"one ").unwrap();
    for _ in 0..3 {
        assert!(file.append(b"x").is_err() && file.sync().is_err() && fs.open(Path::new("/f")).is_err());
        assert!(fs.rename(Path::new("/f"), Path::new("/g")).is_err() && fs.list(Path::new("/")).is_err());
    }
    fs.disarm();
    assert!(fs.triggered());
    assert_eq!(read_all(&fs, Path::new("/f"), 100).unwrap(), b"durable one ");
    file.sync().unwrap();
}

#[test]
fn a_full_disk_spares_what_takes_no_space() {
    let (_, fs, file) = setup();
    fs.arm(plan(0, None, Fault::NoSpaceForever));
    file.sync().unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    fs.rename(Path::new("/f"), Path::new("/g")).unwrap();
    assert!(!fs.triggered());
    let full = io::ErrorKind::StorageFull;
    assert_eq!(kind(file.append(b"x")), Some((0, full)));
    assert_eq!(file.allocate(100).unwrap_err().kind(), full);
    assert_eq!(fs.create(Path::new("/h")).unwrap_err().kind(), full);
    assert_eq!(fs.create_dir(Path::new("/h")).unwrap_err().kind(), full);
    assert_eq!(fs.hard_link(Path::new("/g"), Path::new("/h")).unwrap_err().kind(), full);
    fs.remove_file(Path::new("/g")).unwrap();
    fs.arm(plan(0, None, Fault::NoSpaceOnce));
    assert!(file.allocate(100).is_err());
    file.allocate(100).unwrap();
}

#[test]
fn a_short_write_leaves_half() {
    for (fault, error) in
        [(Fault::ShortWriteNoSpace, Fault::NoSpaceOnce), (Fault::ShortWriteEio, Fault::EioOnce)]
    {
        let (mem, fs, file) = setup();
        fs.arm(plan(0, None, fault));
        let short = file.append(b"12345").unwrap_err();
        assert_eq!((short.written, file.appended()), (2, 10), "{error:?}");
        assert_eq!(mem.read("/f").unwrap(), b"durable 12");
        fs.arm(plan(0, OpClass::Write, error));
        assert_eq!(file.append(b"").unwrap_err().error.kind(), short.error.kind());
    }
}

#[test]
fn a_lost_sync_zeroes_what_was_dirty_and_lies_afterwards() {
    let (mem, fs, file) = setup();
    fs.arm(plan(0, None, Fault::LostSync));
    file.append(b"dirty").unwrap();
    assert!(file.sync().is_err());
    assert_eq!(mem.read("/f").unwrap(), b"durable \0\0\0\0\0");
    file.append(b"!").unwrap();
    file.sync().unwrap();
    assert_eq!(mem.crash(&CrashPolicy::DropUnsynced).read("/f").unwrap(), b"durable \0\0\0\0\0!");
}

#[test]
fn a_hidden_loss_shows_when_the_power_goes_unless_it_is_written_again() {
    let (mem, fs, file) = setup();
    fs.arm(plan(0, None, Fault::HiddenLoss));
    file.append(b"dirty").unwrap();
    assert!(file.sync().is_err());
    file.append(b"!").unwrap();
    file.sync().unwrap();
    assert_eq!(mem.read("/f").unwrap(), b"durable dirty!");
    assert_eq!(mem.crash(&CrashPolicy::KeepAll).read("/f").unwrap(), b"durable \0\0\0\0\0!");
    fs.renew(Path::new("/f"), 10..14).unwrap();
    assert_eq!(mem.crash(&CrashPolicy::DropUnsynced).read("/f").unwrap(), b"durable \0\0rty!");
    fs.renew(Path::new("/f"), 3..10).unwrap();
    assert_eq!(mem.crash(&CrashPolicy::DropUnsynced).read("/f").unwrap(), b"durable dirty!");
}

#[test]
fn a_failed_sync_alone_leaves_the_data_pending() {
    let (mem, fs, file) = setup();
    file.append(b"dirty").unwrap();
    fs.arm(plan(0, OpClass::Sync, Fault::EioOnce));
    assert!(file.sync().is_err());
    assert_eq!((mem.pending(), fs.retried_sync()), (1, None));
    assert!(file.sync().is_ok());
    assert_eq!(fs.retried_sync().as_deref(), Some("/f"));
    file.append(b"dirty").unwrap();
    fs.arm(plan(0, OpClass::DirSync, Fault::EioOnce));
    fs.remove_file(Path::new("/f")).unwrap();
    assert!(fs.sync_dir(Path::new("/")).is_err());
    assert_eq!(mem.crash(&CrashPolicy::DropUnsynced).read("/f").unwrap(), b"durable dirty");
}

#[test]
fn interruptions_and_missing_handles_are_told_apart() {
    let (_, fs, file) = setup();
    fs.arm(plan(0, None, Fault::InterruptedOnce));
    assert_eq!(kind(file.append(b"x")), Some((0, io::ErrorKind::Interrupted)));
    fs.arm(plan(0, None, Fault::TooManyFiles));
    file.append(b"x").unwrap();
    fs.stat(Path::new("/f")).unwrap();
    assert_eq!(fs.open(Path::new("/f")).unwrap_err().raw_os_error(), Some(24));
    fs.open(Path::new("/f")).unwrap();
}

#[test]
fn every_call_of_a_run_can_be_failed_and_reads_too() {
    let run = |fs: &FaultFs| -> io::Result<Vec<u8>> {
        let path = Path::new;
        fs.create_dir(path("/d"))?;
        let _lock = fs.lock(path("/d/LOCK"), "note")?;
        let file = fs.create(path("/d/f"))?;
        file.allocate(10)?;
        file.append(b"bytes")?;
        file.sync()?;
        fs.rename(path("/d/f"), path("/d/g"))?;
        fs.hard_link(path("/d/g"), path("/d/h"))?;
        fs.remove_file(path("/d/h"))?;
        fs.sync_dir(path("/d"))?;
        fs.is_network(path("/d"))?;
        assert_eq!(fs.list(path("/d"))?.len(), 2);
        assert!(fs.stat(path("/d/g"))?.is_some());
        let mapped = fs.map(path("/d/g"))?;
        assert!(mapped.mapped().is_none());
        let mut out = vec![0; 5];
        mapped.read_at(0, &mut out)?;
        Ok(out)
    };
    let fs = FaultFs::new(Arc::new(MemFs::new()));
    assert_eq!(run(&fs).unwrap(), b"bytes");
    let calls = fs.operations();
    assert_eq!(calls, 15);
    let mut failed = Vec::new();
    for at in 0..calls {
        let fs = FaultFs::new(Arc::new(MemFs::new()));
        fs.arm(plan(at, None, Fault::EioOnce));
        assert_eq!(run(&fs).unwrap_err().raw_os_error(), Some(5), "call {at}");
        assert_eq!(fs.operations(), at + 1);
        failed.push(fs.what_failed().unwrap());
    }
    assert_eq!((failed[0].as_str(), failed[14].as_str()), ("create directory /d", "read /d/g"));
}
