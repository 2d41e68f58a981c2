//! The `sql` job: a statement of the operator's own, for what no other kind does.
//!
//! It does not look into the statement and cannot tell whether repeating it is harmless, so by default it is not tried
//! again after a failure. Only when the worker was lost in the middle is it sent again, as every job is.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::context::{Context, JobError};
use super::{Job, Measures, Profile, StepReport, Weight};
use crate::pg::PgError;
use crate::pg::statement::Statement;

/// The parameters of a `sql` job: `statement` or `file`, and how it is sent.
///
/// ```
/// # let yaml = r#"
/// statement: delete from sessions where expires_at < now()
/// transaction: inside    # or outside, for VACUUM, CREATE INDEX CONCURRENTLY, CALL
/// # "#;
/// # let sql: pgupkeep::jobs::sql::Sql = serde_yaml::from_str(yaml).unwrap();
/// # assert!(sql.statement.is_some());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sql {
    /// One statement or several, separated by semicolons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// The path of a file that holds them; read when the configuration is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Whether they are one transaction.
    #[serde(default = "inside")]
    pub transaction: Transaction,
}

/// Whether an operator's statements are one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transaction {
    /// Sent between BEGIN and COMMIT: all of it happens or nothing.
    Inside,
    /// Sent as it stands, for a single statement that cannot be in a transaction.
    Outside,
}

const fn inside() -> Transaction {
    Transaction::Inside
}

/// The one unit of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    statement: Statement,
    title: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

/// The most characters of a statement that are shown as its title.
const LONGEST_TITLE: usize = 60;

/// What is no boolean, and says why.
const ENDED: &str = "the text has ended its transaction";

/// Decides what is sent; `text` is the statement, which the configuration has read from the file if need be.
fn decide(spec: &Sql, text: &str) -> Vec<Step> {
    let statement = match spec.transaction {
        // On a line of its own, so that a comment at the end does not swallow the COMMIT. The mark is gone where the text has
        // ended the transaction itself, and what is left then is no boolean; setting it takes no snapshot, and looking at
        // it counts no row.
        Transaction::Inside => format!(
            "begin;set local pgupkeep.ended = off;\n{text}\n;select where coalesce(nullif(\
             pg_catalog.current_setting('pgupkeep.ended', true), ''), '{ENDED}')::pg_catalog.bool;commit"
        ),
        Transaction::Outside => text.to_owned(),
    };
    vec![Step { statement: Statement::verbatim(&statement), title: title(text) }]
}

fn title(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    if line.chars().count() <= LONGEST_TITLE {
        return line.to_owned();
    }
    let cut: String = line.chars().take(LONGEST_TITLE - 1).collect();
    format!("{}…", cut.trim_end())
}

impl Job for Sql {
    const KIND: &'static str = "sql";
    const PROFILE: Profile = Profile {
        weight: Weight::Light,
        retries: 0,
        about: "a statement of your own, for what pgupkeep does not have",
    };
    type Step = Step;

    fn check(&self) -> Result<(), String> {
        match (&self.statement, &self.file) {
            (Some(_), Some(_)) => Err("`statement` and `file` are both given; leave one of them out".to_owned()),
            (None, None) => Err("give the SQL as `statement`, or a `file` that holds it".to_owned()),
            (Some(text), None) if text.trim().is_empty() => Err("`statement` is empty".to_owned()),
            _ => Ok(()),
        }
    }

    async fn plan(&self, _: &mut Context) -> Result<Vec<Step>, JobError> {
        let text = self.statement.as_deref().ok_or_else(|| JobError::Refused {
            fault: crate::fault::Fault::Internal,
            message: "the job's `file` was not read when the configuration was; nothing was sent".to_owned(),
        })?;
        Ok(decide(self, text))
    }

    async fn perform(&self, step: &Step, cx: &mut Context) -> Result<StepReport, JobError> {
        let sent = cx.send(&step.title, &step.statement).await;
        if cx.session.is_usable() {
            // The next job of a sequence must not find this one's transaction, role or settings.
            let reset = cx.session.reset().await;
            if sent.is_ok() {
                reset?;
            }
        }
        let rows = i64::try_from(sent.map_err(|error| explain(error, self.transaction))?).ok();
        Ok(StepReport::Done(Measures { rows, ..Measures::default() }))
    }
}

/// What helps where a statement cannot be in a transaction, or has ended it.
fn explain(error: JobError, transaction: Transaction) -> JobError {
    match error {
        JobError::Target(error) if error.sqlstate() == Some("25001") && transaction == Transaction::Inside => {
            let message = format!("{error}; set `transaction: outside` in the job's `with:`");
            JobError::Refused { fault: error.fault(), message }
        }
        JobError::Target(error) if has_ended(&error) && transaction == Transaction::Inside => {
            let message = format!(
                "{error}: the statement has ended its transaction itself, and what it did until then stands as it said; \
                 leave COMMIT and ROLLBACK out of it, or set `transaction: outside` in the job's `with:`"
            );
            JobError::Refused { fault: error.fault(), message }
        }
        other => other,
    }
}

/// Whether a text has ended its transaction and is told so, by our own look or by a statement that needs one.
fn has_ended(error: &PgError) -> bool {
    match error.sqlstate() {
        Some("25P01") => true,
        Some("22P02") => error.to_string().contains(ENDED),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jobs::parse_with;

    #[test]
    fn a_statement_or_a_file_is_needed_and_not_both() {
        let check = |with, message: &str| {
            let error = parse_with::<Sql>(&with).expect_err("refused");
            assert!(error.message.contains(message), "{error}");
        };
        check(json!({}), "give the SQL as `statement`, or a `file`");
        check(json!({ "statement": "select 1", "file": "x.sql" }), "both given");
        check(json!({ "statement": " \n" }), "`statement` is empty");
        check(json!({ "statement": "select 1", "transaction": "maybe" }), "inside");
        check(json!({ "statment": "select 1" }), "unknown field");
        assert!(parse_with::<Sql>(&json!({ "file": "x.sql" })).is_ok());
    }

    #[test]
    fn the_parameters_are_kept_with_their_defaults() {
        let sql: Sql = parse_with(&json!({ "statement": "select 1" })).expect("a statement");
        let written = serde_json::to_value(&sql).expect("it can be written");
        assert_eq!(written, json!({ "statement": "select 1", "transaction": "inside" }));
        assert_eq!(parse_with::<Sql>(&written), Ok(sql));
    }

    #[test]
    fn a_statement_is_sent_in_a_transaction_or_as_it_stands() {
        let check = |transaction: &str, expected: &str| {
            let with = json!({ "statement": "vacuum t -- now", "transaction": transaction });
            let sql: Sql = parse_with(&with).expect("a statement");
            let steps = decide(&sql, sql.statement.as_deref().expect("the statement"));
            assert_eq!(steps[0].statement.as_str(), expected);
        };
        check(
            "inside",
            "begin;set local pgupkeep.ended = off;\nvacuum t -- now\n;select where coalesce(nullif(\
             pg_catalog.current_setting('pgupkeep.ended', true), ''), 'the text has ended its transaction')\
             ::pg_catalog.bool;commit",
        );
        check("outside", "vacuum t -- now");
    }

    #[test]
    fn a_title_is_the_first_line_and_not_too_long() {
        let check = |text: &str, expected: &str| assert_eq!(title(text), expected);
        check("select 1", "select 1");
        check("\n  delete from a\n where b", "delete from a");
        check(&"x".repeat(60), &"x".repeat(60));
        check(&"ß".repeat(61), &format!("{}…", "ß".repeat(59)));
    }
}
