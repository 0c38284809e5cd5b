//! The locks beneath the ranked ones, in tests: the standard library's, or those of a model check.
//!
//! A model check (`db/tests/schedules.rs`) runs threads as coroutines of [shuttle], one at a time, and lets a seeded
//! scheduler decide at each lock, wait and atomic access who goes on. So what a check explores is the production code itself.
//! Which kind a lock is follows from where it is made: within [`explore`] it is shuttle's. Outside of tests
//! this file does not exist, and `sync` stands on `std::sync`.
//!
//! All accesses are in one order here: what relaxed orderings could do beyond that is not explored.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::LockResult;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shuttle::sync as model;

thread_local! {
    /// Whether what this thread makes is made for a model check.
    static MODELLED: Cell<bool> = const { Cell::new(false) };
}

#[cfg(debug_assertions)]
shuttle::thread_local! {
    /// The ranks that a modelled thread holds.
    static HELD: Cell<u32> = const { Cell::new(0) };
}

/// Who decides which thread goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scheduler {
    /// Any, each time.
    Random,
    /// By priorities that change so many times in a run (PCT: Burckhardt et al., ASPLOS 2010).
    Priorities(usize),
}

/// Runs `scenario` under so many schedules that follow from the seed; panics, with the schedule, if one fails or hangs.
pub(crate) fn explore(
    scheduler: Scheduler,
    seed: u64,
    schedules: usize,
    scenario: impl Fn() + Send + Sync + 'static,
) {
    struct Modelled;
    impl Drop for Modelled {
        fn drop(&mut self) {
            MODELLED.set(false);
        }
    }
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 20;
    config.silence_warnings = true;
    MODELLED.set(true);
    let _until_the_end = Modelled;
    match scheduler {
        Scheduler::Random => {
            let scheduler = shuttle::scheduler::RandomScheduler::new_from_seed(seed, schedules);
            shuttle::Runner::new(scheduler, config).run(scenario);
        }
        Scheduler::Priorities(changes) => {
            let scheduler = shuttle::scheduler::PctScheduler::new_from_seed(seed, changes, schedules);
            shuttle::Runner::new(scheduler, config).run(scenario);
        }
    }
}

/// In debug builds, which check them: the ranks that the modelled thread holds are changed by `f`; `None` if this thread is not modelled.
#[cfg(debug_assertions)]
pub(super) fn held<R>(f: impl FnOnce(&Cell<u32>) -> R) -> Option<R> {
    MODELLED.get().then(|| HELD.with(f))
}

/// Lets the scheduler choose.
fn switch() {
    if MODELLED.get() {
        model::atomic::AtomicBool::new(false).load(Ordering::SeqCst);
    }
}

/// Lets other threads go first.
pub(crate) fn yield_now() {
    match MODELLED.get() {
        true => shuttle::thread::yield_now(),
        false => std::thread::yield_now(),
    }
}

/// Either kind.
#[derive(Debug)]
pub(crate) enum Either<S, M> {
    /// The standard library's.
    Std(S),
    /// The model's.
    Model(M),
}

impl<T: ?Sized, S: Deref<Target = T>, M: Deref<Target = T>> Deref for Either<S, M> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Either::Std(guard) => guard,
            Either::Model(guard) => guard,
        }
    }
}

impl<T: ?Sized, S: DerefMut<Target = T>, M: DerefMut<Target = T>> DerefMut for Either<S, M> {
    fn deref_mut(&mut self) -> &mut T {
        match self {
            Either::Std(guard) => guard,
            Either::Model(guard) => guard,
        }
    }
}

/// As `std::sync::Mutex`.
#[derive(Debug)]
pub(crate) struct Mutex<T>(Either<std::sync::Mutex<T>, model::Mutex<T>>);

pub(crate) type MutexGuard<'a, T> = Either<std::sync::MutexGuard<'a, T>, model::MutexGuard<'a, T>>;

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(match MODELLED.get() {
            false => Either::Std(std::sync::Mutex::new(value)),
            true => Either::Model(model::Mutex::new(value)),
        })
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        Ok(match &self.0 {
            Either::Std(lock) => Either::Std(ignore_poison(lock.lock())),
            Either::Model(lock) => Either::Model(ignore_poison(lock.lock())),
        })
    }

    pub(crate) fn into_inner(self) -> LockResult<T> {
        match self.0 {
            Either::Std(lock) => lock.into_inner(),
            Either::Model(lock) => lock.into_inner(),
        }
    }
}

