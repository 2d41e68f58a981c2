//! The pages for monitoring, on real daemons.

mod documents;
mod pages;
mod prometheus;
mod reloads;

use std::net::SocketAddr;

use crate::daemon::{Bench, START};
use crate::support::*;

/// A job whose name is as odd as names may be; and how it stands on the page.
const ODD: &str = r#"it's "odd", {a}\n"#;
const ODD_LABEL: &str = r#"it's \"odd\", {a}\\n"#;

/// A configuration with a few small jobs, and pages at the given address.
fn config(listen: &str) -> String {
    format!(
        r#"
version: 1
targets: {{ app: {{ url: "env:DATABASE_URL" }} }}
http: {{ listen: "{listen}" }}
jobs:
  clean: {{ kind: vacuum, with: {{ always: true, include: ["public.t"] }} }}
  'it''s "odd", {{a}}\n': {{ kind: sql, with: {{ statement: "select 1 / 0" }}, retries: 0 }}
schedules:
  daily: [ {{ job: clean, at: "02:00" }}, {{ name: paused, job: clean, at: "03:00", paused: true }} ]
"#
    )
}

/// Waits until a page answers with a status, and returns that answer.
async fn wait_for_status(address: SocketAddr, page: &str, status: u16) -> Answer {
    wait_until(&format!("{page} answers {status}"), START, async || {
        let answer = get(address, page).await;
        (answer.status == status).then_some(answer)
    })
    .await
}
