//! What ends busy kernels is asked about: on a terminal; elsewhere it needs `--yes`.

use super::Surroundings;
use super::failure::Failure;
use std::io::{BufRead, Write};

/// After the agent's first answer: whether to ask it once more, with force. `verb`: what would be done to `it`.
pub(super) async fn insist(
    answer: Result<(), Failure>,
    verb: &'static str,
    surroundings: &Surroundings<'_>,
) -> Result<bool, Failure> {
    match answer {
        Err(busy) if busy.busy && !surroundings.interactive => {
            let message = format!("{}; add --yes to {verb} it all the same", busy.message);
            Err(Failure { message, ..busy })
        }
        Err(busy) if busy.busy => match agreed(&busy.message, verb).await? {
            true => Ok(true),
            false => Err(Failure::failed("nothing was ended")),
        },
        answer => answer.map(|()| false),
    }
}

/// Waits as long as the person thinks: nothing happens until they answer.
async fn agreed(busy: &str, verb: &'static str) -> Result<bool, Failure> {
    let question = format!("{busy}\nDo you want to {verb} it all the same? [y/N] ");
    let asked = tokio::task::spawn_blocking(move || {
        let mut answer = String::new();
        write!(std::io::stderr(), "{question}")?;
        std::io::stdin().lock().read_line(&mut answer)?;
        Ok::<bool, std::io::Error>(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    });
    match asked.await {
        Ok(Ok(agreed)) => Ok(agreed),
        Ok(Err(error)) => Err(Failure::failed(format!("cannot ask: {error}; add --yes to {verb} it all the same"))),
        Err(error) => Err(Failure::failed(format!("cannot ask: {error}"))),
    }
}
