//! What the control database said a moment ago: many who ask at once lead to one question.

use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use crate::ledger::gauges::Gauges;
use crate::ledger::{Ledger, LedgerError};

/// For how long an answer is good.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// How long the control database may take before it counts as away: well below the patience of those who ask us.
const PATIENCE: Duration = Duration::from_secs(4);

/// The last answers.
#[derive(Debug)]
pub(super) struct Fresh {
    /// Whether the ledger is there and of our version.
    ledger: Answer<()>,
    /// What it says.
    gauges: Answer<Gauges>,
}

impl Fresh {
    pub(super) fn new() -> Self {
        Self { ledger: Answer::new(), gauges: Answer::new() }
    }

    /// Whether the ledger is there and of the version that we know.
    pub(super) async fn ledger(&self, ledger: &Ledger) -> Result<(), String> {
        self.ledger.get(ledger.check_version()).await
    }

    /// What the ledger says of these pairs of job and target.
    pub(super) async fn gauges(&self, ledger: &Ledger, pairs: &[(String, String)]) -> Result<Gauges, String> {
        self.gauges.get(ledger.gauges(pairs)).await
    }
}

/// One question's last answer.
#[derive(Debug)]
struct Answer<T> {
    turn: Semaphore,
    last: watch::Sender<Option<(Instant, Result<T, String>)>>,
}

impl<T: Clone> Answer<T> {
    fn new() -> Self {
        Self { turn: Semaphore::new(1), last: watch::Sender::new(None) }
    }

    async fn get(&self, ask: impl Future<Output = Result<T, LedgerError>>) -> Result<T, String> {
        // The semaphore is never closed; whoever waits here gets the answer to the question that is under way.
        let _turn = self.turn.acquire().await;
        if let Some((at, answer)) = &*self.last.borrow()
            && at.elapsed() < GOOD_FOR
        {
            return answer.clone();
        }
        let answer = match timeout(PATIENCE, ask).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the control database has not answered within {} s", PATIENCE.as_secs())),
        };
        self.last.send_replace(Some((Instant::now(), answer.clone())));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_asked_for_once_a_second_however_many_want_it() {
        let answer = Answer::new();
        let asked = Cell::new(0);
        let ask = || async {
            asked.set(asked.get() + 1);
            tokio::time::sleep(Duration::from_millis(300)).await;
            Ok(asked.get())
        };
        let (one, two, three) = tokio::join!(answer.get(ask()), answer.get(ask()), answer.get(ask()));
        assert_eq!((one, two, three), (Ok(1), Ok(1), Ok(1)));
        tokio::time::advance(GOOD_FOR).await;
        assert_eq!(answer.get(ask()).await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_without_an_answer_is_given_up() {
        let answer = Answer::<()>::new();
        let told = answer.get(std::future::pending()).await.expect_err("given up");
        assert_eq!(told, "the control database has not answered within 4 s");
    }
}
