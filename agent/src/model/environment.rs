//! The environment of steps and apps: an allow-list of the agent's own, and who the user is.
//!
//! The agent's environment holds what its platform gave it (tokens, its own settings). Only what programs of a space
//! need to find their tools, networks, certificates and accelerators goes on; a step or an app adds its own `env`.

use super::child::Account;
use std::collections::BTreeMap;

/// Names that pass, as they are.
const NAMES: &[&str] = &[
    "PATH",
    "LANG",
    "LANGUAGE",
    "TZ",
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "LD_LIBRARY_PATH",
];

/// Beginnings of names that pass.
const PREFIXES: &[&str] =
    &["LC_", "PIP_", "UV_", "GIT_SSL_", "AWS_", "SAGEMAKER_", "CUDA", "NVIDIA", "CONDA", "MAMBA", "JUPYTER", "NB_"];

/// Ends of names that pass.
const SUFFIXES: &[&str] = &["_CA_BUNDLE"];

/// Names that never pass, whatever the lists above say: the agent's own, and credentials that are the agent's.
const NEVER: &[&str] = &["SPACE_AGENT_", "JUPYTERHUB_API_TOKEN"];

/// PATH where the surroundings give none: what login(1) gives a user.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The clean environment that every step and app starts from.
pub fn base_environment(outer: &BTreeMap<String, String>, account: &Account) -> BTreeMap<String, String> {
    let mut env: BTreeMap<_, _> =
        outer.iter().filter(|(name, _)| passes(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    env.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());
    env.insert("HOME".into(), account.home.display().to_string());
    env.insert("SHELL".into(), account.shell.display().to_string());
    env.insert("USER".into(), account.name.clone());
    env.insert("LOGNAME".into(), account.name.clone());
    env
}

fn passes(name: &str) -> bool {
    let allowed = NAMES.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    allowed && !NEVER.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> Account {
        Account {
            name: "alice".into(),
            uid: 1000,
            gid: 100,
            groups: vec![],
            home: "/home/alice".into(),
            shell: "/bin/bash".into(),
        }
    }

    fn environment(outer: &[(&str, &str)]) -> BTreeMap<String, String> {
        base_environment(&outer.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect(), &alice())
    }

    #[test]
    fn what_programs_need_passes() {
        for name in [
            "PATH",
            "LC_ALL",
            "TZ",
            "https_proxy",
            "NO_PROXY",
            "PIP_INDEX_URL",
            "UV_CACHE_DIR",
            "SSL_CERT_FILE",
            "AWS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "GIT_SSL_CAINFO",
            "AWS_REGION",
            "SAGEMAKER_APP_TYPE_LOWERCASE",
            "CUDA_VISIBLE_DEVICES",
            "NVIDIA_VISIBLE_DEVICES",
            "LD_LIBRARY_PATH",
            "CONDA_PREFIX",
            "MAMBA_ROOT_PREFIX",
            "JUPYTER_CONFIG_DIR",
            "JUPYTERHUB_SERVICE_PREFIX",
            "NB_PREFIX",
        ] {
            assert_eq!(environment(&[(name, "x")]).get(name).map(String::as_str), Some("x"), "{name}");
        }
    }

    #[test]
    fn the_rest_stays_outside() {
        for name in [
            "SPACE_AGENT_SOCKET",
            "SPACE_AGENT_CA_BUNDLE",
            "JUPYTERHUB_API_TOKEN",
            "LD_PRELOAD",
            "PYTHONPATH",
            "BASH_ENV",
            "SSH_AUTH_SOCK",
            "GIT_SSH_COMMAND",
            "DATABASE_PASSWORD",
            "XDG_RUNTIME_DIR",
            "TERM",
        ] {
            assert_eq!(environment(&[(name, "x")]).get(name), None, "{name}");
        }
    }

    #[test]
    fn who_the_user_is_comes_from_the_account() {
        let env = environment(&[("HOME", "/root"), ("USER", "root"), ("SHELL", "/bin/zsh")]);
        assert_eq!((&*env["HOME"], &*env["USER"], &*env["LOGNAME"]), ("/home/alice", "alice", "alice"));
        assert_eq!(env["SHELL"], "/bin/bash");
        assert_eq!(env["PATH"], DEFAULT_PATH);
    }
}
