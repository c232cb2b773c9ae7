//! Webhooks as they arrive: whether the forge signed them, their event and
//! the id of the delivery. Pure; it must never compare a secret in a time that
//! depends on it, and never look into a body whose signature does not hold.

use fleetfoot_model::Timestamp;
use fleetfoot_model::repos::ForgeKind;
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

/// Largest body of a webhook, bytes; GitHub sends no larger ones.
pub const MAX_BODY: usize = 25 << 20;

/// A webhook whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Id of the delivery; the hash of the body where the forge names none.
    pub delivery: String,
    /// Event, as the forge calls it.
    pub event: String,
}

/// Why a webhook is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rejected {
    /// There is no signature.
    #[error("the webhook is not signed: it has no header {0}")]
    Unsigned(&'static str),
    /// The signature is another one.
    #[error("the signature of the webhook does not hold: its secret is not the one of this repository")]
    Mismatch,
    /// It does not say what happened.
    #[error("the webhook does not name its event: it has no header {0}")]
    NoEvent(&'static str),
}

/// Headers of one forge.
struct Names {
    signatures: &'static [&'static str],
    events: &'static [&'static str],
    deliveries: &'static [&'static str],
}

const fn names(kind: ForgeKind) -> Names {
    match kind {
        ForgeKind::Github => Names {
            signatures: &["x-hub-signature-256"],
            events: &["x-github-event"],
            deliveries: &["x-github-delivery"],
        },
        ForgeKind::Gitea => Names {
            signatures: &["x-gitea-signature", "x-hub-signature-256"],
            events: &["x-gitea-event", "x-github-event"],
            deliveries: &["x-gitea-delivery", "x-github-delivery"],
        },
        ForgeKind::Forgejo => Names {
            signatures: &["x-forgejo-signature", "x-gitea-signature", "x-hub-signature-256"],
            events: &["x-forgejo-event", "x-gitea-event", "x-github-event"],
            deliveries: &["x-forgejo-delivery", "x-gitea-delivery", "x-github-delivery"],
        },
        ForgeKind::Gitlab => Names {
            signatures: &["x-gitlab-token"],
            events: &["x-gitlab-event"],
            deliveries: &["idempotency-key", "x-gitlab-event-uuid"],
        },
    }
}

/// Checks the signature of a webhook. `header` answers a header by its name in lower case.
///
/// # Errors
/// [`Rejected`] if it is not signed with this secret, or names no event.
pub fn verify<'h>(
    kind: ForgeKind,
    secret: &[u8],
    header: impl Fn(&str) -> Option<&'h str>,
    body: &[u8],
) -> Result<Incoming, Rejected> {
    let names = names(kind);
    let first = |all: &[&str]| all.iter().find_map(|name| header(name)).map(str::trim);
    let signature = first(names.signatures).ok_or(Rejected::Unsigned(names.signatures[0]))?;
    let holds = match kind {
        // GitLab sends the secret itself. Hashes have one length: comparing them tells nothing of the secret's.
        ForgeKind::Gitlab => bool::from(Sha256::digest(signature.as_bytes()).ct_eq(&Sha256::digest(secret))),
        _ => {
            let hex = signature.strip_prefix("sha256=").unwrap_or(signature).to_ascii_lowercase();
            bool::from(hex_of(&hmac_sha256(secret, body)).as_bytes().ct_eq(hex.as_bytes()))
        }
    };
    if !holds || secret.is_empty() {
        return Err(Rejected::Mismatch);
    }
    let event = first(names.events).filter(|e| is_word(e)).ok_or(Rejected::NoEvent(names.events[0]))?;
    let delivery = first(names.deliveries)
        .filter(|d| is_word(d))
        .map_or_else(|| format!("sha256:{}", hex_of(&Sha256::digest(body))), str::to_owned);
    Ok(Incoming { delivery, event: event.to_owned() })
}

