//! The routes. Each handler parses, checks its right, and answers from the status or asks the hall.

use super::api::{
    LeaseRequest, LogQuery, ProblemDocument, RestartRequest, SignInAnswer, SignInRequest, StartRequest, StatusQuery,
    StopRequest,
};
use super::ask::ask;
use super::boots::Boots;
use super::extract::{Caller, Document, Name, Params};
use super::log::{Follow, Logs, Of};
use super::metrics::{self, Counters};
use super::problem::Problem;
use super::rights::Right;
use super::{Request, api};
use crate::errand::Errands;
use crate::model::record::Record;
use crate::model::status::{ActivityStatus, AppStatus, LeaseStatus, Status, StepStatus};
use crate::sys::stop::Stop;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The status is sent to a watcher at most this often; changes in between come as one.
const WATCH_PAUSE: Duration = Duration::from_millis(100);

/// What handlers know.
#[derive(Debug)]
pub(super) struct Room {
    status: watch::Receiver<Arc<Status>>,
    requests: mpsc::Sender<Request>,
    logs: Logs,
    boots: Boots,
    counters: Counters,
    stop: Stop,
}

impl Room {
    pub(super) fn new(
        status: watch::Receiver<Arc<Status>>,
        requests: mpsc::Sender<Request>,
        log_folder: PathBuf,
        errands: Errands,
        counters: Counters,
        stop: Stop,
    ) -> Arc<Room> {
        Arc::new(Room { status, requests, logs: Logs::new(log_folder), boots: Boots::new(errands), counters, stop })
    }

    fn status(&self) -> Arc<Status> {
        self.status.borrow().clone()
    }

    /// `there`: what this run has.
    async fn log(&self, of: Of, there: &[&str], query: LogQuery) -> Result<Response, Problem> {
        let body = match query.boot {
            Some(_) if query.follow => return Err(Problem::bad_request("an earlier run says nothing more: no follow")),
            Some(back) => Body::from(self.boots.log(&self.status().boot, back, &of, query.tail).await?),
            None => {
                known(&of, there)?;
                let follow = query.follow.then(|| Follow { status: self.status.clone(), stop: self.stop.clone() });
                self.logs.body(of, query.tail, follow).await?
            }
        };
        Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
    }
}

type Answer<T> = Result<T, Problem>;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "space-agent control API",
        description = "What a space is doing and why, and how to keep, restart, stop and enter it. Served on the unix sockets \
            $RUN/user.sock and $RUN/admin/control.sock; the peer's uid decides: root and the agent's user operate, \
            the space's user reads, keeps, restarts, stops and signs in, everybody else gets 403. \
            Errors are RFC 9457 problem documents; times are RFC 3339 with milliseconds and Z."
    ),
    components(schemas(ProblemDocument))
)]
struct Info;

fn documented() -> OpenApiRouter<Arc<Room>> {
    OpenApiRouter::with_openapi(Info::openapi())
        .routes(routes!(status))
        .routes(routes!(activity))
        .routes(routes!(steps))
        .routes(routes!(step_log))
        .routes(routes!(apps))
        .routes(routes!(app_log))
        .routes(routes!(restart_app))
        .routes(routes!(boots))
        .routes(routes!(leases, take_lease))
        .routes(routes!(end_lease))
        .routes(routes!(start))
        .routes(routes!(stop))
        .routes(routes!(sign_in))
        .routes(routes!(openapi_json))
        .routes(routes!(metrics))
        .routes(routes!(livez))
        .routes(routes!(readyz))
}

/// The OpenAPI document of every route that is served.
pub fn openapi() -> utoipa::openapi::OpenApi {
    documented().into_openapi()
}

pub(super) fn router(room: Arc<Room>) -> axum::Router {
    let (router, _) = documented().split_for_parts();
    router.fallback(no_such_route).method_not_allowed_fallback(wrong_method).with_state(room)
}

async fn no_such_route(caller: Caller, uri: Uri) -> Problem {
    match caller.allow(Right::Read) {
        Ok(()) => Problem::not_found(format!("no route {}; GET /v1/openapi.json lists them", uri.path())),
        Err(problem) => problem,
    }
}

async fn wrong_method(caller: Caller, method: Method, uri: Uri) -> Problem {
    match caller.allow(Right::Read) {
        Ok(()) => Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method not allowed",
            format!("{} takes no {method}; GET /v1/openapi.json says what it takes", uri.path()),
        ),
        Err(problem) => problem,
    }
}

