//! PostgreSQL as a server that we work on: connections, sessions, errors, and the SQL we send.

pub mod connect;
pub mod describe;
pub mod error;
pub mod inspect;
pub mod pooler;
pub mod progress;
pub mod session;
pub mod statement;

pub use error::PgError;
