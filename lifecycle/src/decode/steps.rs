//! `lifecycle.steps`: each step, then what holds between them.

use super::values::{ITEMS, as_list};
use super::{At, Decoder, Fields};
use crate::form::{self, clone_folder};
use crate::mistake::{Place, printable, quoted};
use crate::order::awaited_first;
use crate::space::{Blocks, Moment, OnFailure, Python, Step, StepKind};
use crate::suggest::nearest;
use crate::tree::Value;
use crate::vocabulary::{GIT, PYTHON, STEP};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const KINDS: [&str; 3] = ["run", "git", "python"];
const PLANNED_KINDS: [&str; 3] = ["script", "conda", "dotfiles"];

const MOMENTS: [(&str, Moment); 2] = [("start", Moment::Start), ("stop", Moment::Stop)];
/// The most steps.
const STEPS: usize = 200;

/// A place and its field path.
type Spot = (Place, String);

/// A step, and where the names in it are written.
struct Written {
    step: Step,
    /// When it runs, if that could be read.
    on: Option<Moment>,
    name: Spot,
    needs: Vec<(Spot, String)>,
}

impl Decoder<'_> {
    pub(super) fn steps(&mut self, at: &At<'_>) -> Vec<Step> {
        let items = self.items(at, STEPS).unwrap_or_default();
        let written: Vec<Written> = items.into_iter().filter_map(|item| self.step(item)).collect();
        let names = self.unique_step_names(&written);
        self.known_needs(&written, &names);
        self.needs_of_one_moment(&written);
        self.in_order(written)
    }

    /// `None` only where there is no name to go by.
    fn step(&mut self, at: At<'_>) -> Option<Written> {
        let fields = self.fields(at, &[&STEP])?;
        let kind = self.kind(&fields);
        let name = self.required(&fields, "name", "give the step a name that no other step has");
        let name = name.and_then(|at| Some(((at.place, at.field.clone()), self.formed(&at, form::name)?.to_owned())));
        let on = fields.get("on").map_or(Some(Moment::Start), |at| self.moment(&at));
        let needs = fields.get("needs").map_or_else(Vec::new, |at| self.needs(&at));
        let at_stop = on == Some(Moment::Stop);
        let blocks = fields.get("blocks").and_then(|at| self.blocks(&at, at_stop));
        let timeout = fields.get("timeout").and_then(|at| self.duration(&at, SECOND..=DAY * 7));
        let on_failure = fields.get("on_failure").and_then(|at| self.on_failure(&at, at_stop));
        let env = fields.get("env").map_or_else(BTreeMap::new, |at| self.env(&at));
        let (place, name) = name?;
        // A kind that could not be read is a mistake already; the step still counts where others need it.
        let kind = kind.unwrap_or_else(|| StepKind::Run(String::new()));
        let usual = if matches!(kind, StepKind::Run(_)) && !at_stop { Blocks::App } else { Blocks::Nothing };
        let blocks = blocks.unwrap_or(usual);
        let step = Step {
            name,
            kind,
            on: on.unwrap_or_default(),
            needs: needs.iter().map(|(_, name)| name.clone()).collect(),
            blocks,
            timeout: timeout.unwrap_or(SECOND * if at_stop { 60 } else { 600 }),
            on_failure: on_failure.unwrap_or(OnFailure::usual(blocks)),
            env,
        };
        Some(Written { step, on, name: place, needs })
    }

    fn moment(&mut self, at: &At<'_>) -> Option<Moment> {
        match at.node.raw() {
            "shutdown" | "exit" | "end" => {
                self.fail(at, format!("{} is not a value of `on`", quoted(at.node.raw())), "did you mean \"stop\"?");
                None
            }
            _ => self.choice(at, &MOMENTS, &["create", "login", "kernel", "idle"]),
        }
    }

    fn blocks(&mut self, at: &At<'_>, at_stop: bool) -> Option<Blocks> {
        if at_stop {
            self.fail(at, "nothing waits for a step that runs at the stop", "delete `blocks`");
            return None;
        }
        self.choice(at, &[("app", Blocks::App), ("nothing", Blocks::Nothing)], &[])
    }

    fn on_failure(&mut self, at: &At<'_>, at_stop: bool) -> Option<OnFailure> {
        let words = [("continue", OnFailure::Continue), ("recovery", OnFailure::Recovery), ("abort", OnFailure::Abort)];
        match at.node.raw() {
            led_to @ ("recovery" | "abort") if at_stop => {
                let what = format!("at the stop no failure leads to {}: the space ends all the same", quoted(led_to));
                self.fail(at, what, "write continue, or delete the field");
                None
            }
            _ => self.choice(at, if at_stop { &words[..1] } else { &words }, &[]),
        }
    }

    /// The one key that says what the step does.
    fn kind(&mut self, fields: &Fields<'_>) -> Option<StepKind> {
        let written: Vec<_> = fields.entries.iter().filter(|entry| KINDS.contains(&entry.key.as_str())).collect();
        let at = match written.as_slice() {
            [one] => fields.at.child(one),
            [] => {
                let planned = fields.entries.iter().any(|entry| PLANNED_KINDS.contains(&entry.key.as_str()));
                if !planned && !KINDS.iter().any(|kind| fields.misspelt(kind)) {
                    let remedy =
                        "say what the step does: `run: a script`, `git: { url: … }` or `python: { packages: […] }`";
                    self.fail(&fields.at, "the step does nothing", remedy);
                }
                return None;
            }
            [first, second, ..] => {
                let what = format!("a step does one thing, but this one has `{}` and `{}`", first.key, second.key);
                let remedy = "make two steps of it; let the second one need the first";
                self.fail_at(second.place, &fields.at.join(&second.key), what, remedy);
                // Their insides are looked at too.
                for entry in written {
                    self.one_kind(&entry.key, fields.at.child(entry));
                }
                return None;
            }
        };
        self.one_kind(&written[0].key, at)
    }

    fn one_kind(&mut self, key: &str, at: At<'_>) -> Option<StepKind> {
        match key {
            "run" => self.script(&at),
            "git" => self.git(at),
            _ => self.python(at),
        }
    }

    fn script(&mut self, at: &At<'_>) -> Option<StepKind> {
        if let Value::List(_) = at.node.value {
            let remedy = "write the script as text: `run: |` and its lines below, indented";
            self.fail(at, "`run` is a shell script, but here is a list", remedy);
            return None;
        }
        let text = self.text(at)?;
        if text.trim().is_empty() {
            self.fail(at, "the script is empty", "write `run: |` and the script's lines below, indented");
            return None;
        }
        Some(StepKind::Run(text.to_owned()))
    }

    fn git(&mut self, at: At<'_>) -> Option<StepKind> {
        let fields = self.fields(at, &[&GIT])?;
        let url = self.required(&fields, "url", "write the repository's address: url: \"https://host/path.git\"");
        let url = url.and_then(|at| Some((at.clone(), self.formed(&at, form::git_url)?)));
        let r#ref = fields.get("ref").and_then(|at| self.formed(&at, form::git_ref)).map(str::to_owned);
        let into = match fields.get("into") {
            Some(at) => self.formed(&at, form::below_home).map(PathBuf::from),
            None => url.as_ref().and_then(|(at, url)| {
                let folder = clone_folder(url).map(PathBuf::from);
                if folder.is_none() {
                    self.fail(at, "this URL doesn't say how to call the folder", "name the folder: `into: folder`");
                }
                folder
            }),
        };
        Some(StepKind::Git { url: url?.1.to_owned(), r#ref, into: into? })
    }

    fn python(&mut self, at: At<'_>) -> Option<StepKind> {
        let short = match &at.node.value {
            Value::Scalar { text, .. } if text.ends_with(".txt") => {
                Some(format!("{{ requirements: {} }}", printable(text)))
            }
            Value::Scalar { text, .. } if !at.node.is_null() => Some(format!("{{ packages: {} }}", as_list(text))),
            Value::List(_) => Some("{ packages: [ … ] }".to_owned()),
            _ => None,
        };
        if let Some(short) = short {
            let what = format!("`python` is a mapping, but here is {}", at.node.describe());
            self.fail(&at, what, format!("write python: {short}"));
            return None;
        }
        let fields = self.fields(at, &[&PYTHON])?;
        let says = |key| fields.entry(key).is_some() || fields.misspelt(key);
        if !says("requirements") && !says("packages") {
            let remedy = "write `packages: [ … ]`, `requirements: requirements.txt`, or both";
            self.fail(&fields.at, "this step installs nothing", remedy);
        }
        let requirements = fields.get("requirements").and_then(|at| self.formed(&at, form::below_home));
        let packages = fields.get("packages").map_or(Some(Vec::new()), |at| self.packages(&at));
        let environment = match fields.get("environment") {
            Some(at) => self.formed(&at, form::below_home),
            None => Some(".venv"),
        };
        Some(StepKind::Python(Python {
            requirements: requirements.map(PathBuf::from),
            packages: packages?,
            environment: PathBuf::from(environment?),
        }))
    }

    fn packages(&mut self, at: &At<'_>) -> Option<Vec<String>> {
        let packages = self.texts(at, form::package)?;
        if packages.is_empty() {
            self.fail(at, "the list of packages is empty", "name a package, or delete the field");
        }
        let plain = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        for (index, item) in self.items(at, ITEMS)?.iter().enumerate() {
            let words: Vec<&str> = packages[index].split_whitespace().collect();
            if words.len() > 1 && words.iter().all(|word| plain(word)) {
                let what = format!("{} looks like {} packages", quoted(&packages[index]), words.len());
                self.fail(item, what, format!("put a comma between them: [{}]", words.join(", ")));
            }
        }
        Some(packages)
    }

    fn needs(&mut self, at: &At<'_>) -> Vec<(Spot, String)> {
        let items = self.items(at, STEPS).unwrap_or_default();
        let name = |item: &At<'_>, text: &str| ((item.place, item.field.clone()), text.to_owned());
        items.iter().filter_map(|item| Some(name(item, self.formed(item, form::name)?))).collect()
    }

    fn unique_step_names(&mut self, written: &[Written]) -> HashSet<String> {
        let mut first: HashMap<&str, Place> = HashMap::new();
        for Written { step, name, .. } in written {
            if let Some(earlier) = first.get(step.name.as_str()) {
                let what = format!("two steps are named {}, the first in line {}", quoted(&step.name), earlier.line);
                self.fail_at(name.0, &name.1, what, "give each step a name of its own");
            } else {
                first.insert(&step.name, name.0);
            }
        }
        first.into_keys().map(str::to_owned).collect()
    }

    fn known_needs(&mut self, written: &[Written], names: &HashSet<String>) {
        for ((place, field), need) in written.iter().flat_map(|written| &written.needs) {
            if names.contains(need) {
                continue;
            }
            let mut known: Vec<&str> = written.iter().map(|other| other.step.name.as_str()).collect();
            known.dedup();
            let remedy = match nearest(need, known.iter().copied()) {
                Some(word) => format!("did you mean {}?", quoted(word)),
                None => format!("the steps are {}", known.join(", ")),
            };
            self.fail_at(*place, field, format!("there is no step {} to need", quoted(need)), remedy);
        }
    }

    /// What runs at the start is over at the stop, and cannot wait for it.
    fn needs_of_one_moment(&mut self, written: &[Written]) {
        for Written { step, on, needs, .. } in written {
            for ((place, field), need) in needs {
                let needed = written.iter().find(|other| other.step.name == *need);
                let (remedy, when, then) = match (on, needed.and_then(|needed| needed.on)) {
                    (Some(Moment::Start), Some(Moment::Stop)) => {
                        ("delete this need, or write `on: stop` here too", "start", "stop")
                    }
                    (Some(Moment::Stop), Some(Moment::Start)) => {
                        ("delete this need: what runs at the start comes first anyhow", "stop", "start")
                    }
                    _ => continue,
                };
                let (own, need) = (quoted(&step.name), quoted(need));
                let what = format!("{own} runs at the {when} and can't need {need}, which runs at the {then}");
                self.fail_at(*place, field, what, remedy);
            }
        }
    }

    /// Steps that the apps wait for first, every step after the ones it needs, otherwise as written. Steps that need
    /// each other are named.
    fn in_order(&mut self, mut waiting: Vec<Written>) -> Vec<Step> {
        let names: HashSet<String> = waiting.iter().map(|written| written.step.name.clone()).collect();
        let mut done: HashSet<String> = HashSet::new();
        let mut ordered = Vec::new();
        while !waiting.is_empty() {
            let ready =
                |written: &Written| written.step.needs.iter().all(|need| done.contains(need) || !names.contains(need));
            let next = waiting.iter().position(ready).unwrap_or_else(|| self.name_the_cycle(&waiting));
            let step = waiting.remove(next).step;
            done.insert(step.name.clone());
            ordered.push(step);
        }
        awaited_first(ordered)
    }

    /// Among steps that all wait: follows the first one's needs until they come back, and says so. The index of a step
    /// in the cycle, which counts as done from here, so that further cycles are found.
    fn name_the_cycle(&mut self, waiting: &[Written]) -> usize {
        let index_of = |name: &str| waiting.iter().position(|written| written.step.name == name);
        let next = |index: usize| waiting[index].needs.iter().find_map(|(spot, need)| Some((spot, index_of(need)?)));
        let mut path: Vec<(usize, &Spot)> = Vec::new();
        let mut index = 0;
        while !path.iter().any(|(seen, _)| *seen == index) {
            let Some((spot, following)) = next(index) else { return index };
            path.push((index, spot));
            index = following;
        }
        let mut cycle: Vec<_> = path.into_iter().skip_while(|(seen, _)| *seen != index).collect();
        let first = cycle.iter().enumerate().min_by_key(|(_, (index, _))| *index).map_or(0, |(turn, _)| turn);
        cycle.rotate_left(first);
        let (start, (place, field)) = cycle[0];
        let mut names: Vec<&str> = cycle.iter().map(|(index, _)| waiting[*index].step.name.as_str()).collect();
        names.push(names[0]);
        let what = match names.as_slice() {
            [own, _] => format!("the step {} needs itself", quoted(own)),
            names => format!("these steps wait for each other: {}", names.join(" -> ")),
        };
        self.fail_at(*place, field, what, "delete one of these needs");
        start
    }
}
