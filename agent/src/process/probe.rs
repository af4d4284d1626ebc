//! Is the app there? One GET, again and again, until it answers below the limit; then from time to time whether it still
//! does.

use crate::model::route::Upstream;
use crate::sys::http::{Connection, Error};
use std::time::Duration;
use tracing::warn;

const ANSWER: Duration = Duration::from_secs(5);
/// Between two tries: short at first, since people wait for it.
const SOON: Duration = Duration::from_millis(50);
const LATER: Duration = Duration::from_millis(250);
const SOON_TRIES: u32 = 200;

/// What to ask: ready is any answer below `below`, from the app's own user.
#[derive(Debug, Clone)]
pub struct Probe {
    pub upstream: Upstream,
    /// The uid under which the app runs.
    pub uid: u32,
    pub path: String,
    pub below: u16,
}

/// What has changed about an app that was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    NotAnyMore,
    Again,
}

impl Probe {
    /// Returns once the app has answered well; the caller bounds it.
    pub async fn until_ready(&self) {
        let (mut tries, mut warned) = (0, false);
        loop {
            match self.ask().await {
                Ok(code) if code < self.below => return,
                Err(error @ Error::Stranger { .. }) if !warned => {
                    warned = true;
                    warn!(upstream = ?self.upstream, "the app {error}; end that program, or let the app listen elsewhere");
                }
                _ => {}
            }
            tries += 1;
            tokio::time::sleep(if tries < SOON_TRIES { SOON } else { LATER }).await;
        }
    }

    async fn ask(&self) -> Result<u16, Error> {
        let connection = Connection::open(&self.upstream, self.uid, ANSWER).await?;
        Ok(connection.status(&self.path).await?.as_u16())
    }
}

/// The looks at an app that was ready.
#[derive(Debug, Clone)]
pub struct Watch {
    pub probe: Probe,
    /// Between two looks.
    pub every: Duration,
    /// Not answering well this often in a row is silence.
    pub failures: u32,
}

impl Watch {
    /// Returns when the app has gone silent, or, if it `was` that, answers again. The caller bounds it.
    pub async fn change(&self, was: Answers) -> Answers {
        let mut missed = 0;
        loop {
            tokio::time::sleep(self.every).await;
            let well = self.probe.ask().await.is_ok_and(|code| code < self.probe.below);
            missed = if well { 0 } else { missed + 1 };
            match was {
                Answers::Again if missed >= self.failures => return Answers::NotAnyMore,
                Answers::NotAnyMore if well => return Answers::Again,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixListener};
    use tokio::time::timeout;

    /// Whoever answers well under another uid is not the app, and is not even asked.
    #[tokio::test]
    async fn only_the_app_s_own_user_makes_it_ready() {
        let socket = std::env::temp_dir().join(format!("space-agent-test-probe-{}", std::process::id()));
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let uid = std::fs::metadata(&socket).unwrap().uid();
        let probe = Probe { upstream: Upstream::Unix(socket.clone()), uid, path: "/healthz".into(), below: 400 };
        let app = async {
            for status in ["503 Service Unavailable", "302 Found"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = vec![0; 1024];
                let length = stream.read(&mut head).await.unwrap();
                assert!(head[..length].starts_with(b"GET /healthz HTTP/1.1\r\n"));
                // No more of the body than its length: it is of no interest.
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 9\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        timeout(Duration::from_secs(30), async { tokio::join!(app, probe.until_ready()) }).await.unwrap();
        let other = Probe { uid: uid + 1, ..probe };
        let asked = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read(&mut [0; 64]).await.unwrap()
        };
        let (asked, refused) = tokio::join!(asked, other.ask());
        assert!(asked == 0 && matches!(refused, Err(Error::Stranger { .. })), "{refused:?}");
        std::fs::remove_file(&socket).unwrap();
    }

    #[tokio::test]
    async fn a_stranger_on_its_port_does_not_make_an_app_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Upstream::Port(listener.local_addr().unwrap().port());
        let (uid, _) = crate::sys::account::own();
        let probe = Probe { upstream, uid: uid + 1, path: "/".into(), below: 500 };
        let asked = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read(&mut [0; 64]).await.unwrap()
        };
        let (asked, refused) = tokio::join!(asked, probe.ask());
        assert!(asked == 0 && matches!(refused, Err(Error::Stranger { .. })), "{refused:?}");
    }
}
