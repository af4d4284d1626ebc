//! Driving a connection to an app from within the task of the request that uses it.
//!
//! hyper's client connection is a future of its own beside the answer's. Polled in the request's task, the one does its
//! work for the other within one poll; but each still wakes the other, which is this very task, and would have it polled
//! again for nothing. Such wakes are caught here, and only what comes from outside reaches the task.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use tokio::task::yield_now;

/// A future that is polled by whoever uses it.
pub(super) struct Driven<F> {
    /// `None`: it has ended.
    future: Option<Pin<Box<F>>>,
    relay: Arc<Relay>,
    waker: Waker,
}

/// Passes wakes on to the task that polled last, but not those that come while it is at it.
#[derive(Debug)]
struct Relay {
    at_it: AtomicBool,
    /// Somebody asked to be polled again meanwhile.
    again: AtomicBool,
    task: Mutex<Waker>,
}

impl<F: Future> Driven<F> {
    pub(super) fn new(future: F) -> Driven<F> {
        let (at_it, again) = (AtomicBool::new(false), AtomicBool::new(false));
        let relay = Arc::new(Relay { at_it, again, task: Mutex::new(Waker::noop().clone()) });
        Driven { future: Some(Box::pin(future)), waker: Waker::from(relay.clone()), relay }
    }

    /// Polls the future and then `use_it`, once each. If that leaves one of them with something for the other, the task
    /// is woken to go on.
    pub(super) fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut use_it: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.relay.enter(cx.waker());
        let mut inner = Context::from_waker(&self.waker);
        if let Some(future) = &mut self.future
            && future.as_mut().poll(&mut inner).is_ready()
        {
            self.future = None;
        }
        let polled = use_it(&mut inner);
        self.relay.leave();
        if polled.is_pending() && self.relay.again.load(Ordering::SeqCst) {
            // After the other tasks have had their turn.
            cx.waker().wake_by_ref();
        }
        polled
    }
}

impl<F> Driven<F> {
    /// Does something for which the future wants to be woken, and after which it is polled anyway or never.
    pub(super) fn quietly<T>(&self, act: impl FnOnce() -> T) -> T {
        self.relay.at_it.store(true, Ordering::SeqCst);
        let done = act();
        self.relay.leave();
        done
    }
}

/// Others have their turn, and what has come for them meanwhile; then this goes on.
pub(super) fn rest<T>(cx: &mut Context<'_>) -> Poll<T> {
    // The runtime keeps the waker, not the future.
    let _ = pin!(yield_now()).poll(cx);
    Poll::Pending
}

impl Relay {
    fn enter(&self, task: &Waker) {
        self.task().clone_from(task);
        self.again.store(false, Ordering::SeqCst);
        self.at_it.store(true, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.at_it.store(false, Ordering::SeqCst);
    }

    fn task(&self) -> MutexGuard<'_, Waker> {
        // A waker is whole at every moment, whoever panicked beside it.
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Relay>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Relay>) {
        if self.at_it.load(Ordering::SeqCst) {
            self.again.store(true, Ordering::SeqCst);
            // It may have been done before it could see this, if it is on another thread.
            if self.at_it.load(Ordering::SeqCst) {
                return;
            }
        }
        self.task().wake_by_ref();
    }
}

impl<F> fmt::Debug for Driven<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driven").field("ended", &self.future.is_none()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[derive(Default)]
    struct Counted(AtomicU32);

    impl Wake for Counted {
        fn wake(self: Arc<Counted>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn wakes_between_the_two_stay_inside_and_those_from_outside_reach_the_last_task() {
        let (inner, mut asks) = (Arc::new(Mutex::new(None::<Waker>)), false);
        let kept = inner.clone();
        let mut driven = Driven::new(std::future::poll_fn(move |cx| {
            *kept.lock().unwrap() = Some(cx.waker().clone());
            Poll::<()>::Pending
        }));
        let wake = || inner.lock().unwrap().as_ref().unwrap().wake_by_ref();
        let tasks = [Arc::new(Counted::default()), Arc::new(Counted::default())];
        let count = |task: usize| tasks[task].0.load(Ordering::Relaxed);
        let wakers = [0, 1].map(|task: usize| Waker::from(tasks[task].clone()));

        let cx = &mut Context::from_waker(&wakers[0]);
        assert_eq!(
            driven.poll_with(cx, |_| {
                wake();
                Poll::Ready(1)
            }),
            Poll::Ready(1)
        );
        assert_eq!(count(0), 0, "what it waited for is there");
        assert!(
            driven
                .poll_with(cx, |_| {
                    asks = true;
                    wake();
                    Poll::<()>::Pending
                })
                .is_pending()
        );
        assert_eq!((asks, count(0)), (true, 1), "it wants to go on, and may");
        driven.quietly(wake);
        assert_eq!(count(0), 1);
        wake();
        assert_eq!(count(0), 2, "from outside");

        let cx = &mut Context::from_waker(&wakers[1]);
        assert!(driven.poll_with(cx, |_| Poll::<()>::Pending).is_pending());
        wake();
        assert_eq!((count(0), count(1)), (2, 1), "the last who polled is who uses it");
    }
}
