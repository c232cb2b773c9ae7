//! Bodies that stay open: they end at once when the server shuts down or the
//! caller may not see them any more, say something now and then, hold a place
//! while they live, and produce the next piece only when the last one has left.

use crate::app::App;
use crate::error::{Answer, Failure};
use crate::metrics::Counted;
use crate::sse;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fleetfoot_control::{Lost, Standing};
use fleetfoot_model::Code;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

/// An open stream: its source and what it holds.
struct Open {
    source: Pin<Box<dyn Stream<Item = Answer<Bytes>> + Send>>,
    /// Resolves when the caller may not see more. It lives as long as the stream: a look that was
    /// begun is never dropped for a piece.
    lost: BoxFuture<'static, Lost>,
    closing: CancellationToken,
    over: bool,
    _place: OwnedSemaphorePermit,
    _counted: Counted,
}

impl Open {
    fn new(
        app: &App,
        place: OwnedSemaphorePermit,
        lost: BoxFuture<'static, Lost>,
        source: impl Stream<Item = Answer<Bytes>> + Send + 'static,
    ) -> Self {
        Self {
            source: Box::pin(source),
            lost,
            closing: app.closing.clone(),
            over: false,
            _place: place,
            _counted: Counted::new(&app.metrics.streams),
        }
    }
}

/// What happened to a stream.
enum Next {
    Piece(Answer<Bytes>),
    Silence,
    SourceEnded,
    Closing,
    Lost(Lost),
}

impl Open {
    async fn next(&mut self, patience: Option<Duration>) -> Next {
        let piece = async {
            match patience {
                // Only the wait is dropped: the source keeps its place.
                Some(patience) => tokio::time::timeout(patience, self.source.next()).await.ok(),
                None => Some(self.source.next().await),
            }
        };
        tokio::select! {
            biased;
            () = self.closing.cancelled() => Next::Closing,
            lost = &mut self.lost => Next::Lost(lost),
            piece = piece => match piece {
                Some(Some(piece)) => Next::Piece(piece),
                Some(None) => Next::SourceEnded,
                None => Next::Silence,
            },
        }
    }
}

/// An answer of server-sent events. An error of the source, and the loss of the
/// right to see it, become the event `error` with the problem, and end the
/// stream. A change of the caller's role ends it too: who comes back is told
/// what the new role may see.
pub(crate) fn events(
    app: &App,
    place: OwnedSemaphorePermit,
    mut standing: Standing,
    source: impl Stream<Item = Answer<Bytes>> + Send + 'static,
) -> Response {
    let keep_alive = app.options.keep_alive;
    let lost = async move { standing.lost().await }.boxed();
    let body = event_body(Open::new(app, place, lost, source), keep_alive);
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(sse::MEDIA_TYPE));
    // Proxies of the nginx family hold back what they do not know to be a stream.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

fn event_body(open: Open, keep_alive: Duration) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::unfold(open, move |mut open| async move {
        if open.over {
            return None;
        }
        let failure = match open.next(Some(keep_alive)).await {
            Next::Piece(Ok(event)) => return Some((Ok(event), open)),
            Next::Silence => return Some((Ok(Bytes::from_static(sse::KEEP_ALIVE)), open)),
            // Without an `end` event the client knows that it has to come back.
            Next::SourceEnded | Next::Closing | Next::Lost(Lost::RoleChanged) => return None,
            Next::Piece(Err(failure)) => failure,
            Next::Lost(Lost::Ended(problem)) => problem.into(),
        };
        open.over = true;
        let (problem, cause) = failure.public();
        if let Some(cause) = cause {
            tracing::error!(cause = cause.0, "a stream failed");
        }
        let piece = sse::json_event("error", None, &problem).unwrap_or_default();
        Some((Ok(piece), open))
    })
}

/// A body of plain bytes. An error of the source, a shutdown, and the loss of
/// the right to see it cut it, so that nobody takes what arrived for everything.
/// Without a standing, whoever has the address may read to the end.
pub(crate) fn bytes(
    app: &App,
    place: OwnedSemaphorePermit,
    standing: Option<Standing>,
    source: impl Stream<Item = Answer<Bytes>> + Send + 'static,
) -> Body {
    let lost = match standing {
        Some(mut standing) => async move { Lost::Ended(standing.ended().await) }.boxed(),
        None => std::future::pending().boxed(),
    };
    Body::from_stream(byte_body(Open::new(app, place, lost, source)))
}

fn byte_body(open: Open) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::unfold(open, move |mut open| async move {
        if open.over {
            return None;
        }
        let piece = match open.next(None).await {
            // Only the end of a right is asked for here.
            Next::SourceEnded | Next::Silence | Next::Lost(Lost::RoleChanged) => return None,
            Next::Piece(Ok(piece)) => Ok(piece),
            Next::Lost(Lost::Ended(problem)) => {
                open.over = true;
                Err(cut(problem.into()))
            }
            Next::Piece(Err(failure)) => {
                open.over = true;
                Err(cut(failure))
            }
            Next::Closing => {
                open.over = true;
                Err(io::Error::other("the server is shutting down"))
            }
        };
        Some((piece, open))
    })
}

