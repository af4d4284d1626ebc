//! What travels over the control API besides `model::status`: the bodies of requests and answers, for both ends.
//!
//! As written; what they mean is checked by [`LeaseRequest::checked`] and its like, at the door.

use serde::{Deserialize, Serialize};
use space_lifecycle::duration;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// The longest reason, in bytes: it is shown in status and logged.
pub const REASON_MAX: usize = 200;
/// The title of a refusal that `force` overcomes.
pub const KERNELS_BUSY: &str = "kernels are busy";
const LINK_SECONDS: std::ops::RangeInclusive<u64> = 5..=300;

/// An error, as RFC 9457 writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// Always `about:blank`: the status code says what kind it is.
    #[serde(rename = "type", default)]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// What happened, to which object, what to do.
    pub detail: String,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StatusQuery {
    /// Send the status again, as one line of JSON, whenever it changes, until the space stops.
    #[serde(default)]
    pub watch: bool,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// Send further output as it comes, until the step has ended or the space stops.
    #[serde(default)]
    pub follow: bool,
    /// Only the last lines.
    pub tail: Option<u32>,
}

/// Keep the space awake for a time.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseRequest {
    /// `90s`, `5m`, `2h`.
    #[schema(example = "2h")]
    pub duration: String,
    /// One line of at most 200 bytes, shown to whoever asks why the space is awake, with who took the lease. A renewal
    /// without one keeps the one it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Renew this lease: from now, for `duration`. 404 if it has ended meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// One line of at most 200 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Stop even when kernels are busy. Without it a space with busy kernels answers 409 and names them.
    #[serde(default)]
    pub force: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestartRequest {
    /// Restart even when the app's kernels are busy. Without it an app with busy kernels answers 409 and names them.
    #[serde(default)]
    pub force: bool,
}

/// Nothing is to be said with a start.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRequest {}

#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInRequest {
    /// The page behind the link: a path on the front door. Default: the first app.
    #[schema(example = "/jupyterlab/default/lab")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How long the link can be used: `5s` to `300s`. Default `5m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SignInAnswer {
    /// Works once, in one browser.
    pub link: String,
}

impl LeaseRequest {
    pub(super) fn checked(self) -> Result<(Option<String>, Duration, Option<String>), String> {
        let duration = duration::parse(&self.duration).map_err(|why| format!("duration: {why}"))?;
        if duration.is_zero() {
            return Err("duration: a lease of no time keeps nothing awake; write at least 1s".to_owned());
        }
        Ok((one_line("id", self.id)?, duration, one_line("reason", self.reason)?))
    }
}

impl StopRequest {
    pub(super) fn checked(self) -> Result<(Option<String>, bool), String> {
        Ok((one_line("reason", self.reason)?, self.force))
    }
}

impl SignInRequest {
    pub(super) fn checked(self) -> Result<(Option<String>, Duration), String> {
        let lifetime = match &self.expires {
            Some(text) => duration::parse(text).map_err(|why| format!("expires: {why}"))?,
            None => Duration::from_secs(*LINK_SECONDS.end()),
        };
        if !LINK_SECONDS.contains(&lifetime.as_secs()) {
            return Err("expires: a link lives from 5s to 300s".to_owned());
        }
        if let Some(to) = &self.to {
            path_on_the_front_door(to)?;
        }
        Ok((self.to, lifetime))
    }
}

/// Text that people will read in a list: trimmed, not empty, without control characters.
fn one_line(field: &str, text: Option<String>) -> Result<Option<String>, String> {
    let Some(text) = text else { return Ok(None) };
    let text = text.trim();
    if text.len() > REASON_MAX {
        return Err(format!("{field}: {} bytes are too many; write at most {REASON_MAX}", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{field}: control characters and line breaks are not allowed; write one line"));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// The link leads to this space and nowhere else: browsers read `//host`, `/\host` and tabs in them as another host.
fn path_on_the_front_door(to: &str) -> Result<(), String> {
    let other_host = to.starts_with("//") || to.contains('\\');
    if !to.starts_with('/') || other_host || to.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("to: not a path on the front door; write one that begins with a single /, \
                    as in /jupyterlab/default/lab, spaces as %20"
            .to_owned());
    }
    if to.len() > 2048 {
        return Err("to: longer than 2048 bytes".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_nowhere_but_to_the_front_door() {
        for good in ["/", "/jupyterlab/default/lab/tree/a%20b.ipynb?reset#x", "/é"] {
            assert_eq!(path_on_the_front_door(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "lab",
            "//evil",
            "///evil",
            "/\\evil",
            "\\\\evil",
            "https:evil",
            "https://evil",
            "/\t/evil",
            "/a\r\nb",
            " /a",
        ] {
            assert!(path_on_the_front_door(bad).is_err(), "{bad:?}");
        }
        assert!(path_on_the_front_door(&format!("/{}", "a".repeat(3000))).is_err());
    }

    #[test]
    fn a_link_lives_from_5_seconds_to_5_minutes() {
        let lifetime = |text: Option<&str>| {
            let request = SignInRequest { to: None, expires: text.map(str::to_owned) };
            request.checked().map(|(_, lifetime)| lifetime.as_secs())
        };
        assert_eq!(lifetime(None), Ok(300));
        assert_eq!(lifetime(Some("5s")), Ok(5));
        assert_eq!(lifetime(Some("5m")), Ok(300));
        for bad in ["4s", "301s", "1h", "soon"] {
            assert!(lifetime(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_lease_has_a_time_and_a_reason_of_one_line() {
        let lease = |duration: &str, reason: Option<&str>| {
            let request = LeaseRequest { duration: duration.to_owned(), reason: reason.map(str::to_owned), id: None };
            request.checked()
        };
        assert_eq!(lease("2h", None), Ok((None, Duration::from_secs(7200), None)));
        assert_eq!(lease("2h", Some("  night run ")).map(|(_, _, reason)| reason), Ok(Some("night run".to_owned())));
        assert!(lease("0s", None).is_err());
        assert!(lease("2h", Some("a\nb")).is_err());
        assert!(lease("2h", Some("\u{1b}[31mred")).is_err());
        assert!(lease("2h", Some(&"x".repeat(201))).is_err());
    }
}
