//! The forms of single values: durations, names, paths, URLs.
//!
//! Each form is twice here, side by side: as a pattern for the schema and as a check with words. A property test holds
//! the two together.

use crate::duration;
use crate::mistake::quoted;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What is wrong, and the remedy.
pub(crate) type Wrong = (String, String);

pub(crate) mod pattern {
    //! Regular expressions (ECMA 262), each anchored.
    pub(crate) const VERSION: &str = r"^1\.(0|[1-9][0-9]{0,3})$";
    pub(crate) const DURATION: &str = "^(0|[1-9][0-9]{0,7})(ms|[smh])$";
    /// From one second.
    pub(crate) const POSITIVE: &str = "^([1-9][0-9]{0,7}[smh]|[1-9][0-9]{3,7}ms)$";
    /// From one second to ten minutes.
    pub(crate) const DEADLINE: &str =
        "^(([1-9][0-9]{3,4}|[1-5][0-9]{5}|600000)ms|([1-9][0-9]?|[1-5][0-9]{2}|600)s|([1-9]|10)m)$";
    /// From one second to one hour.
    pub(crate) const WITHIN_HOUR: &str = concat!(
        "^(([1-9][0-9]{3,5}|[12][0-9]{6}|3[0-5][0-9]{5}|3600000)ms",
        "|([1-9][0-9]{0,2}|[12][0-9]{3}|3[0-5][0-9]{2}|3600)s|([1-9]|[1-5][0-9]|60)m|1h)$"
    );
    /// From 10 milliseconds to one hour; not anchored, for it stands in another.
    macro_rules! wait {
        () => {
            concat!(
                "(([1-9][0-9]{1,5}|[12][0-9]{6}|3[0-5][0-9]{5}|3600000)ms",
                "|([1-9][0-9]{0,2}|[12][0-9]{3}|3[0-5][0-9]{2}|3600)s|([1-9]|[1-5][0-9]|60)m|1h)"
            )
        };
    }
    pub(crate) const BACKOFF: &str = concat!("^", wait!(), r"(\.\.", wait!(), ")?$");
    pub(crate) const LINE: &str = r"^[^\x00-\x1f\x7f]{1,4096}$";
    pub(crate) const TEXT: &str = r"^[^\x00]*$";
    pub(crate) const SPACE_NAME: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
    pub(crate) const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$";
    pub(crate) const USER: &str = r"^[A-Za-z_][A-Za-z0-9._-]{0,31}$";
    pub(crate) const ABSOLUTE: &str = r"^/[^\x00-\x1f\x7f]{0,4095}$";
    pub(crate) const BELOW_HOME: &str =
        r"^(?![/~])(?!(\./*)+$)(?!(.*/)?\.\.(/|$))(?!(\./+)*\.space-agent(/|$))[^\x00-\x1f\x7f]{1,4096}$";
    pub(crate) const BASE_PATH: &str = r"^/([A-Za-z0-9_~@:!$&+,=%-][A-Za-z0-9._~@:!$&+,=%-]*/)*$";
    pub(crate) const READY: &str = "^/[!-~]*$";
    pub(crate) const GIT_URL: &str = concat!(
        r"^(?!-)(",
        r"(https?|ssh|git)://[^\x00-\x20\x7f/-][^\x00-\x20\x7f]*",
        r"|file:///[^\x00-\x1f\x7f]+",
        r"|([A-Za-z0-9._][A-Za-z0-9._~+-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?!:|//)[^\x00-\x20\x7f]+",
        r"|[^\x00-\x1f\x7f:]+",
        r")$"
    );
    pub(crate) const GIT_REF: &str = r"^(?!-)(?!.*\.\.)[^\x00-\x20\x7f~^:?*\[\\]+$";
    pub(crate) const PACKAGE: &str = r"^(?!-)[^\x00-\x1f\x7f]+$";
    pub(crate) const VARIABLE: &str = "^(?!SPACE_AGENT_)[A-Za-z_][A-Za-z0-9_]*$";
    pub(crate) const LISTEN: &str = concat!(
        r"^(((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])",
        r"|\[[0-9A-Fa-f:.]+\])",
        r":(0|[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$"
    );
    pub(crate) const HOST: &str = r"^([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$";
    pub(crate) const ORIGIN: &str =
        r"^https?://([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$";
}