/// Whether the signature covers the body: then the same body under another id is a replay.
#[must_use]
pub const fn signs_the_body(kind: ForgeKind) -> bool {
    !matches!(kind, ForgeKind::Gitlab)
}

fn is_word(text: &str) -> bool {
    (1..=200).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic() || c == ' ')
}

/// The JSON of a webhook, which GitHub and Gitea may send as a form with the field `payload`.
#[must_use]
pub fn json_of(body: &[u8], content_type: Option<&str>) -> Option<Value> {
    let form = content_type.is_some_and(|t| t.starts_with("application/x-www-form-urlencoded"));
    if !form {
        return serde_json::from_slice(body).ok();
    }
    let field = body.split(|b| *b == b'&').find_map(|pair| pair.strip_prefix(b"payload="))?;
    serde_json::from_slice(&percent_decoded(field)).ok()
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut i = 0;
    while let Some(&byte) = text.get(i) {
        i += 1;
        match byte {
            b'+' => out.push(b' '),
            b'%' => match (digit(i), digit(i + 1)) {
                (Some(high), Some(low)) => {
                    out.extend(u8::try_from(high * 16 + low));
                    i += 2;
                }
                _ => out.push(b'%'),
            },
            other => out.push(other),
        }
    }
    out
}

/// When the event happened, where the signed body says so in a field that every such event renews.
/// Times of commits are no such field: whoever commits writes them.
#[must_use]
pub fn happened_at(kind: ForgeKind, event: &str, payload: &Value) -> Option<Timestamp> {
    let pointers: &[&str] = match (kind, event) {
        (ForgeKind::Github, "push") => &["/repository/pushed_at"],
        (ForgeKind::Github, "pull_request") => &["/pull_request/updated_at"],
        (ForgeKind::Gitlab, "Merge Request Hook" | "Issue Hook" | "Note Hook") => {
            &["/object_attributes/updated_at"]
        }
        (_, "issue_comment") => &["/comment/updated_at"],
        _ => &[],
    };
    pointers.iter().find_map(|pointer| match payload.pointer(pointer)? {
        Value::Number(seconds) => seconds.as_i64()?.checked_mul(1_000_000).map(Timestamp),
        Value::String(text) => {
            // GitLab once wrote `2026-11-20 18:00:00 UTC`.
            let standard = text.strip_suffix(" UTC").map(|t| format!("{}Z", t.replacen(' ', "T", 1)));
            standard.as_deref().unwrap_or(text).parse().ok()
        }
        _ => None,
    })
}

