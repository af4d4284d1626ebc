//! Where a path leads: a pure function of the door's table.
//!
//! Paths are compared as the bytes that came: nothing is decoded, so what leads to an app here can't mean the agent's
//! own page there, and the app sees what the client sent.

use crate::model::route::{Door, Route};

/// Where a request's path leads.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Destination<'a> {
    /// One of the agent's own pages.
    Own(Own),
    App(&'a Route),
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
    if let Some(route) = owner(door, path) {
        return Destination::App(route);
    }
    if path == "/" || path == door.base_path {
        return Destination::Moved(first_page(door));
    }
    match bases(door).find(|base| base.strip_suffix('/') == Some(path)) {
        Some(base) => Destination::Moved(base.to_owned()),
        None => Destination::Unknown,
    }
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
