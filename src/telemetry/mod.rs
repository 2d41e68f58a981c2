//! What can be seen from outside: log lines, and the names of all metrics.

pub mod logging;
pub mod metrics;
pub mod process;
