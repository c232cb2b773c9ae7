//! Cookies in and out: finding one among what a browser sends, and writing the
//! header that sets or ends one. It knows nothing about what a cookie is worth.

use axum::http::{HeaderMap, HeaderValue, header};

/// What the names of cookies of sessions begin with, but for their prefix.
pub(crate) const SESSION: &str = "fleetfoot_session";
/// The same of those that tie a sign-in through a provider to a browser.
const SIGN_IN: &str = "fleetfoot_oidc";
/// Longest value that is looked at; ours are much shorter.
const LONGEST: usize = 256;

/// The value of the first cookie of this name. What cannot be one of ours (other characters, too
/// long) counts as absent.
pub(crate) fn find<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
        .filter(|value| (1..=LONGEST).contains(&value.len()) && value.bytes().all(is_plain))
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// The names of our cookies. Browsers share cookies between all ports of a host, so each
/// installation has names of its own. Where https is, the names have the prefixes with which a
/// browser refuses cookies that somebody else on the way or on a neighbouring host has made.
#[derive(Debug)]
pub(crate) struct CookieNames {
    session: [String; 2],
    sign_in: [String; 2],
}

impl CookieNames {
    pub(crate) fn new(installation: &str) -> Self {
        let session = format!("{SESSION}_{installation}");
        let sign_in = format!("{SIGN_IN}_{installation}");
        Self {
            session: [session.clone(), format!("__Host-{session}")],
            // It has a path, which the stricter prefix does not allow.
            sign_in: [sign_in.clone(), format!("__Secure-{sign_in}")],
        }
    }

    /// The cookie with the secret of a session.
    pub(crate) fn session(&self, secure: bool) -> &str {
        &self.session[usize::from(secure)]
    }

    /// The cookie that ties a sign-in through a provider to the browser that began it.
    pub(crate) fn sign_in(&self, secure: bool) -> &str {
        &self.sign_in[usize::from(secure)]
    }
}

/// A cookie to set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cookie<'a> {
    pub(crate) name: &'a str,
    /// Letters, digits, `-`, `_` and `.` only.
    pub(crate) value: &'a str,
    pub(crate) path: &'a str,
    /// Seconds; 0 ends the cookie.
    pub(crate) max_age: u64,
    /// Only over https.
    pub(crate) secure: bool,
}

impl Cookie<'_> {
    /// The value of `Set-Cookie`: out of reach of scripts, and not sent along with what other sites do.
    pub(crate) fn header(&self) -> HeaderValue {
        let Self { name, value, path, max_age, secure } = self;
        let secure = if *secure { "; Secure" } else { "" };
        let text = format!("{name}={value}; Path={path}; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}");
        // Name and path are ours, the value is plain.
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|l| (header::COOKIE, HeaderValue::from_bytes(l.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn the_first_of_the_name_counts() {
        for (lines, found) in [
            (vec!["s=abc"], Some("abc")),
            (vec!["a=1; s=abc; b=2"], Some("abc")),
            (vec!["a=1;s=abc;b"], Some("abc")),
            (vec!["  s = abc  "], Some("abc")),
            (vec!["s=one; s=two"], Some("one")),
            (vec!["a=1", "s=abc"], Some("abc")),
            (vec!["xs=abc; S=abc; s"], None),
            (vec!["s="], None),
            (vec!["s=\"abc\""], None),
            (vec!["s=a b"], None),
            (vec!["s=abc=def"], None),
            (vec![";;;=;"], None),
            (vec![], None),
        ] {
            assert_eq!(find(&with(&lines), "s"), found, "{lines:?}");
        }
        let long = format!("s={}", "x".repeat(LONGEST + 1));
        assert_eq!(find(&with(&[&long]), "s"), None);
    }

    #[test]
    fn headers() {
        let cookie = Cookie { name: "s", value: "v", path: "/", max_age: 60, secure: false };
        assert_eq!(cookie.header(), "s=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax");
        let cookie = Cookie { secure: true, ..cookie };
        assert_eq!(cookie.header(), "s=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure");
    }

    #[test]
    fn names_are_those_of_the_installation() {
        let (one, other) = (CookieNames::new("00aa11bb"), CookieNames::new("00aa11bc"));
        assert_eq!(one.session(false), "fleetfoot_session_00aa11bb");
        assert_eq!(one.session(true), "__Host-fleetfoot_session_00aa11bb");
        assert_eq!(one.sign_in(true), "__Secure-fleetfoot_oidc_00aa11bb");
        let both = with(&["fleetfoot_session_00aa11bb=mine; fleetfoot_session_00aa11bc=theirs"]);
        assert_eq!(find(&both, one.session(false)), Some("mine"));
        assert_eq!(find(&both, other.session(false)), Some("theirs"));
        assert_eq!(find(&both, one.session(true)), None);
    }

    proptest! {
        /// Whatever arrives: no panic, and nothing but plain text comes out.
        #[test]
        fn anything_may_arrive(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..4)) {
            let headers: HeaderMap = lines
                .iter()
                .filter_map(|l| Some((header::COOKIE, HeaderValue::from_bytes(l).ok()?)))
                .collect();
            if let Some(value) = find(&headers, "s") {
                prop_assert!(!value.is_empty() && value.bytes().all(is_plain));
            }
        }

        /// What we set is found again among whatever else there is.
        #[test]
        fn ours_is_found(
            value in "[A-Za-z0-9_.-]{1,80}",
            before in proptest::collection::vec("[a-r]{1,5}=[ -:<-~]{0,20}", 0..5),
            after in "[ -~]{0,40}",
        ) {
            let mut all = before;
            all.push(format!("s={value}"));
            all.push(after);
            let line = all.join("; ");
            let headers = with(&[&line]);
            prop_assert_eq!(find(&headers, "s"), Some(value.as_str()));
        }
    }
}
