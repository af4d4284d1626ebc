//! Asking the hall, with a deadline: a hall that doesn't answer is said, not waited for.

use super::problem::Problem;
use super::{Refusal, Request};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(5);

/// Sends the request that `make` builds around the reply channel, and waits for the answer.
pub(super) async fn ask<T>(
    hall: &mpsc::Sender<Request>,
    make: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Request,
) -> Result<T, Problem> {
    let (reply, answer) = oneshot::channel();
    let request = make(reply);
    let asked = async {
        hall.send(request).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(Problem::from)
    };
    timeout(DEADLINE, asked).await.unwrap_or_else(|_| {
        Err(Problem::unavailable("the agent did not answer within 5 s; it may be overloaded: try again"))
    })
}

fn gone() -> Problem {
    Problem::unavailable("the agent is ending and takes no more requests")
}