/// An error in the middle of a body: all that is left is to cut it.
pub(crate) fn cut(failure: Failure) -> io::Error {
    tracing::warn!(cause = failure.0.detail, "a body was cut");
    io::Error::other(failure.0.detail)
}

/// An event that could not be written as JSON.
pub(crate) fn unwritable(error: serde_json::Error) -> Failure {
    Failure::new(Code::Internal, format!("an event does not serialise: {error}"))
}

/// The number behind which a client wants to go on.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Answer<Option<u64>> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| Failure::bad_request("Last-Event-ID is not a number that this server gave"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::HttpMetrics;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    fn open(
        source: impl Stream<Item = Answer<Bytes>> + Send + 'static,
    ) -> (Open, CancellationToken, Arc<Semaphore>) {
        let places = Arc::new(Semaphore::new(1));
        let closing = CancellationToken::new();
        let open = Open {
            source: Box::pin(source),
            lost: std::future::pending().boxed(),
            closing: closing.clone(),
            over: false,
            _place: Arc::clone(&places).try_acquire_owned().unwrap(),
            _counted: Counted::new(&HttpMetrics::new().streams),
        };
        (open, closing, places)
    }

    fn pieces(items: Vec<Answer<&'static str>>) -> impl Stream<Item = Answer<Bytes>> + Send + 'static {
        stream::iter(items.into_iter().map(|r| r.map(Bytes::from)))
    }

    #[tokio::test]
    async fn an_error_becomes_an_event_and_the_last_one() {
        let fault = Failure::new(Code::Internal, "disk /secret broke");
        let (open, _, places) = open(pieces(vec![Ok("one"), Err(fault), Ok("never")]));
        let all: Vec<_> = event_body(open, Duration::from_secs(9)).map(Result::unwrap).collect().await;
        assert_eq!(all.len(), 2);
        let event = std::str::from_utf8(&all[1]).unwrap();
        assert!(event.starts_with("event: error\ndata: {"), "{event}");
        assert!(event.contains("\"code\":\"internal\"") && !event.contains("secret"), "{event}");
        assert_eq!(places.available_permits(), 1, "the place is free again");
    }

    #[tokio::test]
    async fn an_error_cuts_bytes() {
        let (open, _, _) = open(pieces(vec![Ok("one"), Err(Failure::bad_request("x")), Ok("never")]));
        let all: Vec<_> = byte_body(open).collect().await;
        assert_eq!(all.len(), 2);
        assert!(all[0].is_ok() && all[1].is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_without_losing_a_piece() {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Answer<Bytes>>(1);
        let source = stream::unfold(receiver, async |mut r| r.recv().await.map(|item| (item, r)));
        let (open, _, _) = open(source);
        let mut body = Box::pin(event_body(open, Duration::from_secs(15)));
        assert_eq!(body.next().await.unwrap().unwrap(), sse::KEEP_ALIVE);
        assert_eq!(body.next().await.unwrap().unwrap(), sse::KEEP_ALIVE);
        sender.send(Ok(Bytes::from("late"))).await.unwrap();
        assert_eq!(body.next().await.unwrap().unwrap(), "late");
        drop(sender);
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn closing_ends_events_and_cuts_bytes() {
        let (first, closing, _) = open(stream::pending());
        closing.cancel();
        assert!(Box::pin(event_body(first, Duration::from_secs(9))).next().await.is_none());
        let (second, closing, _) = open(stream::pending());
        closing.cancel();
        let all: Vec<_> = byte_body(second).collect().await;
        assert!(all.len() == 1 && all[0].is_err());
    }

    #[tokio::test]
    async fn a_lost_right_ends_events_with_its_problem_and_cuts_bytes() {
        let refused = || Lost::Ended(fleetfoot_model::Problem::new(Code::Unauthorized, "over"));
        let (mut first, _, places) = open(stream::pending());
        first.lost = std::future::ready(refused()).boxed();
        let all: Vec<_> = event_body(first, Duration::from_secs(9)).map(Result::unwrap).collect().await;
        let event = std::str::from_utf8(&all[0]).unwrap();
        assert!(all.len() == 1 && event.contains("\"code\":\"unauthorized\""), "{event}");
        assert_eq!(places.available_permits(), 1, "the place is free again");
        let (mut second, _, _) = open(stream::pending());
        second.lost = std::future::ready(refused()).boxed();
        let all: Vec<_> = byte_body(second).collect().await;
        assert!(all.len() == 1 && all[0].is_err());
        let (mut third, _, _) = open(stream::pending());
        third.lost = std::future::ready(Lost::RoleChanged).boxed();
        assert!(Box::pin(event_body(third, Duration::from_secs(9))).next().await.is_none());
    }

    #[test]
    fn event_ids() {
        let with = |v: &'static str| {
            last_event_id(&HeaderMap::from_iter([(
                HeaderName::from_static("last-event-id"),
                HeaderValue::from_static(v),
            )]))
        };
        assert_eq!(last_event_id(&HeaderMap::new()).unwrap(), None);
        assert_eq!(with("").unwrap(), None);
        assert_eq!(with("12").unwrap(), Some(12));
        assert_eq!(with("x").unwrap_err().0.code, Code::BadRequest);
    }
}
