//! Where a path leads: a pure function of the door's table.
//!
//! Paths are compared as the bytes that came: nothing is decoded, so what leads to an app here can't mean the agent's
//! own page there, and the app sees what the client sent.

use super::ports::{self, PortPath};
use crate::model::route::{Door, Opens, Route};

/// Where a request's path leads.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Destination<'a> {
    /// One of the agent's own pages.
    Own(Own),
    App(&'a Route),
    /// Whatever the user runs on a port.
    Port(PortPath),
    /// Below `proxy/` or `ports/`, but no port that can be reached.
    NoPort,
    /// The same place, properly spelt: a path (without the query), to which the query is added.
    Moved(String),
    Unknown,
}

/// The agent's own pages, below the door's base path and every app's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    /// `_space/`: the space's page.
    Page,
    Live,
    Ready,
    /// `api/idle`
    Idle,
    SignIn,
    SignOut,
    Events,
    Keep,
    /// Out of recovery or parked mode.
    Start,
    /// The console of recovery mode.
    Rescue,
    /// `open?path=…`: where the first app shows a file.
    Open,
}

impl Own {
    /// Answers anybody, with a word at most (the sign-in page: with a form).
    pub(super) fn is_public(self) -> bool {
        matches!(self, Own::Live | Own::Ready | Own::Idle | Own::SignIn)
    }

    fn named(rest: &str) -> Option<Own> {
        Some(match rest {
            "_space/" => Own::Page,
            "_space/livez" => Own::Live,
            "_space/readyz" => Own::Ready,
            "api/idle" => Own::Idle,
            "_space/sign-in" => Own::SignIn,
            "_space/sign-out" => Own::SignOut,
            "_space/events" => Own::Events,
            "_space/keep" => Own::Keep,
            "_space/start" => Own::Start,
            "_space/rescue" => Own::Rescue,
            "_space/open" => Own::Open,
            _ => return None,
        })
    }
}

/// `path` begins with `/` and has no query.
pub(super) fn lead<'a>(door: &'a Door, path: &str) -> Destination<'a> {
    if let Some(own) = bases(door).find_map(|base| path.strip_prefix(base).and_then(Own::named)) {
        return Destination::Own(own);
    }
    if bases(door)
        .any(|base| path.strip_prefix(base).is_some_and(|rest| rest == "_space" || rest.starts_with("_space/")))
    {
        return match path.strip_suffix("_space") {
            Some(base) => Destination::Moved(format!("{base}_space/")),
            None => Destination::Unknown,
        };
    }
    if let Some(port) = bases(door).find_map(|base| ports::lead(base, path)) {
        return port;
    }
    if let Some(route) = owner(door, path) {
        return Destination::App(route);
    }
    if path == "/" || path == door.base_path {
        return Destination::Moved(first_page(door));
    }
    match bases(door).find(|base| base.strip_suffix('/') == Some(path)) {
        Some(base) => Destination::Moved(base.to_owned()),
        None => in_its_case(door, path).map_or(Destination::Unknown, Destination::Moved),
    }
}

/// `/CodeEditor/default/x` is `/codeeditor/default/x`: people type such paths, and platforms spell them either way.
fn in_its_case(door: &Door, path: &str) -> Option<String> {
    let spelt = |base: &str| path.get(..base.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(base));
    bases(door).find_map(|base| match base.trim_end_matches('/') {
        "" => None,
        _ if spelt(base) => Some(format!("{base}{}", &path[base.len()..])),
        bare if path.eq_ignore_ascii_case(bare) => Some(base.to_owned()),
        _ => None,
    })
}

/// The page of the first app that can show the file or folder at `path`: absolute, below `home`, or relative to it.
pub(super) fn opened(door: &Door, home: &str, path: &str) -> Option<String> {
    let below = match path.strip_prefix('/') {
        None => path,
        Some(_) => path.strip_prefix(home.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'))?,
    };
    let plain = below.len() <= 4096 && !below.contains('\0') && !below.split('/').any(|part| part == "..");
    let route = door.routes.iter().find(|route| route.opens != Opens::Nothing).filter(|_| plain)?;
    Some(match route.opens {
        Opens::Folder => {
            let folder = below.rsplit_once('/').map_or("", |(folder, _)| folder);
            let whole = format!("{}/{folder}", home.trim_end_matches('/'));
            format!("{}?folder={}", route.base_path, encoded(whole.trim_end_matches('/')))
        }
        _ => format!("{}lab/tree/{}", route.base_path, encoded(below)),
    })
}

/// A path within a path or a query: what no server reads as anything else stays, the rest in percent signs.
fn encoded(path: &str) -> String {
    let mut coded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => coded.push(byte.into()),
            _ => coded.push_str(&format!("%{byte:02X}")),
        }
    }
    coded
}

/// Where a browser goes that wants nothing in particular.
pub(super) fn first_page(door: &Door) -> String {
    door.routes.first().map_or_else(|| format!("{}_space/", door.base_path), |route| route.base_path.clone())
}