/// What the space is doing and why.
#[utoipa::path(get, path = "/v1/status", tag = "space", params(StatusQuery), responses(
    (status = 200, description = "The status; with `watch`, one per line (`application/jsonl`)", body = Status),
    (status = "default", description = "Why not", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn status(State(room): State<Arc<Room>>, caller: Caller, Params(query): Params<StatusQuery>) -> Answer<Response> {
    caller.allow(Right::Read)?;
    if !query.watch {
        return Ok(Json(&*room.status()).into_response());
    }
    let mut status = room.status.clone();
    status.mark_changed();
    let watcher = Watcher { status, stop: room.stop.clone() };
    let body = Body::from_stream(stream::unfold(watcher, Watcher::next));
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], body).into_response())
}

struct Watcher {
    status: watch::Receiver<Arc<Status>>,
    stop: Stop,
}

impl Watcher {
    /// The next status, as a line; `None` once the space stops. A status that came with the stop is still sent.
    async fn next(mut self) -> Option<(serde_json::Result<Bytes>, Watcher)> {
        // Cancel-safe: `changed` marks nothing as seen until it returns, and `wanted` holds nothing.
        let news = tokio::select! {
            biased;
            changed = self.status.changed() => changed.is_ok(),
            () = self.stop.wanted() => false,
        };
        if !news {
            return None;
        }
        if !self.stop.is_wanted() {
            sleep(WATCH_PAUSE).await;
        }
        let line = serde_json::to_vec(&**self.status.borrow_and_update()).map(|mut line| {
            line.push(b'\n');
            Bytes::from(line)
        });
        Some((line, self))
    }
}

