//! Is the app there? One GET, again and again, until it answers below the limit.

use crate::model::route::Upstream;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

const ANSWER: Duration = Duration::from_secs(5);
/// Between two tries: short at first, since people wait for it.
const SOON: Duration = Duration::from_millis(50);
const LATER: Duration = Duration::from_millis(250);
const SOON_TRIES: u32 = 200;

/// What to ask: ready is any answer below `below`.
#[derive(Debug, Clone)]
pub struct Probe {
    pub upstream: Upstream,
    pub path: String,
    pub below: u16,
}

impl Probe {
    /// Returns once the app has answered well; the caller bounds it.
    pub async fn until_ready(&self) {
        let mut tries = 0;
        while !tokio::time::timeout(ANSWER, self.ask())
            .await
            .is_ok_and(|answer| answer.is_ok_and(|code| code < self.below))
        {
            tries += 1;
            tokio::time::sleep(if tries < SOON_TRIES { SOON } else { LATER }).await;
        }
    }

    async fn ask(&self) -> io::Result<u16> {
        match &self.upstream {
            Upstream::Unix(path) => self.get(UnixStream::connect(path).await?).await,
            Upstream::Port(port) => self.get(TcpStream::connect(("127.0.0.1", *port)).await?).await,
        }
    }

    async fn get(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<u16> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let request = hyper::Request::get(&self.path).header("host", "localhost").header("connection", "close");
        let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
        let answer = async { sender.send_request(request).await.map(|response| response.status().as_u16()) };
        tokio::pin!(connection, answer);
        // Both are polled until the status is there; the body is of no interest.
        tokio::select! {
            code = &mut answer => code.map_err(io::Error::other),
            ended = &mut connection => match ended {
                Ok(()) => answer.await.map_err(io::Error::other),
                Err(error) => Err(io::Error::other(error)),
            },
        }
    }
}
