//! What passes the front door, counted: per app, and by whether a person's or a client's work caused it.
//!
//! The front door writes the counters with relaxed atomics, and nothing on its path allocates or locks for them. The
//! hall looks whether there was work before it decides anything, and `/metrics` prints all of them. Which requests and
//! messages are work is data of each app's definition ([`Rules`]).

mod closes;

pub use closes::{Close, Ends, NO_CLOSE, NO_CODE, Side};

use closes::Closes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a request or a message says about whether anybody works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Only a person's act or a client's work causes it: a saved file, a key, a cell that is run.
    Work,
    /// An open page causes it by itself: polling, a heartbeat, a ping, the parts of a page.
    Quiet,
}

/// How an app's traffic is told apart. Part of the app's definition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// The first that fits decides. What none names is `Quiet`, unless a person's click or address line led to it.
    pub requests: &'static [Rule],
    /// The first that fits says how the messages of a WebSocket are told apart; those of others are `Quiet`.
    pub sockets: &'static [Socket],
}

/// Requests of some methods below some path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Empty: every method.
    pub methods: &'static [&'static str],
    pub path: Pattern,
    pub class: Class,
}

/// WebSockets at some path, whose client sends messages of some kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Socket {
    pub path: Pattern,
    pub speech: Speech,
}

/// A path below the app's base path, without a slash in front: segments, of which `*` is any one, and `**` at the end
/// is any number, also none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pattern(pub &'static str);

/// How a client's messages are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// Jupyter's kernel channels, in either form of its protocol.
    JupyterKernel,
    /// Jupyter's terminals: a JSON list that begins with `"stdin"` is a person's typing.
    JupyterTerminal,
    /// The connections of VS Code's servers.
    VsCode,
    /// Anything: a message that does not look like a heartbeat counts.
    Any,
}

/// The counters of one app. All but the gauge only rise.
#[derive(Debug, Default)]
pub struct Traffic {
    requests: [AtomicU64; 2],
    /// Messages of clients over WebSockets.
    messages: [AtomicU64; 2],
    /// By the hundreds of the status, 1xx to 5xx.
    statuses: [AtomicU64; 5],
    /// Answers by how long the app took to begin them: below each of [`BOUNDS`], and all others.
    latencies: [AtomicU64; BOUNDS.len() + 1],
    latency_us: AtomicU64,
    bytes: [AtomicU64; 2],
    tunnels: AtomicU64,
    tunnels_ever: AtomicU64,
    closes: Closes,
}

/// Upper bounds of the latency counters, in microseconds.
pub const BOUNDS: [u64; 8] = [1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000];

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToApp,
    ToClient,
}

/// Under this name all ports of the user are counted together. No app can have it.
pub const PORTS: &str = "proxy/";

/// One look at the counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    pub requests_work: u64,
    pub requests_quiet: u64,
    pub messages_work: u64,
    pub messages_quiet: u64,
    pub statuses: [u64; 5],
    /// Not cumulative: how many fell between the bound before and this one.
    pub latencies: [u64; BOUNDS.len() + 1],
    /// The sum of all latencies, in microseconds.
    pub latency_us: u64,
    pub bytes_to_app: u64,
    pub bytes_to_client: u64,
    /// WebSockets that are open now.
    pub tunnels: u64,
    pub tunnels_ever: u64,
    /// How WebSockets ended.
    pub ends: Ends,
}

/// Two are the same only if they are one: a table that points to other counters is another table.
impl PartialEq for Traffic {
    fn eq(&self, other: &Traffic) -> bool {
        std::ptr::eq(self, other)
    }
}

/// The counters of all apps of this agent, by the app's name. An app that is started again keeps its own.
#[derive(Debug, Default)]
pub struct Meters(Mutex<BTreeMap<String, Arc<Traffic>>>);

