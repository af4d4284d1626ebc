//! What `run` was given to read. A document that cannot be used is no reason to lock anybody out: the last good one takes
//! its place, else what can be salvaged of it, in recovery mode.

use super::{INVALID, Refusal, good, prepare, refusal};
use crate::cli::RunArgs;
use crate::model::space::Beginning;
use space_lifecycle::{Mistakes, Space as Spec};
use std::path::{Path, PathBuf};

/// The space that is to be booted, and what can be said against it.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) spec: Spec,
    /// What its paths are relative to.
    pub(super) folder: PathBuf,
    /// To be kept, once it has shown to be good. `None`: there is none, or it is not what the space is made from.
    pub(super) text: Option<String>,
    pub(super) warnings: Vec<String>,
    pub(super) trouble: Option<Trouble>,
}

/// A document that cannot be used.
#[derive(Debug)]
pub(super) struct Trouble {
    /// In one clause, with a remedy.
    pub(super) why: String,
    /// Every mistake with its place and its remedy.
    pub(super) mistakes: Vec<String>,
    /// Who the space's user is cannot be known from it.
    about_user: bool,
}

impl Trouble {
    fn unreadable(name: &str, error: &str) -> Trouble {
        let remedy = "check the path, or leave it out for a plain JupyterLab";
        let why = format!("cannot read the document {name}: {error}; {remedy}");
        Trouble { why, mistakes: Vec::new(), about_user: false }
    }

    fn invalid(name: &str, found: &Mistakes) -> Trouble {
        Trouble {
            why: format!("the document {name} cannot be used; mend it there: {}", brief(found)),
            about_user: found.mistakes.iter().any(|mistake| mistake.field.starts_with("user")),
            mistakes: found.mistakes.iter().map(ToString::to_string).collect(),
        }
    }

    /// For whoever reads nothing else.
    pub(super) fn told(&self) -> String {
        std::iter::once(self.why.as_str())
            .chain(self.mistakes.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join("\n\n")
    }

    /// Recovery mode runs what is salvaged as the user who is found without the document: never as root by mistake.
    pub(super) fn allows(&self, uid: u32) -> bool {
        uid != 0 || !self.about_user
    }

    pub(super) fn beginning(&self) -> Beginning {
        Beginning::Recovery(self.why.clone())
    }
}

/// Which fields, and what is wrong with them.
fn brief(found: &Mistakes) -> String {
    let each = found.mistakes.iter().map(|mistake| {
        let field = if mistake.field.is_empty() { String::new() } else { format!("{}: ", mistake.field) };
        format!("line {}: {field}{}", mistake.line, mistake.what)
    });
    each.collect::<Vec<_>>().join("; ")
}

/// What `run` was called with, read. With `--strict`, what cannot be used is refused.
/// `fallback`: to the last good one, for a start.
pub(super) fn read(args: &RunArgs, fallback: bool) -> Result<Document, Refusal> {
    let here = prepare::current_folder()?;
    let mut document = match args.documents.first() {
        None => Document {
            spec: space_lifecycle::default_space(),
            folder: here.clone(),
            text: None,
            warnings: Vec::new(),
            trouble: None,
        },
        Some(path) => read_one(path, &here),
    };
    if let Some(trouble) = document.trouble.as_ref().filter(|_| args.strict) {
        return Err(refusal(INVALID, trouble.told()));
    }
    if document.trouble.is_some() && fallback {
        last_good(args, &mut document, &here);
    }
    if !args.command.is_empty() {
        let command = args.command.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        document.spec = space_lifecycle::command_space(command, document.spec);
    }
    if let Some(tls) = &mut document.spec.front_door.tls {
        (tls.cert, tls.key) = (document.folder.join(&tls.cert), document.folder.join(&tls.key));
    }
    Ok(document)
}

fn read_one(path: &Path, here: &Path) -> Document {
    let name = path.display().to_string();
    let folder = here.join(path).parent().map_or(here.to_owned(), Path::to_owned);
    let text = match crate::sys::document::read_document(path) {
        Ok(text) => text,
        Err(error) => {
            let (spec, trouble) = (space_lifecycle::default_space(), Some(Trouble::unreadable(&name, &error)));
            return Document { spec, folder, text: None, warnings: Vec::new(), trouble };
        }
    };
    match space_lifecycle::read(&text, &name, space_lifecycle::Mode::Run) {
        Ok(read) => {
            let warnings = read.warnings.iter().map(ToString::to_string).collect();
            Document { spec: read.space, folder, text: Some(text), warnings, trouble: None }
        }
        Err(mistakes) => {
            let (spec, trouble) = (space_lifecycle::salvage(&text, &name).space, Trouble::invalid(&name, &mistakes));
            Document { spec, folder, text: None, warnings: Vec::new(), trouble: Some(trouble) }
        }
    }
}

/// The last good document in the place of one that cannot be used, if there is one; that is said.
fn last_good(args: &RunArgs, document: &mut Document, here: &Path) {
    let home = prepare::home(&document.spec, &document.folder, here);
    let space = prepare::space_name(args, &document.spec, &home);
    let Some(good) = good::find(&space, &home) else { return };
    let Ok(read) = space_lifecycle::read(&good.text, "the last good document", space_lifecycle::Mode::Run) else {
        return;
    };
    if let Some(trouble) = document.trouble.take() {
        document.spec = read.space;
        document.warnings.push(format!(
            "{}; the space runs with the last good document instead, which was kept at {}",
            trouble.why, good.at
        ));
        document.warnings.extend(trouble.mistakes);
    }
}
