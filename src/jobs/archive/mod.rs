//! The `archive` job: rows that are old enough leave their live tables for compressed tables that plain SQL reads.
//!
//! Nothing leaves before it is proven: in the transaction that deletes rows, the archive's own SQL gives them back, and
//! every one is compared. The modules are the way of a row:
//!
//! - `spec`, `preset`, `resolve`, `graph`, `rule`: what moves together, for MLflow or any table;
//! - `candidates`, `plan`, `step`: which of it is old enough, and in which transactions it moves;
//! - `mover`: the transaction; `copy` takes the rows apart, `digest` hashes them;
//! - `shape`, `batch`, `narrow`, `segment`: how rows become segments;
//! - `layout`, `store`: the tables, views and catalogue of the archive;
//! - `perform`, `expire`: the steps; `restore`, `verify`: the way back, and whether it is sound.
//!
//! It refuses to blank or thin what it does not move, to delete what something that stays refers to, and to trust its
//! own encoding: a value whose bits do not come back stops the batch, and nothing of it has happened then.

pub mod access;
mod aftercare;
mod backup;
pub mod batch;
pub mod candidates;
pub mod catalogue;
mod changes;
mod condition;
pub mod consistency;
pub mod copy;
pub mod digest;
mod expire;
pub mod graph;
pub mod holdings;
pub mod lasting;
pub mod layout;
pub mod limit;
pub mod mover;
pub mod narrow;
mod pace;
mod perform;
mod plan;
pub mod preset;
pub mod readers;
pub mod resolve;
pub mod restore;
pub mod rule;
pub mod segment;
pub mod selection;
pub mod shape;
pub mod spec;
pub mod step;
pub mod store;
mod tables;
pub mod verify;
mod wire;

use super::context::{Context, JobError};
use super::{Job, Profile, StepReport, Weight};

pub use spec::Archive;
pub use step::Step;

impl Job for Archive {
    const KIND: &'static str = "archive";
    const PROFILE: Profile = Profile {
        weight: Weight::Heavy,
        retries: 3,
        about: "move old rows into a compressed archive that plain SQL reads, every row proven before it is deleted",
    };
    type Step = Step;

    fn check(&self) -> Result<(), String> {
        self.contradictions()
    }

    async fn plan(&self, cx: &mut Context) -> Result<Vec<Step>, JobError> {
        plan::plan(self, cx).await
    }

    async fn perform(&self, step: &Step, cx: &mut Context) -> Result<StepReport, JobError> {
        perform::perform(self, step, cx).await
    }
}
