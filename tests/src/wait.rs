//! Waiting for a condition, never for time.

use std::fmt::Display;
use std::time::Duration;
use tokio::time::Instant;

/// Asks again and again (every 20 ms) until `condition` gives a value; `Err` says what was seen instead.
///
/// Returns the last `Err` with what was waited for once `deadline` is over.
pub async fn wait_for<T, E: Display>(
    deadline: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, String> {
    let begin = Instant::now();
    let mut last = None;
    loop {
        // One try may hang as well (a front door that never answers), so it has the same deadline.
        match tokio::time::timeout(deadline.saturating_sub(begin.elapsed()), condition()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => last = Some(seen.to_string()),
            Err(_) => {}
        }
        if begin.elapsed() >= deadline {
            let seen = last.unwrap_or_else(|| "no answer".to_owned());
            return Err(format!("waited {} s for {what}, but: {seen}", deadline.as_secs_f32()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_never_holds_is_told_with_what_was_seen() {
        let told = wait_for::<(), _>(Duration::from_millis(50), "a miracle", async || Err("only rain")).await;
        assert_eq!(told, Err("waited 0.05 s for a miracle, but: only rain".to_owned()));
    }

    #[tokio::test]
    async fn a_try_that_hangs_is_given_up() {
        let hang = async || {
            std::future::pending::<()>().await;
            Err::<(), _>("never")
        };
        let told = wait_for(Duration::from_millis(50), "a miracle", hang).await;
        assert_eq!(told, Err("waited 0.05 s for a miracle, but: no answer".to_owned()));
    }
}
