//! From a listener to requests: accepts connections, bounds their number and
//! their buffers, cuts clients that never finish a head, and ends it all in
//! good order. HTTP/1.1 only: every client of this API has one exchange at a
//! time on a connection.

use crate::front::Front;
use crate::metrics::{Counted, HttpMetrics};
use crate::peer::Peer;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Buffers grow with what passes through them and start at 8 KiB; this bounds
/// what a log upload or a stalled reader can hold.
const MAX_BUFFER: usize = 256 << 10;
/// Largest head of a request.
const MAX_HEAD: usize = 32 << 10;
/// Pause after a failed accept: mostly there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds of the connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) connections: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) drain: Duration,
}

/// Serves until `closing`, then lets open requests end for at most `bounds.drain`.
pub(crate) async fn serve(
    listener: TcpListener,
    front: Front,
    bounds: Bounds,
    metrics: Arc<HttpMetrics>,
    closing: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(bounds.connections));
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(bounds.header_timeout)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_BUFFER);

    loop {
        let accepted = tokio::select! {
            () = closing.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let service = front.clone();
        let connection = http.serve_connection(
            TokioIo::new(stream),
            service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(peer);
                let front = service.clone();
                async move { Ok::<_, Infallible>(front.answer(request.map(Body::new)).await) }
            }),
        );
        let (closing, abort) = (closing.clone(), abort.clone());
        let counted = Counted::new(&metrics.connections);
        connections.spawn(async move {
            let _held = (place, counted);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                // What goes wrong on a connection (a reset, a bad head) is the client's affair.
                _ = connection.as_mut() => return,
                () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            tokio::select! {
                _ = connection => {}
                () = abort.cancelled() => {}
            }
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(bounds.drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests still open after the drain time are cut");
        abort.cancel();
        connections.wait().await;
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, Peer, tokio::sync::OwnedSemaphorePermit)> {
    // The place comes first: connections beyond the bound wait in the kernel's queue.
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => {
            // Answers are small and people wait for them.
            if let Err(e) = stream.set_nodelay(true) {
                tracing::debug!(error = %e, "a connection ended before it was served");
                return None;
            }
            Some((stream, Peer(address.ip()), place))
        }
        Err(e) => {
            tracing::warn!(error = %e, "accepting a connection failed");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
