//! A step of kind `python`: a virtual environment with packages in it.
//!
//! Nothing is done if nothing has changed: the record in the volume's state says from which inputs the environment was
//! made, a stamp inside the environment says that it is this one and whole. That path starts no Python and takes a few
//! milliseconds. Otherwise pip runs. What a kill leaves behind:
//!
//! | killed while | the next start finds | and does |
//! |---|---|---|
//! | the environment was made, or first filled | the stamp says `building` | removes it, makes it anew |
//! | it was changed | the stamp says `updating` | mends what pip left half-installed, runs pip again |
//! | it was removed | a folder of our own name beside its place | removes that |
//! | the record was written | the old record or none | runs pip again, which finds nothing to do |
//!
//! An environment without a stamp is somebody else's: pip runs in it, it is never removed.

mod environment;
mod fingerprint;
mod interpreter;
mod pip;
mod record;

use super::order::Order;
use super::output::say;
use crate::model::child::StepOutcome;
use crate::model::now::Timestamp;
use crate::sys::files;
use environment::{Found, Stamp, State};
use fingerprint::Inputs;
use interpreter::Identity;
use record::Record;
use space_lifecycle::Python;
use std::path::PathBuf;

pub(super) fn carry_out(python: &Python, order: &Order) -> Result<StepOutcome, String> {
    let work = Work::new(python, order)?;
    if let Some(since) = work.unchanged_since() {
        return Ok(StepOutcome::Skipped { why: format!("its inputs have not changed since {}", minute(since)) });
    }
    let stamp = work.make_ready()?;
    work.install()?;
    work.finish(stamp)?;
    Ok(StepOutcome::Done { why: Some(format!("installed {} into {}", work.what(), work.name)) })
}

/// `2026-11-20 18:09 UTC`: nobody reads milliseconds in a sentence.
fn minute(at: Timestamp) -> String {
    let text = at.to_string();
    let (day, time) = text.split_once('T').unwrap_or((&text, ""));
    format!("{day} {} UTC", time.get(..5).unwrap_or_default())
}

/// One run of the step.
struct Work<'a> {
    python: &'a Python,
    order: &'a Order,
    /// The environment's folder, and what people call it.
    folder: PathBuf,
    name: String,
    inputs: Inputs,
    record: PathBuf,
}

impl<'a> Work<'a> {
    fn new(python: &'a Python, order: &'a Order) -> Result<Work<'a>, String> {
        let folder = environment::place(order.home.join(&python.environment), &order.home)?;
        Ok(Work {
            python,
            order,
            name: python.environment.display().to_string(),
            inputs: Inputs::read(python, &folder, &order.home)?,
            record: order.state.join("steps").join(format!("{}.json", order.step.name)),
            folder,
        })
    }

    /// Since when nothing has changed, if nothing has.
    fn unchanged_since(&self) -> Option<Timestamp> {
        let (record, at) = Record::read(&self.record)?;
        let stamp = Stamp::read(&self.folder)?;
        let same = stamp.state == State::Ready
            && stamp.id == record.environment
            && record.fingerprint == self.inputs.fingerprint(&record.interpreter)
            && Identity::of_environment(&self.folder).as_ref() == Some(&record.interpreter.file);
        same.then_some(at)
    }

    /// An environment into which pip can install, stamped as being changed.
    fn make_ready(&self) -> Result<Stamp, String> {
        environment::remove_leftover(&self.folder)?;
        match environment::find(&self.folder)? {
            Found::Nothing => {}
            Found::Foreign => {
                say(&format!("using the environment {}, which was there already", self.name));
                return Stamp::foreign().write(&self.folder);
            }
            Found::Whole(stamp) => {
                if stamp.state == State::Updating {
                    say(&format!("an earlier start did not come to the end of changing {}: mending it", self.name));
                    environment::mend(&self.folder);
                }
                return Stamp { state: State::Updating, ..stamp }.write(&self.folder);
            }
            Found::Broken(why) => {
                say(&format!("{why}: making {} anew", self.name));
                environment::remove(&self.folder)?;
            }
        }
        let python = interpreter::find(&self.name)?;
        say(&format!(
            "making the environment {} with Python {} ({})",
            self.name,
            python.version,
            python.path.display()
        ));
        environment::create(&self.folder, &python)
    }

    fn install(&self) -> Result<(), String> {
        say(&format!("installing {} into {}", self.what(), self.name));
        pip::install(self.python, &self.folder, &self.order.home)
    }

    /// Marks the environment as whole and remembers what it was made from.
    fn finish(&self, stamp: Stamp) -> Result<(), String> {
        let interpreter = interpreter::of_environment(&self.folder)?;
        let stamp = Stamp { state: State::Ready, python: interpreter.version.clone(), ..stamp };
        // The record says that the packages are there: after a power cut that must be true.
        if let Err(error) = files::sync_filesystem(&self.folder) {
            say(&format!("cannot sync the disk of {}: {error}", self.name));
        }
        let stamp = stamp.write(&self.folder)?;
        let fingerprint = self.inputs.fingerprint(&interpreter);
        let record = Record { fingerprint, environment: stamp.id, interpreter };
        if let Err(error) = record.write(&self.record) {
            // The environment is right all the same; only the next start will be slower.
            say(&format!("cannot remember this in {}: {error}; the next start runs pip again", self.record.display()));
        }
        Ok(())
    }

    /// `jupyterlab, ipykernel and requirements.txt`
    fn what(&self) -> String {
        let mut parts = Vec::new();
        if !self.python.packages.is_empty() {
            parts.push(super::output::mask(&self.python.packages.join(", ")));
        }
        if let Some(requirements) = &self.python.requirements {
            parts.push(format!("what {} asks for", requirements.display()));
        }
        parts.join(" and ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_a_sentence_is_short() {
        assert_eq!(minute(Timestamp(1_795_168_800_123)), "2026-11-20 10:00 UTC");
    }
}
