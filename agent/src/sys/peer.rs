//! Who holds the other end of a connection over the loopback interface, as `SO_PEERCRED` tells it for unix sockets.
//!
//! TCP has no such question, but the kernel names the owner of every socket of this network namespace. The other
//! end has a row of its own once its program has accepted it; until then it waits in the queue of a listener, which
//! is therefore there, and whose owner it will have. A connection that is looked at after it was made can't be passed to
//! somebody else by ending and beginning to listen.

use super::diag;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Reading the kernel's tables takes tens of milliseconds with many thousands of sockets: only where it can't be asked.
const READ: Duration = Duration::from_secs(2);
const LISTEN: &str = "0A";

/// The uid that holds the other end of a connection which this process has made to an address of this machine. An error
/// if nobody does any more, or if the kernel does not tell.
pub async fn uid(stream: &TcpStream) -> io::Result<u32> {
    let (ours, theirs) = (stream.local_addr()?, stream.peer_addr()?);
    let owner = match asked(ours, theirs) {
        Ok(owner) => owner,
        // Some sandboxes have no sock_diag.
        Err(_) => read(ours, theirs).await?,
    };
    owner.ok_or_else(|| io::Error::new(io::ErrorKind::ConnectionRefused, "nobody holds the other end"))
}

fn asked(ours: SocketAddr, theirs: SocketAddr) -> io::Result<Option<u32>> {
    let known = match diag::find(theirs, ours)? {
        Some(end) if end.listens || end.open => Some(end),
        Some(_) => diag::listener(theirs)?,
        None => None,
    };
    Ok(known.map(|known| known.uid))
}

async fn read(ours: SocketAddr, theirs: SocketAddr) -> io::Result<Option<u32>> {
    let read = spawn_blocking(move || {
        let mut search = Search::new(ours, theirs);
        search.read("/proc/self/net/tcp")?;
        match search.read("/proc/self/net/tcp6") {
            // Without IPv6 there is no such table.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(search.owner()),
        }
    });
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the kernel's table of sockets can not be read");
    timeout(READ, read).await.map_err(late)??
}

/// What has been found about one connection so far.
#[derive(Debug)]
struct Search {
    ours: SocketAddr,
    theirs: SocketAddr,
    /// Who has accepted it.
    accepted: Option<u32>,
    /// Who listens for it, from the nearest address to the widest, as the kernel chooses among them: the address itself,
    /// any IPv4 address, any address.
    listening: [Option<u32>; 3],
}

impl Search {
    fn new(ours: SocketAddr, theirs: SocketAddr) -> Search {
        let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
        Search { ours: plain(ours), theirs: plain(theirs), accepted: None, listening: [None; 3] }
    }

    fn read(&mut self, table: &str) -> io::Result<()> {
        // The first line names the columns.
        for line in BufReader::new(File::open(table)?).lines().skip(1) {
            self.look(&line?);
        }
        Ok(())
    }

    /// One row: `sl local remote state queues timer retransmits uid timeout inode …`.
    fn look(&mut self, row: &str) {
        let mut fields = row.split_ascii_whitespace().skip(1);
        let mut next = || fields.next();
        let (Some(local), Some(remote), Some(state)) = (next(), next(), next()) else { return };
        let Some((local, remote)) = address(local).zip(address(remote)) else { return };
        if local.port() != self.theirs.port() {
            return;
        }
        let uid = fields.nth(3).and_then(|uid| uid.parse().ok());
        let inode = fields.nth(1);
        if state == LISTEN {
            self.listens(local.ip(), uid);
        } else if (local, remote) == (self.theirs, self.ours) && inode != Some("0") {
            // Without an inode nobody has it open: it waits to be accepted, or was closed.
            self.accepted = uid;
        }
    }

    fn listens(&mut self, at: IpAddr, uid: Option<u32>) {
        let near = match at {
            at if at == self.theirs.ip() => 0,
            // Whoever came to an IPv6 address is not in its queue.
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) if self.theirs.is_ipv4() => 1,
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => 2,
            _ => return,
        };
        // Several may share one address only if they are of one user.
        self.listening[near] = uid;
    }

    fn owner(&self) -> Option<u32> {
        self.accepted.or_else(|| self.listening.into_iter().flatten().next())
    }
}