/// `90s`, `5m`, `2h`, `250ms`.
pub(crate) fn duration(text: &str) -> Result<Duration, Wrong> {
    duration::read(text).map_err(|(what, remedy)| (format!("{} is {what}", quoted(text)), remedy))
}

/// One line of text without control characters.
pub(crate) fn line(text: &str) -> Result<(), Wrong> {
    match text.chars().find(|c| c.is_ascii_control()) {
        _ if text.is_empty() => Err(("the text is empty".into(), "write a value, or delete the field".into())),
        _ if text.chars().count() > 4096 => {
            Err(("the text is longer than 4096 characters".into(), "shorten it".into()))
        }
        Some('\n' | '\r') => Err(("the text has more than one line".into(), "write it in one line".into())),
        Some(_) => Err((format!("{} contains a control character", quoted(text)), "delete the character".into())),
        None => Ok(()),
    }
}

/// Names of steps and apps: they become names of files and parts of addresses.
pub(crate) fn name(text: &str) -> Result<(), Wrong> {
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if first && rest && text.len() <= 63 {
        return Ok(());
    }
    let remedy = match slug(text) {
        Some(slug) if slug != text => format!("write {}", quoted(&slug)),
        _ => "a name has letters, digits, `.`, `_` and `-`, begins with a letter or digit, and has 63 at most".into(),
    };
    Err((format!("{} can't be a name", quoted(text)), remedy))
}

/// Names of spaces: they become host names.
pub(crate) fn space_name(text: &str) -> Result<(), Wrong> {
    let inner = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if inner && !text.is_empty() && text.len() <= 63 && !text.starts_with('-') && !text.ends_with('-') {
        return Ok(());
    }
    let slug = slug(text).map(|slug| slug.to_lowercase().replace(['.', '_'], "-"));
    let remedy = match slug.map(|slug| slug.trim_matches('-').to_owned()).filter(|slug| !slug.is_empty()) {
        Some(slug) => format!("write {}", quoted(&slug)),
        None => "a space's name has lower-case letters, digits and inner `-`, 63 at most".into(),
    };
    Err((format!("{} can't be the name of a space", quoted(text)), remedy))
}

fn slug(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let slug: String = text.trim().chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    let slug: String = slug.trim_matches(['-', '.', '_']).chars().take(63).collect();
    (!slug.is_empty()).then_some(slug)
}

pub(crate) fn user_name(text: &str) -> Result<(), Wrong> {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let rest = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if first && rest && text.len() <= 32 {
        return Ok(());
    }
    let remedy = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        format!("for a number write `uid: {text}`")
    } else {
        "write the name as /etc/passwd has it".into()
    };
    Err((format!("{} can't be a user's name", quoted(text)), remedy))
}

pub(crate) fn absolute(text: &str) -> Result<(), Wrong> {
    line(text)?;
    if text.starts_with('/') {
        return Ok(());
    }
    Err((format!("{} is not an absolute path", quoted(text)), "write the whole path, from `/`".into()))
}

/// A path relative to the home folder that stays in it.
pub(crate) fn below_home(text: &str) -> Result<(), Wrong> {
    line(text)?;
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if let Some(rest) = text.strip_prefix("~/") {
        let remedy = format!("paths here are in the home already: write {}", quoted(rest));
        return Err((format!("{} begins with `~`, which only shells know", quoted(text)), remedy));
    }
    if text.starts_with('~') {
        return Err((format!("{} begins with `~`", quoted(text)), "write a path relative to the home".into()));
    }
    if text.starts_with('/') {
        let what = format!("{} is an absolute path; this one is relative to the home", quoted(text));
        let remedy = parts.last().map_or("write a relative path".into(), |last| format!("write {}, say", quoted(last)));
        return Err((what, remedy));
    }
    if parts.contains(&"..") {
        return Err((format!("{} leaves the home", quoted(text)), "write a path without `..`".into()));
    }
    match parts.first() {
        None => Err(("this is the home itself".into(), "name a folder in it".into())),
        Some(&".space-agent") => {
            Err(("`.space-agent` holds the agent's own state".into(), "name another folder in the home".into()))
        }
        Some(_) => Ok(()),
    }
}

