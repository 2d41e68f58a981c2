//! Decisions about runs: when to try again, when to stop, what to do with an overlap. Pure.

pub mod gate;
pub mod overlap;
pub mod retention;
pub mod retry;
