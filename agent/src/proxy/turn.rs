//! Taking turns within the front door's one thread.

use std::pin::pin;
use std::task::{Context, Poll};
use tokio::task::yield_now;

/// What one body may pass on at a time, in bytes: a long upload or download is not to be felt in anybody's typing.
pub(super) const TURN: usize = 512 * 1024;

/// Others have their turn, and what has come for them meanwhile; then this goes on.
pub(super) fn rest<T>(cx: &mut Context<'_>) -> Poll<T> {
    // The runtime keeps the waker, not the future.
    let _ = pin!(yield_now()).poll(cx);
    Poll::Pending
}
