//! What the HTTP side counts, and how it joins the control plane's text. Labels
//! have few values: never an id, a path or anything that a client chooses.

use axum::http::StatusCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::fmt::Write;
use std::time::Duration;

/// Media type of the text.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const EOF: &str = "# EOF\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Class {
    Success,
    Redirect,
    ClientError,
    ServerError,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    class: Class,
}

/// Counters of the HTTP side.
#[derive(Debug)]
pub(crate) struct HttpMetrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    seconds: Histogram,
    pub(crate) connections: Gauge,
    pub(crate) streams: Gauge,
    pub(crate) shed: Counter,
    pub(crate) panics: Counter,
}

impl HttpMetrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("fleetfoot_http");
        let requests = Family::<Labels, Counter>::default();
        // 250 µs to 65 s.
        let seconds = Histogram::new(exponential_buckets(0.000_25, 4.0, 10));
        let (connections, streams) = (Gauge::default(), Gauge::default());
        let (shed, panics) = (Counter::default(), Counter::default());
        registry.register("requests", "Answered requests by class of status", requests.clone());
        registry.register(
            "request_seconds",
            "Time from the head of a request to the head of its answer, without syncs",
            seconds.clone(),
        );
        registry.register("connections", "Open connections", connections.clone());
        registry.register("streams", "Open event streams and log streams", streams.clone());
        registry.register("shed", "Requests refused because of too much to do", shed.clone());
        registry.register("panics", "Requests that ended in a panic", panics.clone());
        Self { registry, requests, seconds, connections, streams, shed, panics }
    }

    pub(crate) fn answered(&self, status: StatusCode, took: Option<Duration>) {
        let class = match status.as_u16() {
            500.. => Class::ServerError,
            400.. => Class::ClientError,
            300.. => Class::Redirect,
            _ => Class::Success,
        };
        self.requests.get_or_create(&Labels { class }).inc();
        if let Some(took) = took {
            self.seconds.observe(took.as_secs_f64());
        }
    }

    /// The control plane's text with these counters behind it, ended once.
    pub(crate) fn render_behind(&self, control: String) -> String {
        let mut text = control;
        if text.ends_with(EOF) {
            text.truncate(text.len() - EOF.len());
        }
        let mut own = String::new();
        // Writing to a string cannot fail.
        if encode(&mut own, &self.registry).is_ok() {
            let _ = text.write_str(&own);
        }
        if !text.ends_with(EOF) {
            text.push_str(EOF);
        }
        text
    }
}

/// Counts one while it lives.
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_ends_once_and_names_both_sides() {
        let metrics = HttpMetrics::new();
        metrics.answered(StatusCode::NOT_FOUND, Some(Duration::from_millis(2)));
        let text = metrics.render_behind("# TYPE fleetfoot_jobs gauge\nfleetfoot_jobs 1\n# EOF\n".to_owned());
        assert_eq!(text.matches("# EOF").count(), 1);
        assert!(text.ends_with("# EOF\n"));
        assert!(text.starts_with("# TYPE fleetfoot_jobs gauge\nfleetfoot_jobs 1\n"));
        assert!(text.contains("fleetfoot_http_requests_total{class=\"ClientError\"} 1"), "{text}");
    }
}