/// Whether the space works, and when it stops if nothing happens.
#[utoipa::path(get, path = "/v1/activity", tag = "space", responses(
    (status = 200, description = "The verdict with its reason", body = ActivityStatus),
    (status = "default", description = "Why not", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn activity(State(room): State<Arc<Room>>, caller: Caller) -> Answer<Json<ActivityStatus>> {
    caller.allow(Right::Read)?;
    Ok(Json(room.status().activity.clone()))
}

/// The set-up steps of this boot.
#[utoipa::path(get, path = "/v1/steps", tag = "steps", responses(
    (status = 200, description = "In the order in which they run", body = Vec<StepStatus>),
    (status = "default", description = "Why not", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn steps(State(room): State<Arc<Room>>, caller: Caller) -> Answer<Json<Vec<StepStatus>>> {
    caller.allow(Right::Read)?;
    Ok(Json(room.status().steps.clone()))
}

/// A step's output.
#[utoipa::path(get, path = "/v1/steps/{name}/log", tag = "steps",
    params(("name" = String, Path, description = "The step's name"), LogQuery), responses(
    (status = 200, description = "Lines of text", body = String, content_type = "text/plain"),
    (status = "default", description = "Why not", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn step_log(
    State(room): State<Arc<Room>>,
    caller: Caller,
    Name(name): Name,
    Params(query): Params<LogQuery>,
) -> Answer<Response> {
    caller.allow(Right::Read)?;
    let status = room.status();
    let names: Vec<&str> = status.steps.iter().map(|step| step.name.as_str()).collect();
    room.log(Of::Step(name), &names, query).await
}

/// The apps behind the front door.
#[utoipa::path(get, path = "/v1/apps", tag = "apps", responses(
    (status = 200, description = "In the order of the document", body = Vec<AppStatus>),
    (status = "default", description = "Why not", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn apps(State(room): State<Arc<Room>>, caller: Caller) -> Answer<Json<Vec<AppStatus>>> {
    caller.allow(Right::Read)?;
    Ok(Json(room.status().apps.clone()))
}

/// An app's output.
#[utoipa::path(get, path = "/v1/apps/{name}/log", tag = "apps",
    params(("name" = String, Path, description = "The app's name"), LogQuery), responses(
    (status = 200, description = "Lines of text", body = String, content_type = "text/plain"),
    (status = "default", description = "Why not", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn app_log(
    State(room): State<Arc<Room>>,
    caller: Caller,
    Name(name): Name,
    Params(query): Params<LogQuery>,
) -> Answer<Response> {
    caller.allow(Right::Read)?;
    let status = room.status();
    let names: Vec<&str> = status.apps.iter().map(|app| app.name.as_str()).collect();
    room.log(Of::App(name), &names, query).await
}

/// End an app and start it anew. The answer comes before its end. In recovery mode the first app is the one that runs
/// with a clean home. An app that waits for the set-up is left waiting.
#[utoipa::path(post, path = "/v1/apps/{name}/restart", tag = "apps",
    params(("name" = String, Path, description = "The app's name")), request_body = RestartRequest, responses(
    (status = 202, description = "It is restarted"),
    (status = 404, description = "No such app; those that there are are named", body = ProblemDocument,
        content_type = "application/problem+json"),
    (status = 409, description = "Its kernels are busy; they are named. Or the space is not in a state in which the app \
        runs", body = ProblemDocument, content_type = "application/problem+json"),
    (status = "default", description = "Why not", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn restart_app(
    State(room): State<Arc<Room>>,
    caller: Caller,
    Name(app): Name,
    Document(RestartRequest { force }): Document<RestartRequest>,
) -> Answer<StatusCode> {
    caller.allow(Right::Restart)?;
    let status = room.status();
    let names: Vec<&str> = status.apps.iter().map(|app| app.name.as_str()).collect();
    known(&Of::App(app.clone()), &names)?;
    let by = caller.name();
    ask(&room.requests, |reply| Request::Restart { app, force, by, reply }).await?;
    Ok(StatusCode::ACCEPTED)
}

fn known(of: &Of, names: &[&str]) -> Result<(), Problem> {
    if names.contains(&of.name()) {
        return Ok(());
    }
    let there = if names.is_empty() { "has none".to_owned() } else { format!("has {}", names.join(", ")) };
    Err(Problem::not_found(format!("no {of}: this space {there}")))
}

/// The runs before this one, as far as they are kept: how they ended, their steps, apps and events. Without their logs,
/// which the routes of logs have.
#[utoipa::path(get, path = "/v1/boots", tag = "space", responses(
    (status = 200, description = "The newest first", body = Vec<Record>),
    (status = "default", description = "Why not", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn boots(State(room): State<Arc<Room>>, caller: Caller) -> Answer<Json<Vec<Record>>> {
    caller.allow(Right::Read)?;
    let mut records = room.boots.before(&room.status().boot).await?;
    for record in &mut records {
        record.logs.clear();
    }
    Ok(Json(records))
}

/// Who keeps the space awake, why and until when.
#[utoipa::path(get, path = "/v1/leases", tag = "leases", responses(
    (status = 200, description = "Those that have not ended", body = Vec<LeaseStatus>),
    (status = "default", description = "Why not", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn leases(State(room): State<Arc<Room>>, caller: Caller) -> Answer<Json<Vec<LeaseStatus>>> {
    caller.allow(Right::Read)?;
    Ok(Json(room.status().leases.clone()))
}

/// Keep the space awake for a time, or renew a lease.
#[utoipa::path(post, path = "/v1/leases", tag = "leases", request_body = LeaseRequest, responses(
    (status = 201, description = "Taken", body = LeaseStatus),
    (status = 200, description = "Renewed", body = LeaseStatus),
    (status = 404, description = "The lease to renew has ended", body = ProblemDocument,
        content_type = "application/problem+json"),
    (status = "default", description = "Why not", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn take_lease(
    State(room): State<Arc<Room>>,
    caller: Caller,
    Document(request): Document<LeaseRequest>,
) -> Answer<(StatusCode, Json<LeaseStatus>)> {
    caller.allow(Right::Keep)?;
    let by = caller.name();
    let (id, duration, reason) = request.checked().map_err(unprocessable)?;
    let code = if id.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    let make = |reply| Request::TakeLease { id, duration, reason, by, reply };
    let lease = ask(&room.requests, make).await?;
    Ok((code, Json(lease)))
}

/// End a lease before its time.
#[utoipa::path(delete, path = "/v1/leases/{id}", tag = "leases",
    params(("id" = String, Path, description = "The lease's id")), responses(
    (status = 204, description = "Ended"),
    (status = "default", description = "Why not", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn end_lease(State(room): State<Arc<Room>>, caller: Caller, Name(id): Name) -> Answer<StatusCode> {
    caller.allow(Right::Keep)?;
    ask(&room.requests, |reply| Request::EndLease { id, reply }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Leave recovery or parked mode: the space boots anew, with all its steps. The answer comes before it is ready.
#[utoipa::path(post, path = "/v1/start", tag = "space", request_body = StartRequest, responses(
    (status = 202, description = "It starts"),
    (status = 200, description = "It runs, or is starting, already"),
    (status = 409, description = "It is ending", body = ProblemDocument, content_type = "application/problem+json"),
    (status = "default", description = "Why not", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn start(
    State(room): State<Arc<Room>>,
    caller: Caller,
    Document(StartRequest {}): Document<StartRequest>,
) -> Answer<StatusCode> {
    caller.allow(Right::Start)?;
    let by = caller.name();
    let starts = ask(&room.requests, |reply| Request::Start { by, reply }).await?;
    Ok(if starts { StatusCode::ACCEPTED } else { StatusCode::OK })
}

/// Stop the space: apps are ended, then everything else. The answer comes before the end.
#[utoipa::path(post, path = "/v1/stop", tag = "space", request_body = StopRequest, responses(
    (status = 202, description = "It stops"),
    (status = 409, description = "Kernels are busy; they are named", body = ProblemDocument,
        content_type = "application/problem+json"),
    (status = "default", description = "Why not", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn stop(
    State(room): State<Arc<Room>>,
    caller: Caller,
    Document(request): Document<StopRequest>,
) -> Answer<StatusCode> {
    caller.allow(Right::Stop)?;
    let (reason, force) = request.checked().map_err(unprocessable)?;
    let by = caller.name();
    ask(&room.requests, |reply| Request::Stop { reason, force, by, reply }).await?;
    Ok(StatusCode::ACCEPTED)
}

/// A link that signs whoever opens it first in as the space's owner.
#[utoipa::path(post, path = "/v1/sign-in", tag = "space", request_body = SignInRequest, responses(
    (status = 201, description = "The link", body = SignInAnswer),
    (status = "default", description = "Why not", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn sign_in(
    State(room): State<Arc<Room>>,
    caller: Caller,
    Document(request): Document<SignInRequest>,
) -> Answer<(StatusCode, Json<SignInAnswer>)> {
    caller.allow(Right::SignIn)?;
    let (to, lifetime) = request.checked().map_err(unprocessable)?;
    let link = ask(&room.requests, |reply| Request::SignIn { to, lifetime, reply }).await?;
    Ok((StatusCode::CREATED, Json(api::SignInAnswer { link })))
}

fn unprocessable(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong body", detail)
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "agent", responses(
    (status = 200, description = "OpenAPI 3.1", body = Object),
    (status = "default", description = "Why not", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn openapi_json(caller: Caller) -> Answer<Response> {
    caller.allow(Right::Read)?;
    Ok(Json(openapi()).into_response())
}

/// What has passed the front door since the agent began, for Prometheus: requests, answers, latencies, WebSockets and
/// bytes of each app, and connections. All ports below proxy/ are one app of that name.
#[utoipa::path(get, path = "/metrics", tag = "agent", responses(
    (status = 200, description = "In OpenMetrics' text format", body = String,
        content_type = "application/openmetrics-text"),
    (status = "default", description = "Why not", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn metrics(State(room): State<Arc<Room>>, caller: Caller) -> Answer<Response> {
    caller.allow(Right::Read)?;
    let text = metrics::text(&room.counters).map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no metrics", "the counters could not be written")
    })?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

/// Whether the agent answers. Never red because of a step or an app.
#[utoipa::path(get, path = "/livez", tag = "agent", responses(
    (status = 200, description = "`ok`", body = String, content_type = "text/plain"),
    (status = "default", description = "Why not", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn livez(caller: Caller) -> Answer<Response> {
    caller.allow(Right::Read)?;
    Ok(word(StatusCode::OK, "ok"))
}

/// Whether the space can be worked in: it runs, and its first app is ready.
#[utoipa::path(get, path = "/readyz", tag = "agent", responses(
    (status = 200, description = "`ready`", body = String, content_type = "text/plain"),
    (status = 503, description = "`not ready`", body = String, content_type = "text/plain"),
    (status = "default", description = "Why not", body = ProblemDocument, content_type = "application/problem+json"),
))]
async fn readyz(State(room): State<Arc<Room>>, caller: Caller) -> Answer<Response> {
    caller.allow(Right::Read)?;
    Ok(if room.status().ready() {
        word(StatusCode::OK, "ready")
    } else {
        word(StatusCode::SERVICE_UNAVAILABLE, "not ready")
    })
}

fn word(code: StatusCode, word: &'static str) -> Response {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    (code, [(header::CONTENT_TYPE, kind)], word).into_response()
}