/// The app with the longest base path that `path` is below.
fn owner<'a>(door: &'a Door, path: &str) -> Option<&'a Route> {
    door.routes.iter().filter(|route| path.starts_with(&route.base_path)).max_by_key(|route| route.base_path.len())
}

fn bases(door: &Door) -> impl Iterator<Item = &str> {
    std::iter::once(door.base_path.as_str()).chain(door.routes.iter().map(|route| route.base_path.as_str()))
}

/// What the app is asked for: the path and query as they came, without the base path where the app wants that.
pub(super) fn upstream_target(route: &Route, path_and_query: &str) -> String {
    match path_and_query.strip_prefix(&route.base_path) {
        Some(rest) if route.strip_base_path => format!("/{rest}"),
        _ => path_and_query.to_owned(),
    }
}

/// `to`, if a browser that is sent there stays on this door: a path below its base path, in visible ASCII, that no
/// browser reads as another host (`//evil`, `/\evil`).
pub(super) fn landing<'a>(door: &Door, to: &'a str) -> Option<&'a str> {
    let plain = to.len() <= 2048 && to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    (plain && to.starts_with(&door.base_path) && to.starts_with('/') && !to.starts_with("//")).then_some(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::tests::{door, route};

    fn check(door: &Door, table: &[(&str, &str)]) {
        for (path, expected) in table {
            let found = match lead(door, path) {
                Destination::Own(own) => format!("own {own:?}"),
                Destination::App(route) => format!("app {}", route.app),
                Destination::Port(port) => format!("port {} at {}", port.port, port.prefix),
                Destination::NoPort => "no port".to_owned(),
                Destination::Moved(to) => format!("-> {to}"),
                Destination::Unknown => "unknown".to_owned(),
            };
            assert_eq!(found, *expected, "{path}");
        }
    }

    #[test]
    fn paths_lead_to_apps_and_to_the_agents_own_pages() {
        check(
            &door(),
            &[
                ("/", "-> /jupyterlab/default/"),
                ("/jupyterlab/default", "-> /jupyterlab/default/"),
                ("/jupyterlab/default/", "app default"),
                ("/jupyterlab/default/lab/tree/a%2Fb", "app default"),
                ("/jupyterlab/default/api/idle", "own Idle"),
                ("/jupyterlab/default/_space/livez", "own Live"),
                ("/jupyterlab/default/_space", "-> /jupyterlab/default/_space/"),
                ("/jupyterlab/default/_space/unheard-of", "unknown"),
                ("/jupyterlab/defaults", "unknown"),
                ("/jupyterlab/", "unknown"),
                ("/dashboard/x", "app dashboard"),
                ("/dashboard", "-> /dashboard/"),
                ("/api/idle", "own Idle"),
                ("/api/idle/", "unknown"),
                ("/_space", "-> /_space/"),
                ("/_space/", "own Page"),
                ("/_space/readyz", "own Ready"),
                ("/_space/sign-in", "own SignIn"),
                ("/_space/sign-out", "own SignOut"),
                ("/_space/events", "own Events"),
                ("/_space/keep", "own Keep"),
                ("/_space/keep/", "unknown"),
                ("/%5fspace/", "unknown"),
                ("//jupyterlab/default/", "unknown"),
                ("/favicon.ico", "unknown"),
            ],
        );
    }

    #[test]
    fn an_app_that_owns_the_root_gets_everything_else() {
        let mut door = door();
        door.routes = vec![route("all", "/"), route("one", "/one/")];
        check(
            &door,
            &[
                ("/", "app all"),
                ("/favicon.ico", "app all"),
                ("/one/x", "app one"),
                ("/one", "app all"),
                ("/_space/", "own Page"),
                ("/_space/x", "unknown"),
                ("/one/api/idle", "own Idle"),
                ("/two/api/idle", "app all"),
            ],
        );
    }

    #[test]
    fn a_base_path_prefixes_everything() {
        let mut door = door();
        door.base_path = "/user/alice/".into();
        door.routes = vec![route("default", "/user/alice/"), route("dashboard", "/user/alice/dashboard/")];
        check(
            &door,
            &[
                ("/", "-> /user/alice/"),
                ("/user/alice", "-> /user/alice/"),
                ("/user/alice/lab", "app default"),
                ("/user/alice/dashboard/", "app dashboard"),
                ("/user/alice/api/idle", "own Idle"),
                ("/user/alice/dashboard/_space/livez", "own Live"),
                ("/_space/livez", "unknown"),
                ("/user/bob/", "unknown"),
            ],
        );
    }

    #[test]
    fn ports_are_reached_below_every_base_path() {
        let path = Door { base_path: "/user/alice/".into(), ..door() };
        let mut below = path.clone();
        below.routes = vec![route("default", "/user/alice/"), route("dashboard", "/user/alice/dashboard/")];
        check(
            &below,
            &[
                ("/user/alice/proxy/8501/", "port 8501 at /user/alice/proxy/8501/"),
                ("/user/alice/dashboard/proxy/8501/a/b", "port 8501 at /user/alice/dashboard/proxy/8501/"),
                ("/user/alice/ports/8501/a", "port 8501 at /user/alice/ports/8501/"),
                ("/user/alice/proxy/absolute/8501/a", "port 8501 at /user/alice/proxy/absolute/8501/"),
                ("/user/alice/proxy/8501", "-> /user/alice/proxy/8501/"),
                ("/user/alice/proxy/absolute/8501", "-> /user/alice/proxy/absolute/8501/"),
                ("/user/alice/ports/absolute/8501/", "no port"),
                ("/user/alice/proxy/", "no port"),
                ("/user/alice/proxy", "app default"),
                ("/user/alice/x/proxy/8501/", "app default"),
                ("/user/alice/_space/proxy/8501/", "unknown"),
                ("/proxy/8501/", "unknown"),
            ],
        );
        check(
            &door(),
            &[
                ("/proxy/8501/x", "port 8501 at /proxy/8501/"),
                ("/JupyterLab/Default/proxy/8501/x", "-> /jupyterlab/default/proxy/8501/x"),
            ],
        );
    }

    #[test]
    fn a_base_path_in_another_case_is_put_right() {
        check(
            &door(),
            &[
                ("/JupyterLab/default/lab", "-> /jupyterlab/default/lab"),
                ("/JUPYTERLAB/DEFAULT", "-> /jupyterlab/default/"),
                ("/JupyterLab/default//evil", "-> /jupyterlab/default//evil"),
                ("/JupyterLab/defaul\u{e9}", "unknown"),
                ("/jupyterlab/Other/", "unknown"),
                ("/Dashboard/", "-> /dashboard/"),
            ],
        );
    }

    #[test]
    fn a_file_is_opened_by_the_first_app_that_shows_files() {
        let mut door = door();
        door.routes.swap(0, 1);
        assert_eq!(opened(&door, "/home/alice", "a.ipynb"), None);
        door.routes[1].opens = Opens::Lab;
        for (path, expected) in [
            ("a.ipynb", "/jupyterlab/default/lab/tree/a.ipynb"),
            ("", "/jupyterlab/default/lab/tree/"),
            ("/home/alice/b/c d#?.py", "/jupyterlab/default/lab/tree/b/c%20d%23%3F.py"),
            ("\u{e9}%2f\r\n\\evil", "/jupyterlab/default/lab/tree/%C3%A9%252f%0D%0A%5Cevil"),
            ("@evil", "/jupyterlab/default/lab/tree/%40evil"),
            ("https:evil", "/jupyterlab/default/lab/tree/https%3Aevil"),
        ] {
            assert_eq!(opened(&door, "/home/alice/", path).as_deref(), Some(expected));
            assert!(landing(&door, expected).is_some());
        }
        for bad in ["/etc/passwd", "//evil", "/home/alicea/x", "../x", "a/../../b", "/home/alice/../b", "a\0b"] {
            assert_eq!(opened(&door, "/home/alice", bad), None, "{bad}");
        }
        door.routes[0].opens = Opens::Folder;
        assert_eq!(opened(&door, "/home/alice", "a/b.py").as_deref(), Some("/dashboard/?folder=/home/alice/a"));
        assert_eq!(opened(&door, "/home/alice", "b.py").as_deref(), Some("/dashboard/?folder=/home/alice"));
    }

    #[test]
    fn without_apps_the_door_shows_the_spaces_page() {
        let mut door = door();
        door.routes.clear();
        check(&door, &[("/", "-> /_space/"), ("/_space/", "own Page"), ("/x", "unknown")]);
    }

    #[test]
    fn only_a_path_of_this_door_is_a_landing() {
        let door = door();
        for good in ["/", "/jupyterlab/default/lab?a=b&c", "/x%5cevil", "/a//b", "/@evil"] {
            assert_eq!(landing(&door, good), Some(good));
        }
        for bad in [
            "",
            "x",
            "//evil",
            "//evil.example/x",
            "/\\evil",
            "\\\\evil",
            "/x\\y",
            "https:evil",
            "https://evil",
            "///",
            "javascript:alert(1)",
            "/\t/evil",
            "/\r\nSet-Cookie: a=b",
            "/\u{e9}",
            " /",
            "/a b",
            "\u{0}/",
        ] {
            assert_eq!(landing(&door, bad), None, "{bad:?}");
        }
        let base = Door { base_path: "/user/alice/".into(), ..door };
        assert_eq!(landing(&base, "/user/bob/"), None);
        assert_eq!(landing(&base, "/user/alice/x"), Some("/user/alice/x"));
    }

    #[test]
    fn an_app_sees_the_bytes_that_came() {
        let mut route = route("dashboard", "/dashboard/");
        let target = "/dashboard/a%2Fb//c?x=%20&y=/dashboard/?z";
        assert_eq!(upstream_target(&route, target), target);
        route.strip_base_path = true;
        assert_eq!(upstream_target(&route, target), "/a%2Fb//c?x=%20&y=/dashboard/?z");
    }
}
