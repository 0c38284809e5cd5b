//! Ctrl-C: ends a command that only reads, and asks one that writes to stop.
//!
//! The database is safe at any moment, so that ending at once does no harm; asking first lets an import remove
//! its spill files. A read from a pipe that nobody writes to hears nothing: there the process ends at once, as it
//! does at a second Ctrl-C, and the next open removes the spill files.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use silverback::Cancel;

use crate::failure::INTERRUPTED;

/// How often the handler looks whether the process waits for input.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What Ctrl-C stops. Clones share one state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    cancel: Cancel,
    /// Whether what is under way wants to be asked.
    ask: Arc<AtomicBool>,
    /// Begun and ended reads: odd while one is under way.
    reads: Arc<AtomicU64>,
}

impl Interrupt {
    /// From now on, Ctrl-C ends the process, or asks to stop. Where the handler cannot be set it ends the process as it always did.
    pub(crate) fn install() -> Interrupt {
        let interrupt = Interrupt::default();
        let handled = interrupt.clone();
        let handler = move || {
            if handled.cancel.is_cancelled() || !handled.ask.load(Ordering::SeqCst) {
                std::process::exit(INTERRUPTED.into());
            }
            handled.cancel.cancel();
            let reads = Arc::clone(&handled.reads);
            // Not here: the handler's thread must hear a second Ctrl-C.
            std::thread::spawn(move || exit_if_a_read_waits(&reads));
        };
        // Without a handler the system's own action stands, which ends the process too.
        let _default_action = ctrlc::set_handler(handler);
        interrupt
    }

    /// From now on, Ctrl-C asks: something is being written.
    pub(crate) fn ask(&self) {
        self.ask.store(true, Ordering::SeqCst);
    }

    /// The token to hand to what takes long.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// An input that Ctrl-C ends even while it waits.
    pub(crate) fn input<R: Read>(&self, reader: R) -> Interruptible<R> {
        Interruptible { reader, reads: Arc::clone(&self.reads) }
    }
}

/// Ends the process when one read is seen under way at two looks.
fn exit_if_a_read_waits(reads: &AtomicU64) {
    let mut before = 0;
    loop {
        let now = reads.load(Ordering::SeqCst);
        if now % 2 == 1 && now == before {
            std::process::exit(INTERRUPTED.into());
        }
        before = now;
        std::thread::sleep(LOOK_EVERY);
    }
}

/// An input that Ctrl-C ends even while it waits.
#[derive(Debug)]
pub(crate) struct Interruptible<R> {
    reader: R,
    reads: Arc<AtomicU64>,
}

impl<R: Read> Read for Interruptible<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let outcome = self.reader.read(buf);
        self.reads.fetch_add(1, Ordering::SeqCst);
        outcome
    }
}
