//! Which page is which, and what `/livez` and `/readyz` say.

use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use tokio::sync::watch;

use super::fresh::Fresh;
use super::{LastReload, Phase, Source, samples};
use crate::lengths::rough;

/// The text form that Prometheus has always read.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// The answer to a request; to HEAD it is sent without its body.
pub(super) async fn answer(
    method: &Method,
    path: &str,
    source: &watch::Receiver<Source>,
    fresh: &Fresh,
) -> Response<String> {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    // A copy, because the daemon must be able to bring the source up to date while we wait for the database.
    let seen = source.borrow().clone();
    match path {
        "/livez" | "/readyz" | "/metrics" if !is_read => {
            let mut page = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are understood here\n".to_owned());
            page.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            page
        }
        "/livez" => told(&livez(&seen), "alive", "not alive"),
        "/readyz" => told(&readyz(&seen, fresh).await, "ready", "not ready"),
        "/metrics" => {
            let mut page = text(StatusCode::OK, samples::exposition(&seen, fresh).await.text());
            page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE));
            page
        }
        _ => text(StatusCode::NOT_FOUND, "not found; there are /livez, /readyz and /metrics\n".to_owned()),
    }
}

fn text(status: StatusCode, body: String) -> Response<String> {
    let mut page = Response::new(body);
    *page.status_mut() = status;
    page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT_TYPE));
    page.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page
}

/// What was looked at, a line each, and whether all of it is well.
#[derive(Debug, Default)]
struct Findings {
    lines: Vec<String>,
    troubles: u32,
}

impl Findings {
    fn well(&mut self, what: &str, found: &str) {
        self.lines.push(format!("ok   {what}: {found}"));
    }

    fn trouble(&mut self, what: &str, found: &str) {
        self.lines.push(format!("FAIL {what}: {found}"));
        self.troubles += 1;
    }
}

fn told(findings: &Findings, good: &str, bad: &str) -> Response<String> {
    let (status, word) =
        if findings.troubles == 0 { (StatusCode::OK, good) } else { (StatusCode::SERVICE_UNAVAILABLE, bad) };
    text(status, format!("{word}\n{}\n", findings.lines.join("\n")))
}

/// Alive: this process answers, and its scheduler comes round. Whether a database is away does not matter here, since
/// starting the process anew would not bring it back.
fn livez(source: &Source) -> Findings {
    let mut findings = Findings::default();
    findings.well("process", "answers");
    if let Some((_, pulse)) = &source.engine {
        let pulse = pulse.borrow();
        let idle = pulse.at.map(|at| at.elapsed());
        match idle {
            Some(idle) if pulse.is_stuck() => {
                findings.trouble("scheduler", &format!("has not come round for {}", rough(idle)));
            }
            Some(_) => findings.well("scheduler", "comes round"),
            None => findings.well("scheduler", "begins"),
        }
    }
    findings
}

/// Ready: this daemon would do what falls due now.
async fn readyz(source: &Source, fresh: &Fresh) -> Findings {
    let mut findings = livez(source);
    let config = &source.config;
    let loaded =
        format!("{} targets, {} jobs, {} entries", config.targets.len(), config.jobs.len(), config.entries.len());
    match source.reloads.last {
        LastReload::Taken => findings.well("configuration", &loaded),
        // It goes on working by the configuration that it has; that is no reason to take it out of service.
        LastReload::Kept => findings.well("configuration", &format!("{loaded}; the last reload was refused")),
    }
    match fresh.ledger(&source.ledger).await {
        Ok(()) if source.ledger.is_read_only() => {
            findings.trouble("control database", "answers, but takes no writes, so nothing is planned or started");
        }
        Ok(()) => findings.well("control database", "answers, and its ledger is of this version"),
        Err(error) => findings.trouble("control database", &source.redactor.clean(&error).replace(['\n', '\r'], " ")),
    }
    match source.phase {
        Phase::Working => findings.well("engine", "works"),
        Phase::Starting => findings.trouble("engine", "waits for the control database"),
        Phase::Stopping => findings.trouble("engine", "is stopping and takes on nothing new"),
    }
    findings
}
