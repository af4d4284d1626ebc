//! TLS that ends at the front door: the certificate, kept as it is renewed, and the handshake.
//!
//! The files are looked at from time to time rather than watched: renewals come as new files, as links that are turned
//! (Kubernetes), on file systems that tell nothing. A pair is read once it has stopped changing; one that cannot be used
//! changes nothing but what is said of it.

use super::Request;
use super::client::Client;
use crate::model::child::Account;
use crate::sys::files;
use crate::sys::stop::Stop;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tracing::debug;

/// From the connection to the end of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The same, when the door closes meanwhile.
const CLOSING: Duration = Duration::from_secs(1);
/// Between two looks at the files.
const LOOK: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 3000 });
/// What a look, or a read of both files, may take.
const READ: Duration = Duration::from_secs(5);
/// More than any chain.
const LARGEST: u64 = 1 << 20;
/// What a client that speaks plain HTTP gets to take in the answer.
const PLAIN: Duration = Duration::from_secs(1);
/// The first byte of a TLS connection.
const HELLO: u8 = 22;

const SAY_HTTPS: &str = "this port speaks https only: write https:// in front of the address\n";

/// A certificate chain and its private key, in PEM form.
#[derive(Debug, Clone)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Somebody other than the agent's own user, who must not have the key.
    pub not_for: Option<Account>,
}

/// Device, inode, seconds and nanoseconds of the last change, and size of each file that is there.
type Stamp = [Option<(u64, u64, i64, i64, u64)>; 2];

/// Why a pair cannot be used, and what to do.
#[derive(Debug)]
pub enum Error {
    Unreadable {
        path: PathBuf,
        error: io::Error,
    },
    /// There is nothing of its kind in the file.
    Empty {
        path: PathBuf,
        what: &'static str,
    },
    Readable {
        path: PathBuf,
        by: String,
    },
    Unusable {
        cert: PathBuf,
        key: PathBuf,
        why: String,
    },
}

impl Pair {
    /// Reads both files. Blocks.
    pub fn read(&self) -> Result<Arc<ServerConfig>, Error> {
        if let Some(account) = self.not_for.as_ref().filter(|account| files::readable_by(&self.key, account)) {
            return Err(Error::Readable { path: self.key.clone(), by: account.name.clone() });
        }
        let empty = |path: &Path, what| Error::Empty { path: path.to_owned(), what };
        let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&contents(&self.cert)?).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| empty(&self.cert, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&contents(&self.key)?).map_err(|_| empty(&self.key, "private key"))?;
        let unusable = |error: tokio_rustls::rustls::Error| Error::Unusable {
            cert: self.cert.clone(),
            key: self.key.clone(),
            why: error.to_string(),
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(&[&TLS13, &TLS12]).map_err(unusable)?.with_no_client_auth();
        let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// What changes with the files.
    fn stamp(&self) -> Stamp {
        [&self.cert, &self.key].map(|path| {
            let about = fs::metadata(path).ok()?;
            Some((about.dev(), about.ino(), about.mtime(), about.mtime_nsec(), about.size()))
        })
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, Error> {
    files::read_regular(path, LARGEST).map_err(|error| Error::Unreadable { path: path.to_owned(), error })
}

/// What connections are received with.
#[derive(Debug, Clone)]
pub(super) struct Tls(watch::Receiver<Option<Arc<ServerConfig>>>);

impl Tls {
    /// Reads the pair, and returns the future that keeps it: it runs until `stop`, and tells the hall of every change.
    pub(super) async fn begin(
        pair: Pair,
        hall: mpsc::Sender<Request>,
        stop: Stop,
    ) -> (Tls, impl Future<Output = ()> + Send) {
        let pair = Arc::new(pair);
        let (current, seen) = watch::channel(None);
        let mut looks = Looks { pair: pair.clone(), running: None };
        let used = looks.look().await;
        match read(&pair).await {
            Ok(config) => drop(current.send_replace(Some(config))),
            Err(why) => tell(&hall, true, format!("the front door lets nobody in: {why}")),
        }
        (Tls(seen), keep(looks, used, current, hall, stop))
    }

    /// `None`: the client, who `came` then, did not get through the handshake.
    pub(super) async fn accept(&self, stream: TcpStream, came: Instant, mut stop: Stop) -> Option<Client> {
        let closed = async {
            stop.wanted().await;
            sleep_until(came + CLOSING).await;
        };
        let shaken = tokio::select! {
            biased;
            shaken = timeout(HANDSHAKE, self.shake_hands(stream)) => shaken,
            () = closed => return None,
        };
        match shaken {
            Ok(Ok(client)) => Some(client),
            Ok(Err(error)) => {
                debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_) => None,
        }
    }

    async fn shake_hands(&self, stream: TcpStream) -> io::Result<Client> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0] != HELLO {
            say_https(stream).await;
            return Err(io::Error::other("the client speaks no TLS"));
        }
        let config = self.0.borrow().clone().ok_or_else(|| io::Error::other("there is no certificate"))?;
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        Ok(Client::Tls(Box::new(stream)))
    }
}

/// Reads the pair anew whenever it is another than the one that was `used` and has stopped changing.
async fn keep(
    mut looks: Looks,
    mut used: Option<Stamp>,
    current: watch::Sender<Option<Arc<ServerConfig>>>,
    hall: mpsc::Sender<Request>,
    mut stop: Stop,
) {
    let mut last = used;
    loop {
        // Cancel-safe: both only wait.
        tokio::select! {
            () = stop.wanted() => return,
            () = sleep(LOOK) => {}
        }
        let before = std::mem::replace(&mut last, looks.look().await);
        if last.is_none() || last != before || last == used {
            continue;
        }
        used = last;
        match read(&looks.pair).await {
            Ok(config) => {
                current.send_replace(Some(config));
                tell(&hall, false, "the front door has a new certificate".to_owned());
            }
            Err(why) => {
                let kept = "the front door keeps the certificate that it has";
                tell(&hall, true, format!("a new certificate can not be used, so {kept}: {why}"));
            }
        }
    }
}

/// Reads what comes, so that the answer isn't lost with it.
async fn say_https(mut stream: TcpStream) {
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{SAY_HTTPS}",
        SAY_HTTPS.len()
    );
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        let mut scratch = [0; 1024];
        while stream.read(&mut scratch).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    // Whoever is slow or gone has an end too.
    let _ = timeout(PLAIN, told).await;
}

