//! The kinds of job, driven on real servers as a worker drives them, but without a daemon around them.

mod archive;
mod archive_rules;
mod archive_tables;
mod backup;
mod drive;
mod prune_history;
mod reindex;
mod reindex_hostile;
mod reindex_room;
mod sequence;
mod session;
mod sql;
mod vacuum;
mod vacuum_all_majors;
mod vacuum_locks;
mod workplace;
