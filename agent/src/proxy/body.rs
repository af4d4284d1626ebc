//! Bodies on their way: counted, never held.

use super::headers;
use super::pool::Pool;
use super::turn::{TURN, rest};
use super::upstream::Upstream;
use crate::model::traffic::{Traffic, Way};
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A request's body as it goes to an app.
#[derive(Debug, Default)]
pub(super) enum ToApp {
    #[default]
    Nothing,
    Some(Incoming, Arc<Traffic>),
}

impl ToApp {
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, ToApp::Nothing)
    }
}

impl Body for ToApp {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let ToApp::Some(incoming, traffic) = self.get_mut() else { return Poll::Ready(None) };
        Pin::new(incoming).poll_frame(cx).map_ok(|frame| match frame.into_trailers() {
            Ok(mut trailers) => {
                headers::trailers_to_app(&mut trailers);
                Frame::trailers(trailers)
            }
            Err(frame) => {
                traffic.passed(Way::ToApp, frame.data_ref().map_or(0, |data| data.len() as u64));
                frame
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ToApp::Nothing => true,
            ToApp::Some(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ToApp::Nothing => SizeHint::with_exact(0),
            ToApp::Some(incoming, _) => incoming.size_hint(),
        }
    }
}

/// An app's answer on its way, with the connection that it comes over: whoever reads the answer drives it.
#[derive(Debug)]
pub(super) struct AppBody {
    /// Until it is dropped.
    upstream: Option<Box<Upstream>>,
    /// Where the connection goes once the answer has been read; `None`: nowhere.
    home: Option<Arc<Pool>>,
    traffic: Arc<Traffic>,
    passed: u64,
    /// Since others had their turn, in bytes.
    turn: usize,
    /// Told only after what came before it has gone out.
    failed: Option<io::Error>,
}

impl AppBody {
    pub(super) fn new(upstream: Box<Upstream>, home: Option<Arc<Pool>>, traffic: Arc<Traffic>) -> AppBody {
        AppBody { upstream: Some(upstream), home, traffic, passed: 0, turn: 0, failed: None }
    }
}

impl Body for AppBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if let Some(error) = this.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if this.turn >= TURN {
            this.turn = 0;
            return rest(cx);
        }
        let Some(upstream) = &mut this.upstream else { return Poll::Ready(None) };
        let polled = upstream.poll_frame(cx);
        match polled {
            Poll::Ready(Some(Err(error))) => {
                this.home = None;
                this.failed = Some(error);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Some(Ok(ref frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                this.passed += length as u64;
                this.turn += length;
            }
            Poll::Ready(None) => {}
            Poll::Pending => this.turn = 0,
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.upstream.as_ref().is_none_or(|upstream| upstream.is_read())
    }

    fn size_hint(&self) -> SizeHint {
        self.upstream.as_ref().map_or_else(SizeHint::default, |upstream| upstream.size_hint())
    }
}

impl Drop for AppBody {
    fn drop(&mut self) {
        self.traffic.passed(Way::ToClient, self.passed);
        if let (Some(upstream), Some(pool)) = (self.upstream.take(), self.home.take()) {
            pool.give(upstream);
        }
    }
}
