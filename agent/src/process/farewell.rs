//! An app's own way of ending: it is asked over its interface before it gets SIGTERM.
//!
//! Jupyter, asked so, ends its kernels in order (they get to run what they have registered for their end) and then
//! itself, and answers at once. SIGTERM does the same, but not where somebody has put a wrapper before the server.

use crate::model::route::Upstream;
use crate::sys::http::Connection;
use std::pin::pin;
use std::time::Duration;
use tokio::time::sleep;

/// How long the app may take to answer that it will end.
const ANSWER: Duration = Duration::from_secs(2);

/// Jupyter compares these two and asks for no more from those who need no sign-in.
const XSRF: [(&str, &str); 2] = [("Cookie", "_xsrf=7370616365"), ("X-XSRFToken", "7370616365")];

/// A POST that makes the app end.
#[derive(Debug, Clone)]
pub struct Farewell {
    pub upstream: Upstream,
    /// The uid under which the app runs.
    pub uid: u32,
    pub path: String,
}

impl Farewell {
    /// Asks the app to end. Returns when it is time for SIGTERM: at once if it did not understand, else after
    /// `patience`.
    pub async fn said(&self, patience: Duration) {
        let mut patient = pin!(sleep(patience));
        if self.ask(ANSWER.min(patience)).await {
            patient.as_mut().await;
        }
    }

    async fn ask(&self, deadline: Duration) -> bool {
        let Ok(connection) = Connection::open(&self.upstream, self.uid, deadline).await else { return false };
        match connection.post(&self.path, &XSRF).await {
            Ok(status) if status.is_success() => true,
            answer => {
                tracing::debug!(?answer, path = self.path, "the app did not take the request to end; it gets SIGTERM");
                false
            }
        }
    }
}