/// `0100007F:1F90`: the address as words in memory's order, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |from: usize| Some(u32::from_str_radix(address.get(from..from + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let mut bytes = [0; 16];
            for (index, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(index * 8)?);
            }
            IpAddr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// As a little-endian machine prints them.
    const LOOPBACK: &str = "0100007F:1F90";
    const ANY: &str = "00000000:1F90";
    const ANY6: &str = "00000000000000000000000000000000:1F90";
    const MAPPED: &str = "0000000000000000FFFF00000100007F:1F90";
    const US: &str = "0100007F:C000";

    fn row(local: &str, remote: &str, state: &str, uid: u32, inode: u32) -> String {
        format!(
            "   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000 {uid:5}        0 {inode} 1 0 100"
        )
    }

    #[cfg(target_endian = "little")]
    fn check(rows: &[String], expected: Option<u32>) {
        let mut search = Search::new("127.0.0.1:49152".parse().unwrap(), "127.0.0.1:8080".parse().unwrap());
        rows.iter().for_each(|row| search.look(row));
        assert_eq!(search.owner(), expected, "{rows:#?}");
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_nearest_listener_is_the_owner_until_somebody_has_accepted() {
        let listener = |local, uid| row(local, ANY, "0A", uid, 7);
        check(&[], None);
        check(&[listener(ANY, 5)], Some(5));
        check(&[listener(ANY, 5), listener(LOOPBACK, 6)], Some(6));
        check(&[listener(LOOPBACK, 6), listener(ANY, 5)], Some(6));
        check(&[listener(ANY6, 5)], Some(5));
        check(&[listener(ANY6, 5), listener(ANY, 6)], Some(6));
        check(&[listener(MAPPED, 6), listener(ANY, 5)], Some(6));
        check(&[listener("0200007F:1F90", 5), listener("0100007F:1F91", 5)], None);
        check(&["nonsense".to_owned(), listener("0100007F", 5), listener("é100007:1F90", 5)], None);
        check(&[listener(ANY, 6), row(LOOPBACK, US, "01", 5, 9)], Some(5));
        check(
            &[listener(ANY6, 6), row(MAPPED, &US.replace("0100", "0000000000000000FFFF00000100"), "01", 5, 9)],
            Some(5),
        );
        // Of an IPv6 address, one that listens for IPv4 only is no owner, whoever it is and whenever it began.
        let mut search = Search::new("[::1]:49152".parse().unwrap(), "[::1]:8080".parse().unwrap());
        search.look(&listener(ANY, 5));
        assert_eq!(search.owner(), None);
        search.look(&listener(ANY6, 6));
        assert_eq!(search.owner(), Some(6));
        // Not accepted yet, or closed again; somebody else's connection; our own end.
        check(&[listener(ANY, 6), row(LOOPBACK, US, "01", 5, 0)], Some(6));
        check(&[listener(ANY, 6), row(LOOPBACK, "0100007F:C001", "01", 5, 9)], Some(6));
        check(&[listener(ANY, 6), row(US, LOOPBACK, "01", 5, 9)], Some(6));
    }

    #[tokio::test]
    async fn the_kernel_tells_who_is_connected() {
        let (own, _) = crate::sys::account::own();
        // An address of this test alone: whoever gets the port next does not listen here.
        const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);
        for at in ["127.0.0.77:0", "0.0.0.0:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(at).await else {
                eprintln!("not run for {at}: this machine has no such address");
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let stream = TcpStream::connect((HERE, port)).await.unwrap();
            let (ours, theirs) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            assert_eq!(uid(&stream).await.unwrap(), own, "{at}, waiting");
            assert_eq!(read(ours, theirs).await.unwrap(), Some(own), "{at}, waiting, by the table");
            let accepted = listener.accept().await.unwrap();
            drop(listener);
            assert_eq!(uid(&stream).await.unwrap(), own, "{at}, accepted");
            assert_eq!(asked(ours, theirs).unwrap(), Some(own), "{at}, accepted, by sock_diag");
            assert_eq!(read(ours, theirs).await.unwrap(), Some(own), "{at}, accepted, by the table");
            drop(accepted);
            // A process that another test begins may hold a copy of it for a moment.
            let closed = async { while uid(&stream).await.is_ok() {} };
            timeout(Duration::from_secs(10), closed).await.unwrap_or_else(|_| panic!("{at}, closed"));
        }
    }

    #[tokio::test]
    async fn a_stranger_on_the_port_is_known_by_its_uid() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        if std::os::unix::fs::fchown(&listener, Some(64_321), None).is_err() {
            eprintln!("not run: only root can give sockets away");
            return;
        }
        assert_eq!(uid(&stream).await.unwrap(), 64_321, "waiting");
        let (accepted, _) = listener.accept().await.unwrap();
        std::os::unix::fs::fchown(&accepted, Some(64_322), None).unwrap();
        assert_eq!(uid(&stream).await.unwrap(), 64_322, "accepted by somebody else");
        assert_eq!(asked(stream.local_addr().unwrap(), stream.peer_addr().unwrap()).unwrap(), Some(64_322));
    }
}
