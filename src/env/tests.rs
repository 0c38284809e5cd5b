//! Goal: the three filesystems keep the contracts of this module's essay.
//!
//! Method: one generated sequence of calls is made on the real and the in-memory filesystem,
//! which must answer alike (`agree`); the in-memory one is cut off at every kind of moment and what
//! is left compared with what was promised (`crashes`); each fault is injected and must be what it is
//! named (`faults`).

mod agree;
mod crashes;
mod faults;
