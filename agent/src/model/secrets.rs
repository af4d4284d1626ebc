//! The secrets that the agent knows: what stands in their place wherever output is kept or shown.
//!
//! It knows what the document and its own environment say: passwords in URLs and variables whose names look secret. What
//! a program makes of a secret (its digest, its base64) is not known and not masked.

use space_lifecycle::{AppKind, Space, StepKind};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

/// What is shown of a secret.
const MASK: &str = "***";
/// Bytes. A shorter value is too often a word that means something else.
const SHORTEST: usize = 6;
/// Of a line of a secret that has several (a private key), or of a user in a URL that is a token and no name.
const SHORTEST_PART: usize = 16;

const NAMES: [&str; 8] =
    ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "API_KEY", "ACCESS_KEY", "PRIVATE_KEY", "CREDENTIAL"];
/// Names that say where a secret is, not what it is.
const PLACES: [&str; 3] = ["_FILE", "_PATH", "_DIR"];

/// Texts without control characters, each at least one byte.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

impl Secrets {
    /// Those of the document, and of the environment that the agent itself was started with.
    pub fn of(space: &Space, agent_env: &BTreeMap<String, String>) -> Secrets {
        let mut found = BTreeSet::new();
        let steps = space.steps.iter().map(|step| &step.env);
        let apps = space.apps.iter().map(|app| &app.env);
        for (name, value) in steps.chain(apps).chain([agent_env]).flatten() {
            of_variable(name, value, &mut found);
        }
        for step in &space.steps {
            match &step.kind {
                StepKind::Git { url, .. } => of_urls(url, &mut found),
                StepKind::Python(python) => python.packages.iter().for_each(|package| of_urls(package, &mut found)),
                StepKind::Run(script) => of_urls(script, &mut found),
            }
        }
        for app in &space.apps {
            if let AppKind::Command(command) = &app.kind {
                command.command.iter().for_each(|argument| of_urls(argument, &mut found));
            }
        }
        Secrets(found.into_iter().collect())
    }

    /// The text with `***` for each secret in it; secrets that overlap become one.
    pub fn mask<'text>(&self, text: &'text str) -> Cow<'text, str> {
        let found = self.found(text);
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        let (mut masked, mut at) = (String::with_capacity(text.len()), 0);
        for secret in found {
            masked.push_str(&text[at..secret.start]);
            masked.push_str(MASK);
            at = secret.end;
        }
        masked.push_str(&text[at..]);
        Cow::Owned(masked)
    }

    /// [`mask`](Secrets::mask) for text that nothing follows: a secret that was begun and not ended is masked too, if there
    /// is enough of it to matter.
    pub fn mask_last(&self, text: &str) -> String {
        let (whole, begun) = text.split_at(self.whole(text));
        let shown = self.mask(whole);
        if begun.len() >= SHORTEST { format!("{shown}{MASK}") } else { format!("{shown}{begun}") }
    }

    /// How many bytes of the text can be masked by themselves, whatever follows: behind them stands what may be the
    /// beginning of a secret.
    pub fn whole(&self, text: &str) -> usize {
        let begins = |secret: &String| {
            let mut at = text.len().saturating_sub(secret.len() - 1);
            while !text.is_char_boundary(at) {
                at += 1;
            }
            text[at..].char_indices().map(|(more, _)| at + more).find(|at| secret.starts_with(&text[*at..]))
        };
        let Some(begun) = self.0.iter().filter_map(begins).min() else { return text.len() };
        // A whole secret may reach into the one that is begun.
        let reaching = self.found(text).into_iter().find(|secret| secret.contains(&begun));
        reaching.map_or(begun, |secret| secret.start)
    }

    /// Where secrets stand, in order; those that overlap are one.
    fn found(&self, text: &str) -> Vec<Range<usize>> {
        let mut all: Vec<Range<usize>> = self.0.iter().flat_map(|secret| occurrences(text, secret)).collect();
        all.sort_by_key(|secret| secret.start);
        let mut apart: Vec<Range<usize>> = Vec::new();
        for secret in all {
            match apart.last_mut() {
                Some(before) if secret.start < before.end => before.end = before.end.max(secret.end),
                _ => apart.push(secret),
            }
        }
        apart
    }
}

/// Each of them, even where one begins within another.
fn occurrences(text: &str, secret: &str) -> impl Iterator<Item = Range<usize>> {
    let step = secret.chars().next().map_or(1, char::len_utf8);
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + text.get(from..)?.find(secret)?;
        from = start + step;
        Some(start..start + secret.len())
    })
}

fn of_variable(name: &str, value: &str, found: &mut BTreeSet<String>) {
    of_urls(value, found);
    // TOKENIZERS_PARALLELISM and its like are everywhere where models are.
    let name = name.to_ascii_uppercase().replace("TOKENIZER", "");
    if NAMES.iter().any(|secret| name.contains(secret)) && !PLACES.iter().any(|place| name.ends_with(place)) {
        insert(value, found);
    }
}

