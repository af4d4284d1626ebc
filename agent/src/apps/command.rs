//! Any command that serves HTTP.
//!
//! It listens where the document says: on a port of 127.0.0.1 (also in `$PORT`), on a socket in the home, or on our own
//! one (`$SPACE_AGENT_APP_SOCKET`).

use super::{Definition, Place, Program, Ready, join_base, own_socket};
use crate::model::route;
use crate::model::traffic::Rules;
use crate::sys::files::on_path;
use space_lifecycle::{App, Command, Upstream};
use std::path::PathBuf;

pub(super) fn definition(app: &App, kind: &Command, place: &Place) -> Definition {
    let mut env = place.base_env.clone();
    let upstream = match &kind.upstream {
        Upstream::Port(port) => {
            env.insert("PORT".into(), port.to_string());
            route::Upstream::Port(*port)
        }
        Upstream::Socket(path) => route::Upstream::Unix(place.home.join(path)),
        Upstream::Own | Upstream::Any => {
            let socket = own_socket(&app.name, &place.run_folder);
            env.insert("SPACE_AGENT_APP_SOCKET".into(), socket.display().to_string());
            route::Upstream::Unix(socket)
        }
    };
    env.extend(app.env.clone());
    let base_path = join_base(&place.front_base, &app.base_path);
    let seen_base = if kind.strip_base_path { "/" } else { &base_path };
    let (name, args) = kind.command.split_first().map_or(("", &[][..]), |(name, args)| (name.as_str(), args));
    // As a shell in the home folder would understand it.
    let candidates = if name.contains('/') { vec![place.home.join(name)] } else { on_path(name, env.get("PATH")) };
    Definition {
        name: app.name.clone(),
        label: app.name.clone(),
        program: Program { name: name.into(), candidates, remedy: "install it, or correct `command`".into() },
        args: args.to_vec(),
        other_args: Vec::new(),
        env,
        folder: PathBuf::from(&place.home),
        account: place.account.clone(),
        ready: Ready { path: join_base(seen_base, &kind.ready_path), below: 500 },
        base_path,
        strip_base_path: kind.strip_base_path,
        upstream,
        farewell: None,
        kernels: false,
        rules: &Rules::UNKNOWN,
        opens: route::Opens::Nothing,
    }
}
