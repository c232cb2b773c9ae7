//! Errors as the client sees them: RFC 9457 problem details for everything,
//! also for what axum itself would refuse. It must never put the cause of a
//! fault of ours, a token or a request body into an answer.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleetfoot_model::problem::PROBLEM_MEDIA_TYPE;
use fleetfoot_model::{Code, Problem};
use fleetfoot_objects::{ErrorKind, ObjectError};

/// What a client reads instead of the cause of a fault of ours.
const INTERNAL_DETAIL: &str =
    "the server could not do this; its log names the cause under the X-Request-Id of this answer";

/// A refused or failed request. Boxed, because a problem is large and an error is rare.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Box<Problem>);

/// What a handler answers.
pub(crate) type Answer<T> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, detail)
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The answer while the server shuts down.
    pub(crate) fn shutting_down() -> Self {
        Self::new(Code::Overloaded, "the server is shutting down").with_hint("try again in a moment")
    }

    /// The problem as it may leave the process.
    pub(crate) fn public(self) -> (Problem, Option<InternalCause>) {
        let mut problem = *self.0;
        let cause = (problem.code == Code::Internal)
            .then(|| InternalCause(std::mem::replace(&mut problem.detail, INTERNAL_DETAIL.to_owned())));
        (problem, cause)
    }
}

/// Travels with a response as far as the request log and no further.
#[derive(Clone, Debug)]
pub(crate) struct InternalCause(pub(crate) String);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl From<PathRejection> for Failure {
    fn from(rejection: PathRejection) -> Self {
        // An id that is no number cannot name anything: the same answer as for an unknown one.
        Self::new(Code::NotFound, format!("there is no such thing: {}", rejection.body_text()))
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(format!("the query string is not valid here: {}", rejection.body_text()))
    }
}

impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Self {
        let code = match error.kind() {
            ErrorKind::NotFound => Code::NotFound,
            ErrorKind::Invalid => Code::BadRequest,
            ErrorKind::Full => Code::DiskFull,
            ErrorKind::Corrupt => Code::Internal,
            ErrorKind::Unavailable => Code::Overloaded,
        };
        // Sources name paths of the server: only the log may see them.
        let detail = match code {
            Code::Overloaded => "the log could not be read just now".to_owned(),
            _ => error.to_string(),
        };
        Self::new(code, detail)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (problem, cause) = self.public();
        let mut response = problem_response(&problem);
        if let Some(cause) = cause {
            response.extensions_mut().insert(cause);
        }
        response
    }
}

/// A problem with the headers that belong to its status.
pub(crate) fn problem_response(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // A problem consists of strings and numbers: it always serialises.
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
    match problem.code {
        Code::Unauthorized => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Code::Overloaded | Code::TooManyRequests => {
            headers.insert(header::RETRY_AFTER, problem.retry_after.unwrap_or(1).into());
        }
        // A disk takes longer to empty than a queue.
        Code::DiskFull => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
        }
        _ => {}
    }
    response
}

/// The fallback for paths that do not exist.
pub(crate) async fn unknown_route(uri: axum::http::Uri) -> Failure {
    Failure::new(Code::NotFound, format!("there is nothing at {}", uri.path()))
        .with_hint("GET /api/openapi.json lists every route")
}

/// The fallback for methods that a path does not have; axum adds the `Allow` header.
pub(crate) async fn unknown_method(method: axum::http::Method, uri: axum::http::Uri) -> Failure {
    Failure::new(Code::MethodNotAllowed, format!("{} has no method {method}", uri.path()))
}
