//! A rule: what moves together, resolved against the catalogue of a live database.
//!
//! A scope of a preset and a `table:` of the configuration both become one of these, so that whatever moves rows knows
//! nothing of MLflow. SQL in here uses fixed aliases: `r` is a row of the root table, `t` a row of the part's table, and
//! `p` a row of `pg_temp.pgupkeep_picked`, where the moving transaction lists the roots that it has locked, with the
//! columns `tid` (the root's ctid), `group_key` (text), and `k1`, `k2`, .. (the root's key columns).
//!
//! The order in a moving transaction: lock the roots (`FOR UPDATE`) and list them as picked; send [`Rule::locks`]; then,
//! in a statement of its own, whose snapshot is younger than every lock, strike from the list what is no longer
//! [`Root::fenced`]; delete the parts in order; mark. Somebody who wrote just before the locks were taken is seen by the
//! second look, and nobody can write after it.

use std::fmt;

use serde::{Deserialize, Serialize};
use sqlx::postgres::types::Oid;

use crate::pg::statement::{Ident, Qualified};

/// The FROM item by which every [`Part::using`] begins.
pub const PICKED: &str = "pg_temp.pgupkeep_picked p";

/// What moves together.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its name in the catalogue of the archive, such as `mlflow/metric_history` or `public.events`.
    pub name: String,
    /// What else a row has to fulfil, by the configuration; its archive is kept by itself.
    pub condition: Option<String>,
    /// The instant before which something must last have happened, as PostgreSQL writes a `timestamptz` in UTC.
    pub cutoff: String,
    /// The rows that decide.
    pub root: Root,
    /// Statements that lock what hangs on the picked roots and is referred to in its turn, from the roots downwards; a
    /// writer who would add something below waits for the end of the move. Each is a SELECT that gives back a count.
    pub locks: Vec<String>,
    /// The tables whose rows move, in the order in which they are deleted: children before what they refer to.
    pub parts: Vec<Part>,
    /// Statements that mark the roots that stay, sent in the moving transaction when their rows are in the archive.
    ///
    /// They read `pg_temp.pgupkeep_moved (group_key text, points bigint)`: the rows of each picked group that are in the
    /// archive by now, those of earlier batches included.
    pub marks: Vec<String>,
    /// What of a group has a name of its own, by which people may ask for it.
    pub inner: Vec<Inner>,
    /// Statements that take the marks off again at a restore; they read `pg_temp.pgupkeep_restored (group_key text)`.
    pub unmarks: Vec<String>,
    /// A SELECT of the group keys whose restore somebody asks for in the application, by a tag for example.
    pub wanted: Option<String>,
    /// The version of the application's schema, where it keeps one; recorded with each batch.
    pub schema_version: Option<String>,
    /// What an operator should know: missing indexes, triggers, publications.
    pub warnings: Vec<String>,
    /// What each table is used for, for whoever grants rights.
    pub uses: Vec<(Qualified, Use)>,
}

/// The name of a rule about one table; one name for one table, also where a dot is part of the schema's.
pub fn name_of(root: &Qualified) -> String {
    if root.schema.0.contains('.') { root.to_string() } else { root.plain() }
}

/// Rows of a group that are a group themselves elsewhere, such as the runs of an experiment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inner {
    /// Their table.
    pub table: Qualified,
    /// Text over `r`, such a row: its name.
    pub name: String,
    /// Condition over `r` that it belongs to one of the groups whose keys the SELECT at [`HELD`] gives, where that can be told.
    #[serde(default)]
    pub within: Option<String>,
}

/// What is done to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Its rows are locked and deleted.
    Moves,
    /// Its rows are locked.
    Locks,
    /// Rows are inserted and updated.
    Marks,
    /// It is read.
    Reads,
}

/// A right on a table, in the order in which a GRANT names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    /// Reading.
    Select,
    /// Adding rows.
    Insert,
    /// Changing and locking rows.
    Update,
    /// Removing rows.
    Delete,
}

impl Use {
    /// The rights that it takes; putting rows back takes INSERT besides.
    pub const fn privileges(self) -> &'static [Privilege] {
        match self {
            Self::Moves => &[Privilege::Select, Privilege::Update, Privilege::Delete],
            Self::Locks => &[Privilege::Select, Privilege::Update],
            Self::Marks => &[Privilege::Select, Privilege::Insert, Privilege::Update],
            Self::Reads => &[Privilege::Select],
        }
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        })
    }
}

/// The rows that decide whether something moves, and under whose lock it does.
#[derive(Debug, Clone, PartialEq)]
pub struct Root {
    /// The table.
    pub table: Qualified,
    /// Its number in the catalogue.
    pub oid: Oid,
    /// The columns that name a row, for the parts to join on; with their types as SQL.
    pub keys: Vec<(Ident, String)>,
    /// Text over `r`: the group that a root's rows are archived under, the smallest unit of a restore.
    pub group: String,
    /// Whether the group is when the rows were archived: a live row does not tell it.
    pub by_archival: bool,
    /// Condition over `r`: that there is anything to move, where the root itself stays; it may walk an index once.
    pub filled: Option<String>,
    /// Condition over `r`: old enough, finished, not excluded, not referred to from outside.
    ///
    /// For lists of candidates: it may gather sets that are as large as a table. It says nothing of `filled`, nor of
    /// holds. The instants in it are constants, so that a list does not change while it is worked through.
    pub eligible: String,
    /// The same for the second look under the locks: index lookups for each row, and it may read `PICKED`'s table.
    pub fenced: String,
    /// The reasons to stay that `eligible` is the absence of, in the order in which the first one counts.
    pub reasons: Vec<Reason>,
    /// Holds on groups of other rules that keep a root as well.
    pub held_with: Vec<HeldWith>,
    /// `timestamptz` over `r`: when something last happened to it.
    pub activity: String,
    /// How the roots are gone through.
    pub chunks: Chunks,
    /// Whether the root itself leaves; then it is the last of the parts.
    pub leaves: bool,
}

/// What stands in [`HeldWith::when`] for the SELECT of the keys of the held groups.
pub const HELD: &str = "pgupkeep_held_groups";

/// A hold on groups of other rules that keeps a root as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldWith {
    /// The names of the rules.
    pub rules: Vec<String>,
    /// Condition over `r`, with [`HELD`] in it.
    pub when: String,
}

/// A reason to stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// For people.
    pub because: String,
    /// Condition over `r`; unknown (null) counts as true.
    pub when: String,
}

/// How the roots are gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chunks {
    /// By lists of groups, because a root carries many rows.
    Groups,
    /// By ranges of the root table's pages, because the roots themselves are the many rows.
    Pages,
}

/// One table whose rows move.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The table.
    pub table: Qualified,
    /// Its number in the catalogue.
    pub oid: Oid,
    /// The FROM items that lead from `t` to the roots: [`PICKED`], and joins where it is a grandchild.
    pub using: String,
    /// Condition that joins `t` with them.
    pub on: String,
    /// Whether an index of the table serves that join.
    pub indexed: bool,
    /// A SELECT of the `tid` of each row that stays although it belongs to a root; it reads [`PICKED`]'s table.
    ///
    /// It looks at whole series. Where a series is split over several transactions, it has to be asked once, before the
    /// first of them: what it says of a rest differs from what it says of the whole.
    pub kept: Option<String>,
    /// Columns by which rows fall into series, such as a metric's key.
    pub series: Vec<String>,
    /// Columns by which the rows of a series are put in order.
    pub order: Vec<String>,
    /// Columns that have one value in a whole group, such as the run's id; readers find a group by them.
    pub group_columns: Vec<String>,
}