fn segment(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._~@:!$&+,=%-".contains(c);
    !text.is_empty() && !text.starts_with('.') && text.chars().all(allowed)
}

/// A part of the address: `/` or `/a/b/`.
pub(crate) fn base_path(text: &str) -> Result<(), Wrong> {
    let inner = text.strip_prefix('/').map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    if text == "/" || (text.ends_with('/') && inner.is_some_and(|inner| inner.split('/').all(segment))) {
        return Ok(());
    }
    let mended = format!("/{}/", text.trim_matches('/'));
    let fits = mended.trim_matches('/').split('/').all(segment);
    let remedy =
        if fits { format!("write {mended}") } else { "write plain parts between `/`: /team/dashboard/".into() };
    let what = match text.starts_with('/') && text.ends_with('/') {
        true => format!("{} has a part that can't stand in an address", quoted(text)),
        false => format!("{} is not a base path: it must begin and end with `/`", quoted(text)),
    };
    Err((what, remedy))
}

pub(crate) fn ready_path(text: &str) -> Result<(), Wrong> {
    if text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    let what = format!("{} is not a path below the app's base path", quoted(text));
    Err((what, "write a path that begins with `/`, like /healthz".into()))
}

pub(crate) fn git_url(text: &str) -> Result<(), Wrong> {
    if text.is_empty() {
        return Err(("the URL is empty".into(), "write the repository's URL or path".into()));
    }
    if text.starts_with('-') {
        let what = format!("{} begins with `-`, so git would take it for an option", quoted(text));
        return Err((what, "write a URL: https://host/path.git".into()));
    }
    if text.chars().any(|c| c.is_ascii_control()) {
        return Err((format!("{} contains a control character", quoted(text)), "delete the character".into()));
    }
    let blank = || (format!("{} contains a space", quoted(text)), "write a space in a URL as %20".to_owned());
    let Some((before, after)) = text.split_once(':') else { return Ok(()) };
    let Some(rest) = after.strip_prefix("//") else { return scp_like(text, before, after) };
    match before {
        "file" if rest.starts_with('/') && rest.len() > 1 => Ok(()),
        "file" => Err((format!("{} names no absolute path", quoted(text)), "write file:///path/to/repository".into())),
        "https" | "http" | "ssh" | "git" if rest.contains(' ') => Err(blank()),
        "https" | "http" | "ssh" | "git" if rest.is_empty() || rest.starts_with(['-', '/']) => {
            Err((format!("{} names no host", quoted(text)), format!("write {before}://host/path.git")))
        }
        "https" | "http" | "ssh" | "git" => Ok(()),
        other => {
            let what = format!("git can't be asked to fetch over {}", quoted(other));
            Err((what, "use https, http, ssh, git or file, git@host:path, or a plain path".into()))
        }
    }
}

/// `git@host:path`, as scp writes it.
fn scp_like(text: &str, before: &str, path: &str) -> Result<(), Wrong> {
    let (user, host) = before.split_once('@').unwrap_or(("git", before));
    let user_fits = user.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'))
        && user.chars().all(|c| c.is_ascii_alphanumeric() || "._~+-".contains(c));
    let host_fits = host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
    if user_fits && host_fits && !path.is_empty() && !path.starts_with(':') && !path.contains(' ') {
        return Ok(());
    }
    let remedy = "use https, http, ssh, git or file, git@host:path, or a plain path without `:`";
    Err((format!("{} is not a URL that git may be given", quoted(text)), remedy.into()))
}

/// Where git would clone to if nobody said: the URL's last part.
pub(crate) fn clone_folder(url: &str) -> Option<String> {
    let url = url.trim_end_matches('/');
    let last = url.rsplit(['/', ':']).next()?;
    let last = last.strip_suffix(".git").unwrap_or(last);
    (name(last).is_ok() && url.len() > last.len()).then(|| last.to_owned())
}

