//! What integration tests stand on: real servers, the real binary, and a network that fails on command.
//!
//! - [`Major`], [`majors`], [`one_major`]: the PostgreSQL builds to test with.
//! - [`Cluster`]: a server of one's own, started from a template in a fraction of a second, gone when dropped.
//! - [`Daemon`], [`pgupkeep`]: the built binary, as a daemon and as a command.
//! - [`get`], [`pages_of`], [`sample`]: the pages of a daemon.
//! - [`Proxy`]: a TCP proxy that passes, stalls, cuts and refuses.
//! - [`SmallDisk`]: a disk that is soon full.
//! - [`wait_until`]: the only way to wait; nothing here sleeps blindly.
//! - [`rounds`]: how often endurance suites repeat.
//! - [`client_tools`]: PostgreSQL's own tools, for what starts them.
//! - [`mlflow_database`], [`mlflow_python`], [`mlflow_program`], [`mlflows`], [`faketime_library`]: what only some suites need.
//!
//! Not every test binary build uses every part, hence the `allow` on unused code.
#![allow(dead_code, unused_imports, reason = "the parts are there for the suites that need them")]

mod cluster;
mod daemon;
mod disk;
mod http;
mod majors;
mod mlflow;
mod proxy;
mod standby;
mod suites;
mod template;
mod tools;
mod wait;

pub use cluster::{Cluster, StopMode};
pub use daemon::{ConfigFile, Daemon, Said, binary, pgupkeep};
pub use disk::SmallDisk;
pub use http::{Answer, get, pages_of, request, sample};
pub use majors::{Major, majors, one_major};
pub use mlflow::{DemoSize, Mlflow, mlflow_database, mlflow_program, mlflow_python, mlflows};
pub use nix::sys::signal::Signal;
pub use proxy::{Proxy, Traffic};
pub use suites::{faketime_library, rounds, skip_suite};
pub use tools::{client_tools, with_libraries, write_tool};
pub use wait::{MOMENT, wait_until};
