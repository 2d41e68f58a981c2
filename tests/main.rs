//! Every integration test is in this one binary: it links once, and all its modules share `support`.
//!
//! The tests use real PostgreSQL servers, found through `PGUPKEEP_PG_ROOT`; `script/test` fetches them.
//! By hand: `eval "$(script/setup)" && cargo nextest run`.

// What the product must not do, its tests may: they panic on purpose, talk to the terminal, read the environment that
// script/test set, write SQL on the spot and start concurrent work. They are not an interface either, so nobody reads
// their documentation outside this folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::missing_panics_doc,
    unreachable_pub
)]

mod support;

mod cli;
mod daemon;
mod harness;
mod house_rules;
mod http;
mod jobs;
mod ledger;
mod mlflow;
