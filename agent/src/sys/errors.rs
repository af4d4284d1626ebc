//! Errors as a person reads them: with their causes.

use std::error::Error;

/// The error and its causes in one line: `cannot write /run/x/step.json: No space left on device`. Errors keep their
/// source out of their own text, so whoever prints one for a person prints the chain.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;

    #[derive(Debug)]
    struct Failed(&'static str, Option<Box<Failed>>);

    impl fmt::Display for Failed {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Failed {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as &(dyn Error + 'static))
        }
    }

    #[test]
    fn every_cause_is_told() {
        let full = Failed("no space left on device", None);
        assert_eq!(chain(&full), "no space left on device");
        let failed =
            Failed("cannot start deps", Some(Box::new(Failed("cannot write step.json", Some(Box::new(full))))));
        assert_eq!(chain(&failed), "cannot start deps: cannot write step.json: no space left on device");
    }
}
