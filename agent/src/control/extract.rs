//! What handlers take: the caller with its rights, names, queries and bodies. Each refuses with a problem document.

use super::problem::Problem;
use super::rights::{Right, Role};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::timeout;

/// A request body of more than this is refused: 64 KiB.
pub(super) const BODY_MAX: usize = 64 * 1024;
const BODY_DEADLINE: Duration = Duration::from_secs(5);

/// Who asks. Put into each request where the connection was accepted, and nowhere else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) uid: u32,
    pub(super) role: Option<Role>,
}

impl Caller {
    /// Every handler begins with this.
    pub(super) fn allow(&self, right: Right) -> Result<(), Problem> {
        match self.role {
            Some(role) if role.may(right) => Ok(()),
            _ => Err(self.refused(right)),
        }
    }

    pub(super) fn refused(&self, right: Right) -> Problem {
        let detail = format!(
            "uid {} may not {right} this space; its user, the agent's user and root may: call as one of them",
            self.uid
        );
        Problem::new(StatusCode::FORBIDDEN, "not permitted", detail)
    }

    /// For reasons and the log.
    pub(super) fn name(&self) -> String {
        match self.role {
            _ if self.uid == 0 => "root".to_owned(),
            Some(Role::User) => format!("the space's user (uid {})", self.uid),
            _ => format!("uid {}", self.uid),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    /// Denies by default: a request without a caller came in some way that nobody thought of.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Problem> {
        let unknown = || Problem::new(StatusCode::FORBIDDEN, "not permitted", "nobody knows who sent this request");
        parts.extensions.get::<Caller>().copied().ok_or_else(unknown)
    }
}

/// The `{name}` of a step or an app: never more than a file name.
#[derive(Debug)]
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Name, Problem> {
        let name = Path::<String>::from_request_parts(parts, state).await.ok().map(|Path(name)| name);
        let name = name.filter(|name| is_name(name));
        name.map(Name).ok_or_else(|| Problem::bad_request("not a name of a step or an app"))
    }
}

/// `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`, as documents allow: no slash, no leading dot.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    name.len() <= 63
        && name.bytes().next().is_some_and(plain)
        && name.bytes().all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'))
}

/// The query.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Params<T>, Problem> {
        let Query(params) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::bad_request(format!("the query: {}", root_cause(&rejection))))?;
        Ok(Params(params))
    }
}

/// A JSON body; an absent one is an empty object. No content type is asked for: no browser reaches these sockets.
#[derive(Debug)]
pub(super) struct Document<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Document<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Document<T>, Problem> {
        let read = axum::body::to_bytes(request.into_body(), BODY_MAX);
        let bytes = timeout(BODY_DEADLINE, read)
            .await
            .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "too slow", "the body did not arrive within 5 s"))?
            .map_err(|error| unreadable(&error))?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        let document = serde_json::from_slice(text).map_err(|error| {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong body", format!("the body: {error}"))
        })?;
        Ok(Document(document))
    }
}

fn unreadable(error: &axum::Error) -> Problem {
    let cause = root_cause(error);
    if cause.contains("length limit") {
        let detail = format!("the body is longer than {BODY_MAX} bytes");
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too large", detail);
    }
    Problem::bad_request(format!("the body could not be read: {cause}"))
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn a_name_is_never_a_path() {
        for good in ["deps", "a", "0", "Deps.v2_x-1", &"a".repeat(63)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", ".hidden", "a/b", "../a", "a\0", "a b", "é", "-a", &"a".repeat(64)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