/// Passwords, and users that look like tokens, of every `scheme://user:password@host` in the text.
fn of_urls(text: &str, found: &mut BTreeSet<String>) {
    for (at, mark) in text.match_indices("://") {
        let rest = &text[at + mark.len()..];
        let authority = rest.split(|c: char| "/?#\"'".contains(c) || c.is_whitespace()).next().unwrap_or(rest);
        let Some((who, _)) = authority.rsplit_once('@') else { continue };
        let (user, password) = who.split_once(':').unwrap_or((who, ""));
        if !password.is_empty() {
            found.insert(who.to_owned());
            insert(password, found);
            insert(&percent_decoded(password), found);
        }
        if user.len() >= SHORTEST_PART {
            insert(user, found);
        }
    }
}

/// What is shown has no control characters, so what stands between them is looked for.
fn insert(secret: &str, found: &mut BTreeSet<String>) {
    let secret = secret.trim();
    let mut parts = secret.split(char::is_control).map(str::trim).peekable();
    let one = parts.next().filter(|_| parts.peek().is_none());
    match one {
        Some(secret) if secret.len() >= SHORTEST => {
            found.insert(secret.to_owned());
        }
        Some(_) => {}
        None => {
            let parts = secret.split(char::is_control).map(str::trim).filter(|part| part.len() >= SHORTEST_PART);
            found.extend(parts.map(str::to_owned));
        }
    }
}

fn percent_decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| *first == b'%' && !digits.starts_with('+'));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn secrets(variables: &[(&str, &str)]) -> Secrets {
        Secrets::of(&space_lifecycle::default_space(), &env(variables))
    }

    #[test]
    fn a_variable_is_a_secret_by_its_name() {
        for (name, value, secret) in [
            ("GITHUB_TOKEN", "ghp_abc", true),
            ("db_password", "hunter22", true),
            ("AWS_SECRET_ACCESS_KEY", "wJalrXUt", true),
            ("OPENAI_API_KEY", "sk-12345", true),
            ("GITHUB_TOKEN", "short", false),
            ("TOKENIZERS_PARALLELISM", "disabled", false),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token", false),
            ("EDITOR", "emacs-nox", false),
        ] {
            let masked = secrets(&[(name, value)]).mask(value) == MASK;
            assert_eq!(masked, secret, "{name}");
        }
    }

    #[test]
    fn the_documents_secrets_are_those_of_its_steps_apps_and_urls() {
        let text = "version: 1
lifecycle:
  steps:
  - name: code
    git: { url: 'https://me:p%40ss%2Fword@example.org/x.git' }
  - name: deps
    python: { packages: ['x @ git+https://ghp_0123456789abcdef@example.org/x'] }
  - name: other
    run: x
    env: { A_TOKEN: of-a-step }
apps:
- kind: jupyterlab
  env: { B_TOKEN: of-an-app }
";
        let read = space_lifecycle::read(text, "space.yaml", space_lifecycle::Mode::Check).expect("a document");
        let secrets = Secrets::of(&read.space, &env(&[("PIP_INDEX_URL", "https://u:pw@pypi.example/simple")]));
        for secret in
            ["me:p%40ss%2Fword", "p%40ss%2Fword", "p@ss/word", "ghp_0123456789abcdef", "of-a-step", "of-an-app", "u:pw"]
        {
            assert_eq!(secrets.mask(&format!("x {secret} y")), "x *** y", "{secret}");
        }
        assert_eq!(secrets.mask("example.org/x.git by me"), "example.org/x.git by me");
    }

    #[test]
    fn a_secret_of_many_lines_is_masked_line_by_line() {
        let key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nshort==\n-----END PRIVATE KEY-----\n";
        let secrets = secrets(&[("DEPLOY_PRIVATE_KEY", key)]);
        assert_eq!(secrets.mask("k MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"), "k ***");
        assert_eq!(secrets.mask("short=="), "short==");
    }

    #[test]
    fn secrets_that_overlap_become_one() {
        let secrets = secrets(&[("A_TOKEN", "abcdefgh"), ("B_TOKEN", "defghXYZ"), ("C_TOKEN", "aaaaaa")]);
        assert_eq!(secrets.mask("<abcdefghXYZ>"), "<***>");
        assert_eq!(secrets.mask("<aaaaaaaa>"), "<***>");
        assert_eq!(secrets.mask("abcdefghabcdefgh"), "******");
    }

    #[test]
    fn what_may_begin_a_secret_waits_for_its_end() {
        let secrets = secrets(&[("A_TOKEN", "abcdefgh"), ("B_TOKEN", "defghXYZ"), ("C_TOKEN", "ééééé")]);
        for (text, whole) in
            [("say abc", 4), ("say abcx", 8), ("say", 3), ("", 0), ("x abcdefgh", 2), ("x abcdefgh.", 11), ("é", 0)]
        {
            assert_eq!(secrets.whole(text), whole, "{text}");
        }
        assert_eq!(secrets.mask_last("x abcdefg"), "x ***");
        assert_eq!(secrets.mask_last("x abc"), "x abc");
        assert_eq!(secrets.mask_last("x abcdefgh"), "x ***");
    }

    #[test]
    fn debug_output_tells_their_number_only() {
        assert_eq!(format!("{:?}", secrets(&[("A_TOKEN", "abcdefgh")])), "1 secrets");
    }
}