pub(crate) fn git_ref(text: &str) -> Result<(), Wrong> {
    let forbidden = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
    if !text.is_empty() && !text.starts_with('-') && !text.contains("..") && !text.contains(forbidden) {
        return Ok(());
    }
    Err((format!("{} can't be a branch, tag or commit", quoted(text)), "write its name as git shows it".into()))
}

/// A requirement specifier; pip judges the rest.
pub(crate) fn package(text: &str) -> Result<(), Wrong> {
    line(text)?;
    let file = text.strip_prefix("-r").or_else(|| text.strip_prefix("--requirement"));
    if let Some(file) = file.map(|file| file.trim_start_matches('=').trim()).filter(|file| !file.is_empty()) {
        let what = format!("{} is an option of pip, not a package", quoted(text));
        return Err((what, format!("write `requirements: {}` beside `packages`", crate::mistake::printable(file))));
    }
    if text.starts_with('-') {
        let remedy = "options of pip belong into a requirements file or into `env`, like PIP_INDEX_URL";
        return Err((format!("{} is an option of pip, not a package", quoted(text)), remedy.into()));
    }
    Ok(())
}

pub(crate) fn variable(text: &str) -> Result<(), Wrong> {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !first || !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let what = format!("{} can't be an environment variable", quoted(text));
        return Err((what, "write letters, digits and `_`, not beginning with a digit".into()));
    }
    if text.starts_with("SPACE_AGENT_") {
        return Err((format!("{text} is the agent's to set"), "choose another name".into()));
    }
    Ok(())
}

/// An address and a port: `127.0.0.1:8888`, `[::1]:8888`.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, Wrong> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let plain = port == "0" || (!port.starts_with('0') && port.bytes().all(|b| b.is_ascii_digit()));
    if let (true, false, Ok(address)) = (plain, text.contains('%'), text.parse()) {
        return Ok(address);
    }
    let what = format!("{} is not an address and a port", quoted(text));
    let number = port.parse::<u16>().is_ok();
    let remedy = match host {
        _ if port.parse::<u32>().is_ok_and(|port| port > 65_535) => "ports end at 65535".to_owned(),
        "" | "localhost" if number => format!("write 127.0.0.1:{port}"),
        "*" if number => format!("write 0.0.0.0:{port}"),
        host if number && host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) => {
            format!("write [{}]:{port}", host.trim_matches(['[', ']']))
        }
        _ if text.parse::<IpAddr>().is_ok() => format!("write {text}:8888, say"),
        _ => "write an IP address and a port, like 127.0.0.1:8888".to_owned(),
    };
    Err((what, remedy))
}

/// A Host header's value: `host` or `host:port`.
pub(crate) fn host(text: &str) -> Result<(), Wrong> {
    if host_and_port(text) {
        return Ok(());
    }
    let remedy = match text.split_once("://") {
        Some((_, rest)) if host_and_port(rest.trim_end_matches('/')) => {
            format!("write {}", quoted(rest.trim_end_matches('/')))
        }
        _ if text.contains('*') => "patterns are not understood: list each host".to_owned(),
        _ => "write host or host:port, like space.example or space.example:8443".to_owned(),
    };
    Err((format!("{} is not a host", quoted(text)), remedy))
}

/// An Origin header's value: `scheme://host[:port]`.
pub(crate) fn origin(text: &str) -> Result<(), Wrong> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    if rest.is_some_and(host_and_port) {
        return Ok(());
    }
    let scheme = if text.starts_with("http://") { "http" } else { "https" };
    let remedy = match rest.unwrap_or(text).split('/').next() {
        _ if text.contains('*') => "patterns are not understood: list each origin".to_owned(),
        Some(host) if host_and_port(host) => format!("write {scheme}://{host}"),
        _ => "write scheme://host or scheme://host:port, like https://portal.example".to_owned(),
    };
    Err((format!("{} is not an origin", quoted(text)), remedy))
}

fn host_and_port(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port_fits = port.is_none_or(|port| (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit()));
    let label = |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let name = host.strip_suffix('.').unwrap_or(host).split('.').all(label);
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = bracketed.is_some_and(|inner| {
        !inner.is_empty() && inner.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.'))
    });
    port_fits && (name || address)
}