/// HMAC-SHA256 (RFC 2104).
#[must_use]
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let mut block = [0_u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|b| b ^ 0x5c)).chain_update(inner).finalize().into()
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex_of(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::HashMap;

    const BODY: &[u8] = b"Hello, World!";

    fn check(kind: ForgeKind, secret: &str, headers: &[(&str, &str)]) -> Result<Incoming, Rejected> {
        let map: HashMap<&str, &str> = headers.iter().copied().collect();
        verify(kind, secret.as_bytes(), |name| map.get(name).copied(), BODY)
    }

    /// RFC 4231, cases 1, 2 and 6.
    #[test]
    fn hmac_is_the_standard_one() {
        let hex = |key: &[u8], text: &[u8]| hex_of(&hmac_sha256(key, text));
        assert_eq!(
            hex(&[0x0b; 20], b"Hi There"),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            hex(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    /// The example of GitHub's documentation.
    #[test]
    fn signatures_of_every_forge() {
        let secret = "It's a Secret to Everybody";
        let hex = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let hub = format!("sha256={hex}");
        let github =
            [("x-hub-signature-256", &*hub), ("x-github-event", "push"), ("x-github-delivery", "72d3162e")];
        let good = Incoming { delivery: "72d3162e".to_owned(), event: "push".to_owned() };
        assert_eq!(check(ForgeKind::Github, secret, &github), Ok(good.clone()));
        assert_eq!(check(ForgeKind::Github, "another", &github), Err(Rejected::Mismatch));
        assert_eq!(check(ForgeKind::Github, "", &github), Err(Rejected::Mismatch));
        for (kind, name) in [(ForgeKind::Gitea, "gitea"), (ForgeKind::Forgejo, "forgejo")] {
            let own = [
                (format!("x-{name}-signature"), hex),
                (format!("x-{name}-event"), "push"),
                (format!("x-{name}-delivery"), "72d3162e"),
            ];
            let own: Vec<(&str, &str)> = own.iter().map(|(k, v)| (k.as_str(), *v)).collect();
            assert_eq!(check(kind, secret, &own), Ok(good.clone()));
            assert_eq!(check(kind, "another", &own), Err(Rejected::Mismatch));
            assert_eq!(check(kind, secret, &own[1..]), Err(Rejected::Unsigned(names(kind).signatures[0])));
            assert_eq!(check(kind, secret, &own[..1]), Err(Rejected::NoEvent(names(kind).events[0])));
        }
        let gitlab = [("x-gitlab-token", secret), ("x-gitlab-event", "Push Hook")];
        let incoming = check(ForgeKind::Gitlab, secret, &gitlab).unwrap();
        assert_eq!(incoming.event, "Push Hook");
        assert!(incoming.delivery.starts_with("sha256:"), "{incoming:?}");
        assert_eq!(check(ForgeKind::Gitlab, "other", &gitlab), Err(Rejected::Mismatch));
        // A forge's secret in clear is no signature of another.
        assert_eq!(check(ForgeKind::Github, secret, &gitlab), Err(Rejected::Unsigned("x-hub-signature-256")));
    }

    #[test]
    fn times_of_events() {
        let at = |kind, event, payload| happened_at(kind, event, &payload).map(|t| t.to_string());
        let expected = Some("2026-11-20T18:00:00.000000Z".to_owned());
        let pushed = json!({"repository": {"pushed_at": 1_795_197_600}});
        assert_eq!(at(ForgeKind::Github, "push", pushed.clone()), expected);
        assert_eq!(at(ForgeKind::Gitea, "push", pushed), None);
        let mr = json!({"object_attributes": {"updated_at": "2026-11-20 18:00:00 UTC"}});
        assert_eq!(at(ForgeKind::Gitlab, "Merge Request Hook", mr), expected);
        let comment = json!({"comment": {"updated_at": "2026-11-20T19:00:00+01:00"}});
        assert_eq!(at(ForgeKind::Forgejo, "issue_comment", comment), expected);
        let odd = json!({"repository": {"pushed_at": i64::MAX}});
        assert_eq!(at(ForgeKind::Github, "push", odd), None);
    }

    #[test]
    fn forms_hold_json() {
        let form = b"x=1&payload=%7B%22a%22%3A+%22b%25%22%7D";
        let kind = Some("application/x-www-form-urlencoded; charset=utf-8");
        assert_eq!(json_of(form, kind), Some(json!({"a": "b%"})));
        assert_eq!(json_of(b"{}", Some("application/json")), Some(json!({})));
        assert_eq!(json_of(b"{", None), None);
        assert_eq!(json_of(b"payload=%7", kind), None);
    }

    proptest! {
        #[test]
        fn one_flipped_bit_breaks_a_signature(secret in ".{1,80}", body in prop::collection::vec(any::<u8>(), 1..200), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let signature = format!("sha256={}", hex_of(&hmac_sha256(secret.as_bytes(), &body)));
            let header = |name: &str| match name {
                "x-hub-signature-256" => Some(signature.as_str()),
                "x-github-event" => Some("push"),
                _ => None,
            };
            prop_assert!(verify(ForgeKind::Github, secret.as_bytes(), header, &body).is_ok());
            let mut bent = body.clone();
            bent[at.index(body.len())] ^= 1_u8 << bit;
            prop_assert_eq!(verify(ForgeKind::Github, secret.as_bytes(), header, &bent), Err(Rejected::Mismatch));
        }
    }
}
