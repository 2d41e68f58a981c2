//! The `backup` job on real servers with their real tools, and with tools that misbehave.

mod damage;
pub mod depot;
mod dump;
mod faults;
mod kills;
mod majors;
mod secrets;