fn ignore_poison<G>(result: LockResult<G>) -> G {
    result.unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// As `std::sync::RwLock`.
#[derive(Debug)]
pub(crate) struct RwLock<T>(Either<std::sync::RwLock<T>, model::RwLock<T>>);

pub(crate) type RwLockReadGuard<'a, T> =
    Either<std::sync::RwLockReadGuard<'a, T>, model::RwLockReadGuard<'a, T>>;

pub(crate) type RwLockWriteGuard<'a, T> =
    Either<std::sync::RwLockWriteGuard<'a, T>, model::RwLockWriteGuard<'a, T>>;

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> RwLock<T> {
        RwLock(match MODELLED.get() {
            false => Either::Std(std::sync::RwLock::new(value)),
            true => Either::Model(model::RwLock::new(value)),
        })
    }

    pub(crate) fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        Ok(match &self.0 {
            Either::Std(lock) => Either::Std(ignore_poison(lock.read())),
            Either::Model(lock) => Either::Model(ignore_poison(lock.read())),
        })
    }

    pub(crate) fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        Ok(match &self.0 {
            Either::Std(lock) => Either::Std(ignore_poison(lock.write())),
            Either::Model(lock) => Either::Model(ignore_poison(lock.write())),
        })
    }
}

/// As `std::sync::Condvar`; in a model check no time passes.
#[derive(Debug)]
pub(crate) struct Condvar(Either<std::sync::Condvar, model::Condvar>);

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar(match MODELLED.get() {
            false => Either::Std(std::sync::Condvar::new()),
            true => Either::Model(model::Condvar::new()),
        })
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        Ok(match (&self.0, guard) {
            (Either::Std(condvar), Either::Std(guard)) => Either::Std(ignore_poison(condvar.wait(guard))),
            (Either::Model(condvar), Either::Model(guard)) => {
                Either::Model(ignore_poison(condvar.wait(guard)))
            }
            _ => panic!("a lock of one kind with a condition of the other"),
        })
    }

    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, TimedOut)> {
        Ok(match (&self.0, guard) {
            (Either::Std(condvar), Either::Std(guard)) => {
                let (guard, result) = ignore_poison(condvar.wait_timeout(guard, timeout));
                (Either::Std(guard), TimedOut(result.timed_out()))
            }
            (_, guard) => (ignore_poison(self.wait(guard)), TimedOut(false)),
        })
    }

    pub(crate) fn notify_all(&self) {
        match &self.0 {
            Either::Std(condvar) => condvar.notify_all(),
            Either::Model(condvar) => condvar.notify_all(),
        }
    }
}

/// Whether the time passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimedOut(bool);

impl TimedOut {
    pub(crate) fn timed_out(self) -> bool {
        self.0
    }
}

macro_rules! atomics {
    ($($name:ident $of:ty: $($operation:ident($($argument:ident)?) -> $result:ty)*;)*) => {$(
        /// That of the standard library, with a choice for the scheduler before each access.
        #[derive(Debug, Default)]
        pub(crate) struct $name(std::sync::atomic::$name);

        impl $name {
            pub(crate) const fn new(value: $of) -> $name {
                $name(std::sync::atomic::$name::new(value))
            }

            $(pub(crate) fn $operation(&self, $($argument: $of,)? order: Ordering) -> $result {
                switch();
                self.0.$operation($($argument,)? order)
            })*
        }
    )*};
}

atomics! {
    AtomicBool bool: load() -> bool store(value) -> ();
    AtomicU32 u32: load() -> u32 fetch_add(value) -> u32;
    AtomicU64 u64: load() -> u64 store(value) -> () fetch_add(value) -> u64 fetch_sub(value) -> u64;
    AtomicUsize usize: load() -> usize fetch_add(value) -> usize fetch_sub(value) -> usize;
}
