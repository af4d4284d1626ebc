//! Every good and every bad document: the exact messages, and that decoder and schema agree.
//!
//! `bad/*.yaml` are mistakes that people make; `bad/*.txt` beside them are what they read then, word for word.
//! `UPDATE_SNAPSHOTS=1` rewrites these; a change of a message is then a diff to be read.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use space_lifecycle::{
    Action, AppKind, Blocks, Mistakes, Mode, Moment, OnFailure, Read, SignIn, Space, Start, Upstream, command_space,
    default_space, plan, read, salvage, schema, to_json,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

/// Bad documents that the schema accepts or never sees, each with the reason.
const DECODER_ONLY: &[(&str, &str)] = &[
    ("app-names-twice", "unique names: a schema can't compare items"),
    ("idle-notice-too-long", "one duration against another"),
    ("needs-cycle", "the steps as a graph"),
    ("needs-unknown", "a name against the names of the steps"),
    ("open-to-all", "one field against another"),
    ("python-packages-in-one", "two package names without a comma are a guess about meaning"),
    ("durations-beyond-a-year", "a pattern can't compare numbers across units"),
    ("app-base-paths-overlap", "one base path against another"),
    ("app-name-is-reserved", "the path that follows from a name"),
    ("git-folder-unnamed", "the folder that follows from a URL"),
    ("step-names-twice", "unique names: a schema can't compare items"),
    ("app-backoff-turned", "one duration against another"),
    ("step-start-needs-stop", "a name against the moment of another step"),
    ("step-stop-needs-cycle", "the steps as a graph"),
    ("step-stop-needs-start", "a name against the moment of another step"),
    ("empty", "not a document: there is no tree to check"),
    ("shell-script", "not a document: there is no tree to check"),
    ("yaml-alias-bomb", "what aliases copy is unfolded before a schema sees it"),
    ("yaml-at-sign", "not YAML: there is no tree to check"),
    ("yaml-backslash", "not YAML: there is no tree to check"),
    ("yaml-colon-in-script", "not YAML: there is no tree to check"),
    ("yaml-dedent", "not YAML: there is no tree to check"),
    ("yaml-duplicate-key", "JSON has no key twice"),
    ("yaml-glob-as-alias", "not YAML: there is no tree to check"),
    ("yaml-indentation", "not YAML: there is no tree to check"),
    ("yaml-merge-key", "merge keys are YAML's, JSON has none"),
    ("yaml-no-space-after-colon", "not YAML: there is no tree to check"),
    ("yaml-package-with-extras", "not YAML: there is no tree to check"),
    ("yaml-recursive-alias", "JSON has no aliases"),
    ("yaml-tab", "not YAML: there is no tree to check"),
    ("yaml-tag", "JSON has no tags"),
    ("yaml-too-deep", "depth is bounded before a schema sees the tree"),
    ("yaml-two-documents", "JSON has one document"),
    ("yaml-unclosed-list", "not YAML: there is no tree to check"),
    ("yaml-unclosed-quote", "not YAML: there is no tree to check"),
    ("yaml-unknown-alias", "not YAML: there is no tree to check"),
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Name (without extension) to text of every `.yaml` in a folder.
fn documents(name: &str) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    let yaml = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    yaml.map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()))
        .collect()
}

fn good_documents() -> BTreeMap<String, String> {
    documents("tests/good").into_iter().chain(documents("configs")).collect()
}

fn check(text: &str) -> Result<Read, Mistakes> {
    read(text, "space.yaml", Mode::Check)
}

fn validator() -> &'static jsonschema::Validator {
    static VALIDATOR: LazyLock<jsonschema::Validator> =
        LazyLock::new(|| jsonschema::draft202012::new(&schema()).unwrap());
    &VALIDATOR
}

