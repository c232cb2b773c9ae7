//! Where a request comes from: the address of its client, and whether it came
//! by https. What a proxy says is believed only if the settings say that there
//! is one.

use crate::options::ServerOptions;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use std::net::IpAddr;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The address of the client. Behind a proxy it is the last one in `X-Forwarded-For`: that one was
/// written by the proxy, what stands before it by anybody.
pub(crate) fn address(parts: &Parts, options: &ServerOptions) -> Option<IpAddr> {
    let peer = parts.extensions.get::<Peer>().map(|p| p.0);
    if !options.behind_proxy {
        return peer;
    }
    let last = parts.headers.get_all(FORWARDED_FOR).iter().next_back().and_then(|v| v.to_str().ok());
    let stated = last.and_then(|v| v.rsplit(',').next()).and_then(|v| v.trim().parse().ok());
    stated.or(peer)
}

/// Whether cookies of this answer are for https only. Believing any proxy is harmless here: who lies
/// gets a cookie that its browser keeps to itself.
pub(crate) fn secure_cookies(headers: &HeaderMap, options: &ServerOptions) -> bool {
    if let Some(said) = options.secure_cookies {
        return said;
    }
    let forwarded = headers.get(FORWARDED_PROTO).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"https"));
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok());
    let public = options.public_url.as_deref().and_then(|url| url.strip_prefix("https://"));
    // The same server is often reached by http on this machine, where such a cookie would be lost.
    let by_public_name = public
        .zip(host)
        .is_some_and(|(public, host)| public.split('/').next().is_some_and(|p| p.eq_ignore_ascii_case(host)));
    forwarded || by_public_name
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        parts.extensions.insert(Peer([127, 0, 0, 1].into()));
        parts
    }

    #[test]
    fn a_client_cannot_choose_its_address() {
        let direct = ServerOptions::default();
        let behind = ServerOptions { behind_proxy: true, ..ServerOptions::default() };
        let lies = parts(&[("x-forwarded-for", "1.1.1.1, 2.2.2.2"), ("x-forwarded-for", "3.3.3.3,4.4.4.4")]);
        let said = |o: &ServerOptions, p: &Parts| address(p, o).unwrap().to_string();
        assert_eq!(said(&direct, &lies), "127.0.0.1");
        assert_eq!(said(&behind, &lies), "4.4.4.4");
        assert_eq!(said(&behind, &parts(&[])), "127.0.0.1");
        assert_eq!(said(&behind, &parts(&[("x-forwarded-for", "nonsense")])), "127.0.0.1");
    }

    #[test]
    fn cookies_are_secure_where_https_is() {
        let public = ServerOptions {
            public_url: Some("https://ci.example.org/".to_owned()),
            ..ServerOptions::default()
        };
        let secure = |o: &ServerOptions, h: &[(&str, &str)]| secure_cookies(&parts(h).headers, o);
        assert!(secure(&public, &[("host", "ci.example.org")]));
        assert!(!secure(&public, &[("host", "127.0.0.1:7878")]));
        assert!(secure(&ServerOptions::default(), &[("host", "x"), ("x-forwarded-proto", "https")]));
        assert!(!secure(&ServerOptions::default(), &[("host", "x")]));
        let always = ServerOptions { secure_cookies: Some(true), ..ServerOptions::default() };
        assert!(secure(&always, &[]));
        let never = ServerOptions { secure_cookies: Some(false), ..public };
        assert!(!secure(&never, &[("host", "ci.example.org")]));
    }
}
