//! Log lines: where they go, and what may not be in them.

pub mod logging;