impl Meters {
    /// Made at the first call for this app. Locks: for the hall and `/metrics`, not for the path of a request.
    pub fn of(&self, app: &str) -> Arc<Traffic> {
        let mut meters = self.meters();
        if let Some(traffic) = meters.get(app) {
            return traffic.clone();
        }
        meters.entry(app.to_owned()).or_default().clone()
    }

    pub fn samples(&self) -> Vec<(String, Sample)> {
        self.meters().iter().map(|(app, traffic)| (app.clone(), traffic.sample())).collect()
    }

    /// Each app with its [`Traffic::work`], for a look that copies nothing.
    pub fn each_work(&self, mut look: impl FnMut(&str, u64)) {
        self.meters().iter().for_each(|(app, traffic)| look(app, traffic.work()));
    }

    fn meters(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Traffic>>> {
        // A map of counters is whole at every moment, whoever panicked beside it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clients' connections to the front door.
#[derive(Debug, Default)]
pub struct Connections {
    open: AtomicU64,
    ever: AtomicU64,
}

/// A connection that is counted as open until this is dropped.
#[derive(Debug)]
pub struct Open(Arc<Connections>);

impl Connections {
    pub fn opened(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.ever.fetch_add(1, Ordering::Relaxed);
        Open(self.clone())
    }

    /// Now, and ever.
    pub fn sample(&self) -> (u64, u64) {
        (self.open.load(Ordering::Relaxed), self.ever.load(Ordering::Relaxed))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Traffic {
    pub fn request(&self, class: Class) {
        self.requests[class as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn message(&self, class: Class) {
        self.messages[class as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// An answer has begun, `after` the request was passed on.
    pub fn answered(&self, status: u16, after: Duration) {
        let hundreds = usize::from(status / 100).clamp(1, 5) - 1;
        self.statuses[hundreds].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let slot = BOUNDS.iter().position(|bound| micros < *bound).unwrap_or(BOUNDS.len());
        self.latencies[slot].fetch_add(1, Ordering::Relaxed);
        self.latency_us.fetch_add(micros, Ordering::Relaxed);
    }

    pub fn passed(&self, way: Way, bytes: u64) {
        self.bytes[way as usize].fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn tunnel_opened(&self) {
        self.tunnels.fetch_add(1, Ordering::Relaxed);
        self.tunnels_ever.fetch_add(1, Ordering::Relaxed);
    }

    /// Once for each [`tunnel_opened`](Traffic::tunnel_opened).
    pub fn tunnel_closed(&self, close: Close) {
        self.tunnels.fetch_sub(1, Ordering::Relaxed);
        self.closes.count(close);
    }

    /// How many requests and messages were [`Class::Work`].
    pub fn work(&self) -> u64 {
        let work = |by_class: &[AtomicU64; 2]| by_class[Class::Work as usize].load(Ordering::Relaxed);
        work(&self.requests) + work(&self.messages)
    }

    /// Each counter by itself is exact; together they may be a request apart.
    pub fn sample(&self) -> Sample {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Sample {
            requests_work: read(&self.requests[Class::Work as usize]),
            requests_quiet: read(&self.requests[Class::Quiet as usize]),
            messages_work: read(&self.messages[Class::Work as usize]),
            messages_quiet: read(&self.messages[Class::Quiet as usize]),
            statuses: self.statuses.each_ref().map(read),
            latencies: self.latencies.each_ref().map(read),
            latency_us: read(&self.latency_us),
            bytes_to_app: read(&self.bytes[Way::ToApp as usize]),
            bytes_to_client: read(&self.bytes[Way::ToClient as usize]),
            tunnels: read(&self.tunnels),
            tunnels_ever: read(&self.tunnels_ever),
            ends: self.closes.sample(),
        }
    }
}

impl Rules {
    /// For an app of which nothing is known.
    pub const UNKNOWN: Rules = Rules {
        requests: &[Rule { methods: &["POST", "PUT", "PATCH", "DELETE"], path: Pattern("**"), class: Class::Work }],
        sockets: &[Socket { path: Pattern("**"), speech: Speech::Any }],
    };

    /// `rest` is the path below the app's base path, without a slash in front and without the query. `navigates`: the
    /// browser says that a person's act leads to this page (`Sec-Fetch-User: ?1`).
    pub fn request(&self, method: &str, rest: &str, navigates: bool) -> Class {
        let fits = |rule: &&Rule| (rule.methods.is_empty() || rule.methods.contains(&method)) && rule.path.fits(rest);
        match self.requests.iter().find(fits) {
            Some(rule) => rule.class,
            None if navigates => Class::Work,
            None => Class::Quiet,
        }
    }

    /// How the messages of a WebSocket at `rest` are read; `None`: they need not be, all are `Quiet`.
    pub fn socket(&self, rest: &str) -> Option<Speech> {
        self.sockets.iter().find(|socket| socket.path.fits(rest)).map(|socket| socket.speech)
    }
}

impl Pattern {
    fn fits(self, rest: &str) -> bool {
        let (mut wanted, mut found) = (self.0.split('/'), rest.split('/'));
        loop {
            match (wanted.next(), found.next()) {
                (Some("**"), _) | (None, None) => return true,
                (Some("*"), Some(segment)) if !segment.is_empty() => {}
                (Some(name), Some(segment)) if name == segment => {}
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_whole_segments() {
        for (pattern, rest, fits) in [
            ("api/contents/**", "api/contents", true),
            ("api/contents/**", "api/contents/", true),
            ("api/contents/**", "api/contents/a/b", true),
            ("api/contents/**", "api/contentsx", false),
            ("api/kernels/*/channels", "api/kernels/1-2/channels", true),
            ("api/kernels/*/channels", "api/kernels//channels", false),
            ("api/kernels/*/channels", "api/kernels/1/channels/x", false),
            ("**", "", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(Pattern(pattern).fits(rest), fits, "{pattern} {rest}");
        }
    }

    #[test]
    fn the_first_rule_decides_and_a_persons_navigation_counts_where_none_does() {
        const RULES: Rules = Rules {
            requests: &[
                Rule { methods: &[], path: Pattern("api/status"), class: Class::Quiet },
                Rule { methods: &["PUT"], path: Pattern("api/**"), class: Class::Work },
            ],
            sockets: &[Socket { path: Pattern("terminals/*"), speech: Speech::JupyterTerminal }],
        };
        assert_eq!(RULES.request("PUT", "api/status", true), Class::Quiet);
        assert_eq!(RULES.request("PUT", "api/contents/a", false), Class::Work);
        assert_eq!(RULES.request("GET", "api/contents/a", false), Class::Quiet);
        assert_eq!(RULES.request("GET", "lab", true), Class::Work);
        assert_eq!(RULES.socket("terminals/1"), Some(Speech::JupyterTerminal));
        assert_eq!(RULES.socket("events"), None);
    }

    #[test]
    fn what_is_counted_is_found_in_the_sample() {
        let traffic = Traffic::default();
        traffic.request(Class::Work);
        traffic.message(Class::Quiet);
        traffic.answered(204, Duration::from_millis(3));
        traffic.answered(599, Duration::from_secs(60));
        traffic.passed(Way::ToClient, 7);
        traffic.tunnel_opened();
        traffic.tunnel_opened();
        traffic.tunnel_closed(Close { by: Side::App, code: 1000 });
        let sample = traffic.sample();
        assert_eq!((sample.requests_work, sample.requests_quiet), (1, 0));
        assert_eq!((sample.messages_work, sample.messages_quiet), (0, 1));
        assert_eq!(sample.statuses, [0, 1, 0, 0, 1]);
        assert_eq!((sample.latencies[1], sample.latencies[BOUNDS.len()]), (1, 1));
        assert_eq!((sample.bytes_to_app, sample.bytes_to_client), (0, 7));
        assert_eq!((sample.tunnels, sample.tunnels_ever), (1, 2));
        assert_eq!(sample.ends.counts().collect::<Vec<_>>(), [(Side::App, "1000", 1)]);
    }
}