/// Looks at the files from a thread that a disk may hold: then it is waited for, and no second one begins.
struct Looks {
    pair: Arc<Pair>,
    running: Option<JoinHandle<Stamp>>,
}

impl Looks {
    /// `None`: the disk hangs.
    async fn look(&mut self) -> Option<Stamp> {
        let pair = &self.pair;
        let running = self.running.get_or_insert_with(|| {
            let pair = pair.clone();
            spawn_blocking(move || pair.stamp())
        });
        let looked = timeout(READ, running).await.ok()?;
        self.running = None;
        looked.ok()
    }
}

async fn read(pair: &Arc<Pair>) -> Result<Arc<ServerConfig>, String> {
    let pair = pair.clone();
    match timeout(READ, spawn_blocking(move || pair.read())).await {
        Ok(Ok(read)) => read.map_err(|error| error.to_string()),
        Ok(Err(_)) => Err("reading it failed by a mistake of the agent's".to_owned()),
        Err(_) => Err("its files can not be read within 5 s".to_owned()),
    }
}

/// The hall is busy or gone: then the log has it.
fn tell(hall: &mpsc::Sender<Request>, failure: bool, text: String) {
    match failure {
        true => tracing::warn!("{text}"),
        false => tracing::info!("{text}"),
    }
    let _ = hall.try_send(Request::Note { text, failure });
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreadable { path, error } => write!(f, "cannot read {}: {error}", path.display()),
            Error::Empty { path, what } => write!(f, "there is no {what} in PEM form in {}", path.display()),
            Error::Readable { path, by } => write!(
                f,
                "the private key {path} can be read by the space's user {by}, who could then be the space to others: \
                 chown root {path}; chmod 600 {path}",
                path = path.display()
            ),
            Error::Unusable { cert, key, why } => {
                write!(f, "the certificate {} can not be used with the key {}: {why}", cert.display(), key.display())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Unreadable { error, .. } => Some(error),
            _ => None,
        }
    }
}
