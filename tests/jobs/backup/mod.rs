//! The `backup` job on real servers with their real tools.

mod depot;
mod dump;
mod majors;
