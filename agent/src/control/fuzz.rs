//! What the control API reads of its callers, as functions that a fuzzer can call (`tests/fuzz`): queries, bodies, names.

use super::api::{LeaseRequest, LogQuery, REASON_MAX, RestartRequest, SignInRequest, StatusQuery, StopRequest};
use super::extract;
use axum::extract::Query;

/// The query of any path, and the name within one.
pub fn queries(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if extract::is_name(text) {
        assert!(!text.contains(['/', '\0']) && !text.starts_with('.') && text.len() <= 63, "{text:?} is no name");
    }
    if let Ok(uri) = format!("/v1/status?{text}").parse() {
        let _ = Query::<StatusQuery>::try_from_uri(&uri).map(|Query(query)| query.watch);
        let _ = Query::<LogQuery>::try_from_uri(&uri).map(|Query(query)| (query.follow, query.tail, query.boot));
    }
}

/// The body of any request.
pub fn bodies(data: &[u8]) {
    let line = |text: Option<String>| {
        let plain = |text: String| text.len() <= REASON_MAX && !text.chars().any(char::is_control);
        assert!(text.is_none_or(plain), "no line that may be shown");
    };
    if let Ok(Ok((id, duration, reason))) = serde_json::from_slice(data).map(LeaseRequest::checked) {
        assert!(!duration.is_zero());
        line(id);
        line(reason);
    }
    if let Ok(Ok((reason, _))) = serde_json::from_slice(data).map(StopRequest::checked) {
        line(reason);
    }
    if let Ok(Ok((to, lifetime))) = serde_json::from_slice(data).map(SignInRequest::checked) {
        assert!((5..=300).contains(&lifetime.as_secs()));
        assert!(to.is_none_or(|to| to.starts_with('/') && !to.starts_with("//") && !to.contains('\\')));
    }
    let _ = serde_json::from_slice::<RestartRequest>(data);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = String> {
        let words = &[
            "{",
            "}",
            "\"duration\":",
            "\"reason\":",
            "\"to\":",
            "\"expires\":",
            "\"force\":",
            "true",
            "\"2h\"",
            "\"5s\"",
            "\"/x\"",
            "\"//x\"",
            "\"\\u0000\"",
            ",",
            "[",
            "watch=true",
            "tail=",
            "boot=-1",
            "&",
            "=",
            "%",
            "99999999999",
            "-",
            ".",
            "/",
            "deps",
            "é",
            "\"18446744073709551615h\"",
            "null",
        ][..];
        let piece = prop_oneof![4 => proptest::sample::select(words).prop_map(str::to_owned), 1 => ".{0,4}"];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn nothing_that_a_caller_sends_breaks_what_must_hold(text in text()) {
            super::queries(text.as_bytes());
            super::bodies(text.as_bytes());
        }
    }
}
