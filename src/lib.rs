//! pgupkeep looks after PostgreSQL so that nobody has to remember to.
//!
//! The modules stand on floors, and each uses only floors below its own. ARCHITECTURE.md is the map.

// Floor 0, words.
pub mod amounts;
pub mod clock;
pub mod fault;
pub mod lengths;
pub mod names;
pub mod run_state;
pub mod secret;

// Floor 1, decisions: pure, without async, clock, SQL or I/O.
pub mod calendar;
pub mod policy;

// Floor 2, outside.
pub mod child;
pub mod ledger;
pub mod pg;
pub mod repository;

// Floor 3, jobs.
pub mod jobs;

// Floor 4, configuration.
pub mod config;

// Floor 5, the engine.
pub mod engine;

// Floor 6, faces.
pub mod cli;
pub mod http;
pub mod signals;
pub mod telemetry;
