//! What becomes of several apps in one document.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use space_lifecycle::{Mode, Start, plan, read};

#[test]
fn each_app_of_several_has_its_own_name_base_path_and_start() {
    let text = include_str!("good/several-apps.yaml");
    let planned = |text: &str| {
        let apps = plan::boot_plan(&read(text, "space.yaml", Mode::Check).unwrap().space).apps;
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