#[test]
fn every_bad_document_has_its_exact_messages() {
    let update = std::env::var_os("UPDATE_SNAPSHOTS").is_some();
    let bad = documents("tests/bad");
    assert!(bad.len() >= 40);
    let mut wrong = Vec::new();
    for (name, text) in &bad {
        let said = match read(text, &format!("{name}.yaml"), Mode::Check) {
            Ok(_) => panic!("{name}.yaml is accepted"),
            Err(mistakes) => format!("{mistakes}\n"),
        };
        let file = folder("tests/bad").join(format!("{name}.txt"));
        if update {
            fs::write(&file, &said).unwrap();
        } else if fs::read_to_string(&file).unwrap_or_default() != said {
            wrong.push(format!("--- {name}.txt should now be:\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n(UPDATE_SNAPSHOTS=1 rewrites them)", wrong.join("\n"));
}

#[test]
fn a_bad_document_is_bad_in_run_mode_too() {
    for (name, text) in documents("tests/bad") {
        let newer = name.contains("newer-in-check");
        assert_eq!(read(&text, "space.yaml", Mode::Run).is_ok(), newer, "{name}");
    }
}

#[test]
fn every_good_document_is_accepted_by_decoder_and_schema() {
    let good = good_documents();
    let validator = validator();
    assert!(good.len() >= 12);
    for (name, text) in good {
        check(&text).unwrap_or_else(|mistakes| panic!("{name}: {mistakes}"));
        read(&text, "space.yaml", Mode::Run).unwrap();
        let json = to_json(&text, "space.yaml").unwrap();
        let refused: Vec<String> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(refused.is_empty(), "the schema refuses {name}: {refused:?}");
    }
}

#[test]
fn the_schema_refuses_every_mistake_of_form() {
    let validator = validator();
    let decoder_only: BTreeMap<_, _> = DECODER_ONLY.iter().copied().collect();
    let bad = documents("tests/bad");
    for (name, text) in &bad {
        let refused = to_json(text, "space.yaml").is_ok_and(|json| !validator.is_valid(&json));
        let expected = !decoder_only.contains_key(name.as_str());
        assert_eq!(refused, expected, "{name}: refused by the schema: {refused}, expected: {expected}");
    }
    let known: BTreeSet<&str> = bad.keys().map(String::as_str).collect();
    for (name, reason) in DECODER_ONLY {
        assert!(known.contains(name), "there is no {name}.yaml ({reason})");
    }
}

/// One slip at a time, where a document with several would hide that the schema misses one.
#[test]
fn decoder_and_schema_agree_on_single_fields() {
    let validator = validator();
    let agree = |text: &str| {
        let json = to_json(text, "space.yaml").unwrap();
        assert_eq!(check(text).is_ok(), validator.is_valid(&json), "{text}\n{:?}", check(text).err());
    };
    let values = [
        "~",
        "1",
        "0",
        "-1",
        "1.5",
        "true",
        "text",
        "''",
        "[]",
        "{}",
        "[a]",
        "{ a: b }",
        "5m",
        "0s",
        "05m",
        "600s",
        "601s",
        "11m",
        "10m",
        "never",
        "a b",
        "/",
        "/a/",
        "a/",
        "//",
        "/a//b/",
        "/./",
        "..",
        "a/../b",
        "./a",
        "a/..b",
        "/etc",
        "~/a",
        ".",
        "./",
        ".space-agent",
        "./.space-agent/x",
        "a/.space-agent",
        "app",
        "start",
        "stop",
        "continue",
        "recovery",
        "10ms",
        "9ms",
        "999ms",
        "1000ms",
        "600000ms",
        "600001ms",
        "3600000ms",
        "3600001ms",
        "3600s",
        "3601s",
        "60m",
        "61m",
        "1h",
        "2h",
        "1s..60s",
        "10ms..1h",
        "9ms..1h",
        "1s..2h",
        "1s..",
        "..1s",
        "1s...2s",
        "1s..2s..3s",
        "'1s .. 2s'",
        "1..2",
        "63",
        "64",
        "15",
        "16",
        "1000",
        "1001",
        "100000",
        "100001",
        "1000000000",
        "1000000001",
        "token",
        "open",
        "exit",
        "shared",
        "image",
        "'1'",
        "'1.0'",
        "'1.01'",
        "'2.0'",
        "'1.'",
        "65536",
        "'127.0.0.1:1'",
        "'127.0.0.1:65536'",
        "'::1:1'",
        "'[::1]:1'",
        "'1.2.3:4'",
        "'01.2.3.4:5'",
        "'127.0.0.1:080'",
        "'https://a'",
        "'https://a/'",
        "'a:b'",
        "'a::b'",
        "'a://b'",
        "'-a'",
        "'A_B'",
        "'a-'",
        "'a.git'",
        "'x@y:z'",
        "'x@-y:z'",
        "[run]",
        "['']",
        "[1]",
        "['a', '']",
        "{ command: [a] }",
        "{ path: /a }",
        "{ max: 3 }",
        "{ A: a }",
        "{ A-B: a }",
        "{ SPACE_AGENT_X: a }",
        "{ url: a/b }",
        "{ packages: [a] }",
        "{ directory: a }",
        "\"a\\nb\"",
        "\"a\\x01b\"",
        "\"a\\0b\"",
        "\"a\\x7fb\"",
        "[\"a\\0b\"]",
    ];
    for field in ["version", "apps", "space", "user", "storage", "lifecycle", "idle", "front_door", "stop", "agent"] {
        for value in values {
            let version = if field == "version" { "" } else { "version: 1\n" };
            agree(&format!("{version}{field}: {value}\n"));
        }
    }
    let parents = [
        ("space", "", &["name", "domain", "owner", "sharing"][..]),
        ("user", "uid: 1, ", &["name", "gid", "home", "sudo"]),
        ("storage", "", &["home"]),
        ("idle", "shutdown: never, ", &["notice"]),
        ("idle", "", &["shutdown", "action", "kernels", "blind_after", "lease_max"]),
        ("front_door", "", &["listen", "base_path", "sign_in", "hosts", "origins", "tls", "access_log"]),
        ("stop", "", &["deadline"]),
        ("agent", "", &["restart", "log_apps"]),
    ];
    for (parent, rest, fields) in parents {
        for (field, value) in fields.iter().flat_map(|field| values.map(|value| (field, value))) {
            agree(&format!("version: 1\n{parent}: {{ {rest}{field}: {value} }}\n"));
        }
    }
    let items = [
        (
            "lifecycle: { steps: [{ name: n, run: a, FIELD: VALUE }] }",
            &["on", "blocks", "timeout", "on_failure", "env"][..],
        ),
        ("lifecycle: { steps: [{ name: n, run: a, on: stop, FIELD: VALUE }] }", &["blocks", "timeout", "on_failure"]),
        ("lifecycle: { steps: [{ name: n, FIELD: VALUE }] }", &["run", "git", "python"]),
        ("lifecycle: { steps: [{ run: a, FIELD: VALUE }] }", &["name"]),
        ("lifecycle: { steps: [{ name: n, git: { url: a/b, FIELD: VALUE } }] }", &["ref", "into"]),
        ("lifecycle: { steps: [{ name: n, git: { into: f, FIELD: VALUE } }] }", &["url"]),
        ("lifecycle: { steps: [{ name: n, python: { FIELD: VALUE } }] }", &["packages", "requirements", "environment"]),
        ("apps: [{ kind: jupyterlab, FIELD: VALUE }]", &["name", "base_path", "env", "environment", "port"]),
        ("apps: [{ kind: jupyterlab, FIELD: VALUE }]", &["ready", "restart", "live", "limits"]),
        ("apps: [{ kind: jupyterlab, ready: { FIELD: VALUE } }]", &["path", "deadline"]),
        ("apps: [{ kind: jupyterlab, restart: { FIELD: VALUE } }]", &["max", "within", "backoff"]),
        ("apps: [{ kind: command, command: [a], ready: { FIELD: VALUE } }]", &["path", "deadline"]),
        ("apps: [{ kind: command, command: [a], live: { FIELD: VALUE } }]", &["path", "every", "failures"]),
        ("apps: [{ kind: command, command: [a], limits: { FIELD: VALUE } }]", &["open_files", "processes"]),
        ("apps: [{ kind: command, FIELD: VALUE }]", &["command"]),
        ("apps: [{ kind: command, command: [a], FIELD: VALUE }]", &["port", "socket", "strip_base_path", "ready"]),
        ("agent: { restart: { FIELD: VALUE } }", &["max", "within"]),
        ("front_door: { tls: { cert: a, FIELD: VALUE } }", &["key"]),
        ("front_door: { tls: { key: a, FIELD: VALUE } }", &["cert"]),
        ("front_door: { tls: { FIELD: VALUE } }", &["cert", "key"]),
    ];
    for (text, fields) in items {
        for (field, value) in fields.iter().flat_map(|field| values.map(|value| (field, value))) {
            agree(&format!("version: 1\n{}\n", text.replace("FIELD", field).replace("VALUE", value)));
        }
    }
}

#[test]
fn no_document_is_jupyterlab_yaml_that_only_observes() {
    let text = &documents("configs")["jupyterlab"];
    let mut written = check(text).unwrap();
    assert_eq!(written.warnings, []);
    written.space.idle.action = Action::Observe;
    assert_eq!(written.space, default_space());
}

#[test]
fn steps_that_the_apps_wait_for_come_first_each_after_what_it_needs_and_otherwise_as_written() {
    let space = check(&good_documents()["steps-out-of-order"]).unwrap().space;
    let names: Vec<&str> = space.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["data", "deps", "train", "report"]);
    let planned: Vec<String> = plan::boot_plan(&space).steps.into_iter().map(|step| step.name).collect();
    assert_eq!(planned, names);
}

#[test]
fn steps_of_the_stop_come_last_and_nothing_waits_for_them() {
    let space = check(&good_documents()["stop-steps"]).unwrap().space;
    let steps: Vec<_> = space.steps.iter().map(|step| (step.name.as_str(), step.on, step.blocks)).collect();
    let stop = |name| (name, Moment::Stop, Blocks::Nothing);
    assert_eq!(steps, [("deps", Moment::Start, Blocks::App), stop("push"), stop("tell")]);
    let ends: Vec<_> = space.steps.iter().map(|step| (step.timeout.as_secs(), step.on_failure)).collect();
    assert_eq!(ends, [(600, OnFailure::Recovery), (5, OnFailure::Continue), (60, OnFailure::Continue)]);
    let awaited: Vec<bool> = plan::boot_plan(&space).steps.iter().map(|step| step.apps_wait).collect();
    assert_eq!(awaited, [true, false, false]);
}

#[test]
fn what_an_app_is_not_told_about_its_running_is_as_usual() {
    let apps = check(&good_documents()["supervision"]).unwrap().space.apps;
    let ready: Vec<u64> = apps.iter().map(|app| app.ready_deadline.as_secs()).collect();
    assert_eq!(ready, [300, 120, 500]);
    let restarts = apps.iter().map(|app| &app.restart);
    let restarts: Vec<_> = restarts
        .map(|restart| {
            (restart.max, restart.within.as_secs(), restart.first_wait.as_millis(), restart.longest_wait.as_secs())
        })
        .collect();
    assert_eq!(restarts, [(3, 600, 100, 30), (0, 300, 1000, 60), (5, 300, 2000, 2)]);
    let live = apps.iter().filter_map(|app| app.live.as_ref());
    let live: Vec<_> = live.map(|live| (live.path.as_str(), live.every.as_secs(), live.failures)).collect();
    assert_eq!(live, [("/api", 30, 5), ("/alive", 60, 3), ("/healthz", 30, 1)]);
    let limits: Vec<_> = apps.iter().map(|app| (app.limits.open_files, app.limits.processes)).collect();
    assert_eq!(limits, [(Some(4096), Some(512)), (None, None), (None, None)]);
}

#[test]
fn each_app_of_several_has_its_own_name_base_path_and_start() {
    let text = &good_documents()["several-apps"];
    let planned = |text: &str| {
        let apps = plan::boot_plan(&check(text).unwrap().space).apps;
        let rows = apps.into_iter().map(|app| (app.name, app.path, app.start == Start::OnDemand));
        rows.map(|(name, path, later)| format!("{name} {path} {later}")).collect::<Vec<_>>()
    };
    let expected = [
        "default /codeeditor/default/ false",
        "jupyterlab /jupyterlab/default/ true",
        "dashboard /dashboard/ true",
        "command /command/ false",
    ];
    assert_eq!(planned(text), expected);
    // The platform's path is the first app's own; the others are below it.
    let below = format!("{text}front_door: {{ base_path: /user/alice/ }}\n");
    let expected = [
        "default /user/alice/ false",
        "jupyterlab /user/alice/jupyterlab/default/ true",
        "dashboard /user/alice/dashboard/ true",
        "command /user/alice/command/ false",
    ];
    assert_eq!(planned(&below), expected);
}

#[test]
fn a_command_of_the_command_line_takes_the_place_of_the_apps() {
    let base = check(&good_documents()["everything"]).unwrap().space;
    let space = command_space(vec!["streamlit".into(), "run".into()], base.clone());
    let app = &space.apps[0];
    assert_eq!((space.apps.len(), app.name.as_str(), app.base_path.as_str()), (1, "app", "/"));
    let AppKind::Command(command) = &app.kind else { panic!("{app:?}") };
    assert_eq!((command.command.join(" "), &command.upstream), ("streamlit run".to_owned(), &Upstream::Any));
    assert_eq!(Space { apps: base.apps.clone(), ..space }, base);
}

#[test]
fn a_space_that_an_older_agent_stored_is_read_with_what_was_usual_then() {
    let space = default_space();
    let mut stored = serde_json::to_value(&space).unwrap();
    let app = stored["apps"][0].as_object_mut().unwrap();
    app.retain(|field, _| !["ready_deadline", "restart", "live", "limits"].contains(&field.as_str()));
    stored["steps"][0].as_object_mut().unwrap().remove("on");
    stored["agent"].as_object_mut().unwrap().remove("log_apps");
    assert_eq!(serde_json::from_value::<Space>(stored).unwrap(), space);
}

#[test]
fn the_document_in_the_readme_is_valid() {
    let readme = fs::read_to_string(folder("../README.md")).unwrap();
    let text = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let read = check(text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(read.warnings, []);
}

#[test]
fn the_notice_is_five_minutes_or_a_quarter_of_a_short_timeout() {
    let notice =
        |shutdown| check(&format!("version: 1\napps: []\nidle: {{ shutdown: {shutdown} }}")).unwrap().space.idle.notice;
    assert_eq!(notice("60m"), Duration::from_secs(300));
    assert_eq!(notice("8m"), Duration::from_secs(120));
    assert_eq!(notice("never"), Duration::from_secs(300));
}

#[test]
fn below_a_base_path_the_first_app_owns_it() {
    let space = check(&good_documents()["below-a-base-path"]).unwrap().space;
    let apps: Vec<_> = space.apps.iter().map(|app| (app.name.as_str(), app.base_path.as_str())).collect();
    assert_eq!(apps, [("default", "/"), ("second", "/second/"), ("command", "/command/")]);
    let paths: Vec<_> = plan::boot_plan(&space).apps.into_iter().map(|app| app.path).collect();
    assert_eq!(paths, ["/notebook/team/alice/", "/notebook/team/alice/second/", "/notebook/team/alice/command/"]);
}

#[test]
fn an_older_agent_drops_a_newer_field_with_a_warning_and_only_where_that_is_harmless() {
    let text =
        "version: \"1.4\"\napps: [{ kind: jupyterlab, gpu: 1 }]\nidle: { grace: 5m }\nhibernate: { after: 2h }\n";
    let dropped = read(text, "space.yaml", Mode::Run).unwrap();
    let fields: Vec<&str> = dropped.warnings.iter().map(|warning| warning.field.as_str()).collect();
    assert_eq!(fields, ["apps[0].gpu", "idle.grace", "hibernate"]);
    assert_eq!(check(text).unwrap_err().mistakes.len(), 3);
    let refused = |field: &str| {
        let text = format!("version: \"1.4\"\napps: []\n{field}\n");
        assert!(read(&text, "space.yaml", Mode::Run).is_err(), "{field}");
    };
    refused("front_door: { gate: open }");
    refused("storage: { home: { directory: ./home, format: if-blank } }");
    refused("storage: { home: { directory: ./home, wipe: true } }");
    refused("user: { name: alice, groups: [docker] }");
    refused("locked: [idle.shutdown]");
    assert!(read("version: 1\napps: []\nhibernate: {}\n", "space.yaml", Mode::Run).is_err());
}

#[test]
fn what_is_allowed_and_hardly_meant_is_warned_of() {
    let warnings = |text: &str| {
        let warnings = check(text).unwrap().warnings;
        warnings.into_iter().map(|warning| format!("{}: {}", warning.what, warning.remedy)).collect::<Vec<_>>()
    };
    assert_eq!(
        warnings("version: 1\n"),
        ["the document has no app, so there will be nothing to open: \
          add `apps: [{ kind: jupyterlab }]`, or `apps: []` if none is meant"]
    );
    let late = "version: 1\nlifecycle: { steps: [{ name: deps, python: { packages: [jupyterlab] } }] }\n\
                apps: [{ kind: jupyterlab, environment: .venv }]\n";
    assert_eq!(
        warnings(late),
        ["the app \"default\" starts from an environment that it doesn't wait for: \
          add `blocks: app` to the step \"deps\""]
    );
}

#[test]
fn a_boot_plan_reads_well() {
    let space = check(&good_documents()["everything"]).unwrap().space;
    let said = plan::boot_plan(&space).to_string();
    snapshot("tests/boot-plan.txt", &said);
}

fn snapshot(file: &str, said: &str) {
    let path = folder(file);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, format!("{said}\n")).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap_or_default(),
        format!("{said}\n"),
        "UPDATE_SNAPSHOTS=1 rewrites {file}"
    );
}

#[test]
fn a_huge_document_is_refused_and_a_wrong_one_stays_short() {
    let huge = format!("version: 1\nx-pad: {}\n", "a".repeat(1 << 20));
    assert!(check(&huge).unwrap_err().mistakes[0].what.contains("bytes"));
    let wrong: String = (0..5000).map(|index| format!("field{index}: 1\n")).collect();
    let mistakes = check(&format!("version: 1\n{wrong}")).unwrap_err();
    assert_eq!((mistakes.mistakes.len(), mistakes.more), (100, 4900));
}

mod arbitrary {
    use super::*;
    use proptest::prelude::*;

    const ESCAPE: char = '\u{1b}';

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}", mode in prop_oneof![Just(Mode::Check), Just(Mode::Run)]) {
            let _ = read(&text, "space.yaml", mode).map_err(|mistakes| mistakes.to_string());
        }

        #[test]
        fn no_yaml_like_text_makes_it_panic(
            lines in prop::collection::vec("( {0,8})(- )?(version|apps|kind|run|steps|idle|[a-z&*!|>%@?]{1,4})?(:)?( )?([\\[\\]{}\",'#&*|>-]|1|5m|\t|é|\u{202e}){0,4}", 0..20),
        ) {
            let _ = read(&lines.join("\n"), "space.yaml", Mode::Check).map_err(|mistakes| mistakes.to_string());
        }

        #[test]
        fn of_any_damaged_document_a_space_with_one_app_is_salvaged_and_no_door_opens_by_itself(
            which in 0..1000_usize,
            flips in prop::collection::vec((0..4000_usize, 1..=255_u8), 0..4),
            kept in prop_oneof![Just(usize::MAX), 0..4000_usize],
        ) {
            let good: Vec<String> = good_documents().into_values().collect();
            let mut bytes = good[which % good.len()].clone().into_bytes();
            for (at, flipped) in flips {
                let at = at % bytes.len();
                bytes[at] ^= flipped;
            }
            bytes.truncate(kept);
            let text = String::from_utf8_lossy(&bytes);
            let salvage = salvage(&text, "space.yaml");
            let space = &salvage.space;
            prop_assert!(space.steps.is_empty() && space.apps.len() == 1);
            let open = space.front_door.sign_in == SignIn::Open;
            prop_assert!(!open || space.front_door.listen.ip().is_loopback());
            match read(&text, "space.yaml", Mode::Run) {
                Err(mistakes) => {
                    let slip = |section: &str| mistakes.mistakes.iter().any(|mistake| mistake.field.starts_with(section));
                    prop_assert!(!(open && slip("front_door")), "{text}");
                    prop_assert!(space.user.is_none() || !slip("user"), "{text}");
                    prop_assert!(space.home.is_none() || !slip("storage"), "{text}");
                    prop_assert_eq!(salvage.mistakes, mistakes);
                }
                Ok(Read { space: whole, .. }) => {
                    prop_assert!(salvage.mistakes.mistakes.is_empty());
                    let app = whole.apps.first().unwrap_or(&space.apps[0]).clone();
                    prop_assert_eq!(space, &Space { steps: Vec::new(), apps: vec![app], ..whole });
                }
            }
        }

        #[test]
        fn no_slip_in_a_good_document_makes_it_panic(
            which in 0..1000_usize,
            edits in prop::collection::vec((0..4000_usize, 0..6_usize, "[ -~\n\t]{0,6}|é|\u{1b}"), 1..4),
        ) {
            let good: Vec<String> = good_documents().into_values().collect();
            let mut text: Vec<char> = good[which % good.len()].chars().collect();
            for (at, removed, inserted) in edits {
                let start = at % (text.len() + 1);
                let end = (start + removed).min(text.len());
                text.splice(start..end, inserted.chars());
            }
            let text: String = text.into_iter().collect();
            match check(&text) {
                Ok(read) => {
                    let _ = plan::boot_plan(&read.space).to_string();
                    let json = to_json(&text, "space.yaml").unwrap();
                    prop_assert!(validator().is_valid(&json), "the decoder accepts what the schema refuses:\n{text}");
                }
                Err(mistakes) => {
                    prop_assert!(!mistakes.mistakes.is_empty());
                    for mistake in &mistakes.mistakes {
                        prop_assert!(mistake.line >= 1 && mistake.column >= 1 && !mistake.remedy.is_empty());
                    }
                    prop_assert!(!mistakes.to_string().contains(ESCAPE), "an escape reaches the terminal");
                }
            }
        }
    }
}
