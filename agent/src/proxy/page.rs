//! The agent's two pages: the start page and the sign-in page, each one self-contained document.
//!
//! What is the space's own (names, sentences) goes in as escaped text and attributes; the script puts everything else
//! in as text, never as markup. The policy names script and style by their hashes, so nothing else runs.

use super::answer::{self, Body};
use super::keys::base64;
use crate::model::route::{Door, Route, RouteState};
use crate::model::status::{Mode, Status};
use hyper::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use hyper::{Response, StatusCode};
use ring::digest;
use std::sync::LazyLock;

const STYLE: &str = include_str!("page/page.css");
const START: Template = Template { html: include_str!("page/start.html"), script: include_str!("page/start.js") };
const SIGN_IN: Template = Template { html: include_str!("page/sign-in.html"), script: include_str!("page/sign-in.js") };

static START_POLICY: LazyLock<String> = LazyLock::new(|| policy(START.script));
static SIGN_IN_POLICY: LazyLock<String> = LazyLock::new(|| policy(SIGN_IN.script));

struct Template {
    html: &'static str,
    script: &'static str,
}

/// The start page, which becomes `app` when that is ready; or, without one, the space's page, which stays. In recovery
/// and parked mode the page is what there is to be had: 200, since platforms put pages of their own in the place of 503.
pub(super) fn start(door: &Door, status: &Status, app: Option<&Route>) -> Response<Body> {
    let mode = status.mode.filter(|mode| *mode != Mode::Normal);
    let gone = mode.is_none() && app.is_some_and(|route| route.state == RouteState::Gone);
    let waits = mode.is_none() && app.is_some();
    let html = START.fill(&[
        ("space", &door.space),
        ("base", &door.base_path),
        ("app", app.map_or("", |route| &route.app)),
        ("mode", mode_name(mode)),
        ("sentence", &status.sentence),
        ("reason", status.reason.as_deref().unwrap_or("somebody asked for it")),
        ("warnings", &status.warnings.join("\n")),
        ("user", &status.user),
        ("home", &status.home),
        // Without scripts: look again, as long as something is to come.
        ("again", if waits { "<noscript><meta http-equiv=\"refresh\" content=\"3\"></noscript>" } else { "" }),
    ]);
    respond(if gone { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }, html, &START_POLICY)
}

/// As the status names it.
fn mode_name(mode: Option<Mode>) -> &'static str {
    match mode {
        None | Some(Mode::Normal) => "normal",
        Some(Mode::Recovery) => "recovery",
        Some(Mode::Parked) => "parked",
    }
}

/// Asks for a link; redeems the one in the fragment.
pub(super) fn sign_in(door: &Door, status: StatusCode) -> Response<Body> {
    sign_in_page(door, status, "")
}

/// After a link that was refused.
pub(super) fn sign_in_again(door: &Door, why: &str) -> Response<Body> {
    sign_in_page(door, StatusCode::FORBIDDEN, why)
}

fn sign_in_page(door: &Door, status: StatusCode, why: &str) -> Response<Body> {
    let html = SIGN_IN.fill(&[("space", &door.space), ("base", &door.base_path), ("why", why)]);
    respond(status, html, &SIGN_IN_POLICY)
}

fn respond(status: StatusCode, html: String, policy: &str) -> Response<Body> {
    let response = answer::whole(status, "text/html; charset=utf-8", html);
    let response = answer::with(response, CONTENT_SECURITY_POLICY, policy);
    answer::with(response, REFERRER_POLICY, "no-referrer")
}

impl Template {
    /// One pass over the template, so that a value that looks like a placeholder stays a value.
    fn fill(&self, values: &[(&str, &str)]) -> String {
        let mut page = String::with_capacity(self.html.len() + STYLE.len() + self.script.len() + 512);
        let mut rest = self.html;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").unwrap_or((after, ""));
            page.push_str(before);
            match (name, values.iter().find(|(known, _)| *known == name)) {
                ("style", _) => page.push_str(STYLE),
                ("script", _) => page.push_str(self.script),
                // Ours, not the space's.
                ("again", Some((_, markup))) => page.push_str(markup),
                (_, value) => page.push_str(&escaped(value.map_or("", |(_, value)| value))),
            }
            rest = after;
        }
        page.push_str(rest);
        page
    }
}

/// Safe as text and within a quoted attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(character),
        }
    }
    safe
}

fn policy(script: &str) -> String {
    let hash = |text: &str| base64(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
        hash(script),
        hash(STYLE)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_becomes_markup_or_a_placeholder() {
        let value = "\"><script>alert(1)</script>{{script}}'";
        let html = START.fill(&[("space", value), ("sentence", value), ("base", value), ("app", value)]);
        assert!(!html.contains("<script>alert") && !html.contains("\"><script"));
        assert!(html.contains("&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;{{script}}&#39;"));
        assert_eq!(html.matches("</script>").count(), 1);
    }

    const START_NAMES: &[&str] =
        &["space", "base", "app", "mode", "sentence", "reason", "warnings", "user", "home", "again"];

    #[test]
    fn every_placeholder_of_the_pages_is_filled() {
        for (template, names) in [(START, START_NAMES), (SIGN_IN, &["space", "base", "why"])] {
            let filled = template.fill(&names.iter().map(|name| (*name, "x")).collect::<Vec<_>>());
            assert!(!filled.contains("{{"), "{filled}");
            let mut rest = template.html;
            while let Some((_, after)) = rest.split_once("{{") {
                let (name, after) = after.split_once("}}").unwrap();
                assert!(names.contains(&name) || name == "style" || name == "script", "{name}");
                rest = after;
            }
        }
    }

    #[test]
    fn the_pages_load_nothing_from_elsewhere() {
        for text in [STYLE, START.html, START.script, SIGN_IN.html, SIGN_IN.script] {
            assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("innerHTML"));
        }
    }
}
