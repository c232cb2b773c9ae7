//! The routes, in groups by what bounds them: quick requests have a time limit
//! and a place, bulk requests more time, and what waits or streams has its own
//! rules. Every route is registered together with its documentation.

mod actions;
mod approvals;
mod jobs;
mod lines;
mod logs;
mod meta;
mod observe;
mod oidc;
mod projects;
mod repos;
mod runners;
mod runs;
mod services;
mod session;
mod tokens;
mod users;

use crate::app::App;
use crate::error::{Failure, unknown_method, unknown_route};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use fleetfoot_model::Code;
use std::time::Duration;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// How long a bulk request (a batch, a backup) may take.
const BULK_TIME: Duration = Duration::from_secs(600);
const PREFIX: &str = "/api/v1";

/// The routes by what bounds them.
pub(crate) struct Groups {
    quick: OpenApiRouter<App>,
    bulk: OpenApiRouter<App>,
    /// Streams, long polls and probes: they bound themselves.
    free: OpenApiRouter<App>,
}

/// The agents' routes: under the prefix, and where plain clients look for them.
fn agents() -> (OpenApiRouter<App>, OpenApiRouter<App>) {
    let quick = OpenApiRouter::default()
        .routes(routes!(runners::list, runners::create))
        .routes(routes!(runners::register))
        .routes(routes!(runners::show, runners::update, runners::delete))
        .routes(routes!(runners::status))
        .routes(routes!(runners::heartbeat))
        .routes(routes!(runners::assign_job))
        .routes(routes!(runners::complete_job))
        .routes(routes!(runners::append_log))
        .routes(routes!(runners::rotate_token))
        .routes(routes!(runners::drain))
        .routes(routes!(runners::resume));
    let free = OpenApiRouter::default().routes(routes!(runners::sync));
    (quick, free)
}

/// Every route of this server.
pub(crate) fn groups() -> Groups {
    let (agents_quick, agents_free) = agents();
    let quick = OpenApiRouter::default()
        .routes(routes!(runs::create, runs::list))
        .routes(routes!(runs::show))
        .routes(routes!(runs::attempts))
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::rerun))
        .routes(routes!(jobs::show))
        .routes(routes!(jobs::why))
        .routes(routes!(jobs::cancel))
        .routes(routes!(logs::marks))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::revoke))
        .routes(routes!(repos::list))
        .routes(routes!(repos::show, repos::update, repos::remove))
        .routes(routes!(repos::deliveries))
        .routes(routes!(repos::redeliver))
        .routes(routes!(repos::dispatch_repository))
        .routes(routes!(meta::version))
        .routes(routes!(projects::list_secrets))
        .routes(routes!(projects::set_secret, projects::delete_secret))
        .routes(routes!(projects::secret_uses))
        .routes(routes!(projects::rotate_key))
        .routes(routes!(projects::list_variables))
        .routes(routes!(projects::show_variable, projects::set_variable, projects::delete_variable))
        .routes(routes!(projects::list_environments, projects::create_environment))
        .routes(routes!(
            projects::show_environment,
            projects::update_environment,
            projects::delete_environment
        ))
        .routes(routes!(approvals::list))
        .routes(routes!(approvals::approve_job))
        .routes(routes!(approvals::reject_job))
        .routes(routes!(approvals::approve_run))
        .routes(routes!(approvals::reject_run))
        .routes(routes!(session::show, session::create, session::delete))
        .routes(routes!(session::ways))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::show, users::update, users::delete))
        .routes(routes!(users::set_password))
        .merge(services::quick())
        .merge(observe::quick())
        .merge(agents_quick.clone());
    let bulk = OpenApiRouter::default()
        .routes(routes!(runs::batch))
        .routes(routes!(tokens::backup))
        // These two wait for a forge.
        .routes(routes!(repos::add))
        .routes(routes!(repos::dispatch));
    let free = OpenApiRouter::default()
        .routes(routes!(runs::events))
        .routes(routes!(logs::read))
        .routes(routes!(services::download))
        .merge(observe::free())
        .merge(agents_free.clone());
    Groups {
        quick: OpenApiRouter::default().nest(PREFIX, quick).merge(agents_quick).routes(routes!(repos::hook)),
        bulk: OpenApiRouter::default().nest(PREFIX, bulk),
        free: OpenApiRouter::default()
            .nest(PREFIX, free)
            .merge(agents_free)
            .routes(routes!(meta::index))
            .routes(routes!(meta::document))
            .routes(routes!(meta::healthz))
            .routes(routes!(meta::readyz))
            .routes(routes!(meta::metrics)),
    }
}

impl Groups {
    /// All of them, without bounds: for the document.
    pub(crate) fn unbounded(self) -> OpenApiRouter<App> {
        self.quick.merge(self.bulk).merge(self.free)
    }

    fn bounded(self, app: &App) -> OpenApiRouter<App> {
        let quick = Bound { app: app.clone(), time: app.options.request_timeout };
        let bulk = Bound { app: app.clone(), time: BULK_TIME.max(app.options.request_timeout) };
        self.quick
            .layer(from_fn_with_state(quick, bounded))
            .merge(self.bulk.layer(from_fn_with_state(bulk, bounded)))
            .merge(self.free)
    }
}

/// The router that serves.
pub(crate) fn router(app: App) -> Router {
    let (router, _) = groups().bounded(&app).split_for_parts();
    // The protocols of actions are others', and the dashboard is for browsers: not in our document.
    let router = router.merge(actions::routes()).merge(crate::dashboard::routes());
    let quick = Bound { app: app.clone(), time: app.options.request_timeout };
    let router = router.merge(oidc::routes().layer(from_fn_with_state(quick, bounded)));
    router.fallback(unknown_route).method_not_allowed_fallback(unknown_method).with_state(app)
}

#[derive(Clone)]
struct Bound {
    app: App,
    time: Duration,
}

/// A place among the requests and a limit in time.
async fn bounded(State(bound): State<Bound>, request: Request, next: Next) -> Response {
    let _place = match bound.app.admit() {
        Ok(place) => place,
        Err(full) => return full.into_response(),
    };
    match tokio::time::timeout(bound.time, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let seconds = bound.time.as_secs();
            Failure::new(Code::Overloaded, format!("this took longer than {seconds} seconds"))
                .with_hint("what was begun is still carried out: look before you try again")
                .into_response()
        }
    }
}
