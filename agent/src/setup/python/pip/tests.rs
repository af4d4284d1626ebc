//! Messages as pip 23.0 (Debian 12) and pip 26.3 print them, and what we make of them.

use super::*;

const NONE: &str = "ERROR: Could not find a version that satisfies the requirement jupyterlabx (from versions: none)
ERROR: No matching distribution found for jupyterlabx";

fn check(messages: &str, expected: &str) {
    let tail: Vec<String> = messages.lines().map(str::to_owned).collect();
    let why = explain(&tail, None).unwrap_or_default();
    assert!(why.contains(expected), "{messages}\n-> {why}");
    assert!(!why.contains('\n') && !why.ends_with('.'), "{why}");
}

fn check_retry(broken_by: &str, expected: &str) {
    let retry = "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by ";
    check(&format!("{retry}'{broken_by}': /simple/jupyterlabx/\n{NONE}"), expected);
}

#[test]
fn no_network_names_the_index_the_cause_and_the_remedy() {
    check_retry(
        "NewConnectionError('<pip._vendor.urllib3.connection.HTTPConnection object at 0x7f06cdc22290>: Failed to establish a new connection: [Errno 111] Connection refused')",
        "cannot reach the package index: the connection is refused: check the network, a proxy (HTTPS_PROXY) or PIP_INDEX_URL",
    );
    check_retry(
        "NewConnectionError(\"HTTPConnection(host='127.0.0.1', port=9): Failed to establish a new connection: [Errno 111] Connection refused\")",
        "cannot reach the package index at 127.0.0.1: the connection is refused: check the network",
    );
    check_retry(
        "NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f9293666d50>: Failed to establish a new connection: [Errno -2] Name or service not known')",
        "its name cannot be resolved",
    );
    check_retry(
        "NameResolutionError(\"HTTPSConnection(host='nonexistent.invalid', port=443): Failed to resolve 'nonexistent.invalid' ([Errno -3] Temporary failure in name resolution)\")",
        "the package index at nonexistent.invalid: its name cannot be resolved",
    );
    check_retry(
        "ProxyError('Cannot connect to proxy.', NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f6475347f10>: Failed to establish a new connection: [Errno 111] Connection refused'))",
        "the proxy does not answer",
    );
    check_retry(
        "ReadTimeoutError(\"HTTPConnectionPool(host='127.0.0.1', port=40255): Read timed out. (read timeout=3.0)\")",
        "it does not answer in time",
    );
    check_retry(
        "SSLError(SSLError(1, '[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:992)'))",
        "it does not speak TLS as expected",
    );
    check_retry(
        "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (_ssl.c:992)'))",
        "its certificate is not trusted",
    );
}

#[test]
fn a_package_or_version_that_is_not_there_is_named() {
    check(NONE, "the package index has no package jupyterlabx");
    let no_version = "ERROR: Ignored the following yanked versions: 6.0.0, 6.0.1
ERROR: Could not find a version that satisfies the requirement ipykernel==999 (from versions: 4.0.1, 4.0.2)
ERROR: No matching distribution found for ipykernel==999";
    check(no_version, "the package index has no version of ipykernel==999 for this Python: correct the version");
    let other =
        "ERROR: Ignored the following versions that require a different python version: 2.5.0 Requires-Python >=3.12";
    check(&format!("{other}\n{no_version}"), "some are for another version of Python");
    // A connection that worked at the second attempt is not the cause.
    check(
        &format!("WARNING: Retrying after connection broken by 'Connection refused'\n{no_version}"),
        "has no version",
    );
}

#[test]
fn other_mishaps_are_told_in_one_sentence() {
    check(
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
        "the disk is full",
    );
    check("ERROR: Invalid requirement: 'not!a(requirement'", "Invalid requirement: 'not!a(requirement': correct it");
    check(
        "ERROR: Could not open requirements file: [Errno 2] No such file or directory: 'missing.txt'",
        "Could not open requirements file: [Errno 2] No such file or directory: 'missing.txt'",
    );
    check(
        "ERROR: Cannot install ipykernel==6.0 and ipykernel>6.1 because these package versions have conflicting dependencies.
ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/en/latest/topics/dependency-resolution/",
        "these packages cannot be installed together",
    );
    check(
        "error: metadata-generation-failed\n\n× Encountered error while generating package metadata.",
        "cannot be built",
    );
    check(
        "ERROR: Failed to build 'file:///tmp/bad' when getting requirements to build wheel",
        "Failed to build 'file:///tmp/bad' when getting requirements to build wheel: take a version that has a wheel",
    );
    check("/home/alice/.venv/bin/python: No module named pip", "the environment has no pip");
    let last = ["some words".to_owned(), "ERROR: what nobody has seen yet".to_owned(), "note".to_owned()];
    assert_eq!(explain(&last, None), None);
    assert_eq!(last_words(&last), "what nobody has seen yet");
}

#[test]
fn an_index_that_pip_does_not_name_is_named_from_the_environment_without_its_credentials() {
    let index = host("https://alice:s3cr3t@pypi.corp.example:8443/simple?x");
    assert_eq!(index, Some("pypi.corp.example:8443"));
    let tail = ["... Failed to establish a new connection: [Errno 111] Connection refused".to_owned()];
    let why = explain(&tail, index).unwrap();
    assert!(why.starts_with("cannot reach the package index at pypi.corp.example:8443: "), "{why}");
}
