//! HTTP over [`fleetfoot_control`]: the public API under `/api/v1`, streams,
//! the OpenAPI document, health and metrics. This crate turns requests into
//! calls and results into answers; it must never decide who may do what, or
//! change runs, jobs, runners or tokens itself.

mod app;
mod auth;
mod connections;
mod cookies;
mod dashboard;
mod error;
mod extract;
mod front;
mod metrics;
mod multipart;
mod openapi;
mod options;
mod peer;
mod routes;
mod sse;
mod streams;

pub use openapi::document as openapi;
pub use options::{ServerError, ServerOptions};

use app::App;
use connections::Bounds;
use fleetfoot_control::Control;
use fleetfoot_oidc::Relying;
use front::{Front, Origins};
use metrics::HttpMetrics;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves the API on `listener` until `shutdown` or until the control plane
/// shuts down. Streams and waits end at once then, other requests have the
/// drain time. It does not shut the control plane down.
///
/// # Errors
/// If the listener has no address or an option makes no sense; nothing is
/// served then.
pub async fn serve(
    control: Control,
    listener: TcpListener,
    options: ServerOptions,
    shutdown: CancellationToken,
) -> Result<(), ServerError> {
    let address = listener.local_addr().map_err(ServerError::Listener)?;
    let loopback = address.ip().is_loopback();
    let public = options.public_url.as_deref().map(authority_of).transpose()?;
    let own = options.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let relying = Relying::new(options.sign_in.clone(), &own).map_err(ServerError::SignIn)?;
    let origins = Origins { loopback, hosts: options.allowed_hosts.clone(), public };
    let bounds = Bounds {
        connections: options.max_connections,
        header_timeout: options.header_timeout,
        drain: options.drain,
    };
    let run = format!("{:x}", control.now().as_micros());
    let metrics = Arc::new(HttpMetrics::new());

    let closing = shutdown.child_token();
    let watching = closing.clone().drop_guard();
    let watcher = tokio::spawn({
        let (control, closing) = (control.clone(), closing.clone());
        async move {
            tokio::select! {
                () = control.shutting_down() => closing.cancel(),
                () = closing.cancelled() => {}
            }
        }
    });

    let app = App::new(control, options, loopback, closing.clone(), Arc::clone(&metrics), relying);
    let front = Front::new(routes::router(app.clone()), origins, Arc::clone(&metrics), run);
    connections::serve(listener, front, bounds, metrics, closing).await;

    // What clients asked for before is still carried out, whoever waits for it.
    app.tasks.close();
    if tokio::time::timeout(bounds.drain, app.tasks.wait()).await.is_err() {
        tracing::warn!(changes = app.tasks.len(), "changes still in flight after the drain time");
    }
    drop(watching);
    if let Err(e) = watcher.await {
        tracing::error!(error = %e, "the watcher of the shutdown failed");
    }
    Ok(())
}

/// Host and port of an address, as `Host` and `Origin` spell them.
fn authority_of(url: &str) -> Result<String, ServerError> {
    let bad = || ServerError::PublicUrl(url.to_owned());
    let uri: axum::http::Uri = url.parse().map_err(|_| bad())?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) => Ok(authority.as_str().to_owned()),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses() {
        assert_eq!(authority_of("https://ci.example.org/").unwrap(), "ci.example.org");
        assert_eq!(authority_of("http://10.0.0.1:7878").unwrap(), "10.0.0.1:7878");
        for bad in ["ci.example.org", "ftp://x", "", "https://"] {
            assert!(authority_of(bad).is_err(), "{bad}");
        }
    }
}
