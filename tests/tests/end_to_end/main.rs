//! The stories: a real agent, real apps, a real browser. `tests/run WORDS` runs those whose names contain WORDS.
//!
//! Each story is one function whose name is a sentence. Fast counts as they stand; full counts with `tests/soak`.

mod documents;
mod notebook;
mod testers;
