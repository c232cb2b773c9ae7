//! The forms in which a secret may appear. It must never give out a pattern
//! of fewer than two bytes: such a pattern would mask ordinary text.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Shortest pattern, in bytes.
const SHORTEST: usize = 2;
/// Shortest encoded or cut-off form: two or three characters of base64 are everywhere.
const SHORTEST_DERIVED: usize = 4;

/// Adds all forms of `secret`; `false` if it is too short to be masked.
pub(super) fn patterns(secret: &str, found: &mut BTreeSet<Vec<u8>>) -> bool {
    let whole = secret.trim_matches(['\r', '\n']);
    if whole.trim().len() < SHORTEST {
        return whole.is_empty();
    }
    // Output comes in lines, so each line of a secret is one of its own; what
    // was encoded as a whole has no line breaks and is looked for as a whole.
    for line in whole.split(['\r', '\n']) {
        if line.trim().len() >= SHORTEST {
            forms(line, found);
            found.insert(line.trim().as_bytes().to_vec());
        }
    }
    if whole.contains(['\r', '\n']) {
        derived(whole, found);
    }
    // Pipes into encoders often end with the line break of `echo`.
    base64(format!("{whole}\n").as_bytes(), found);
    true
}

fn forms(value: &str, found: &mut BTreeSet<Vec<u8>>) {
    found.insert(value.as_bytes().to_vec());
    derived(value, found);
    let trimmed = value.trim_matches('"');
    if trimmed.len() >= SHORTEST && trimmed != value {
        found.insert(trimmed.as_bytes().to_vec());
        derived(trimmed, found);
    }
}

fn derived(value: &str, found: &mut BTreeSet<Vec<u8>>) {
    let mut add = |form: String| {
        if form.len() >= SHORTEST_DERIVED && form != value {
            found.insert(form.into_bytes());
        }
    };
    add(json(value));
    add(uri(value, false));
    add(uri(value, true));
    add(uri(value, false).replace("%20", "+"));
    add(xml(value));
    add(value.replace('"', "\\\""));
    add(value.replace('\'', "''"));
    add(value.replace('\'', "'\\''"));
    for half in power_shell_halves(value) {
        add(half);
    }
    base64(value.as_bytes(), found);
}

/// As a JSON string without its quotes.
fn json(value: &str) -> String {
    let quoted = serde_json::to_string(value).unwrap_or_default();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

fn uri(value: &str, lower: bool) -> String {
    let mut out = String::with_capacity(value.len() * 3);
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            _ if lower => {
                let _ = write!(out, "%{byte:02x}");
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

fn xml(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 16);
    for c in value.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c => out.push(c),
        }
    }
    out
}

/// PowerShell prints an error about `a&b` with colours around the ampersand:
/// the parts left and right of it, with and without the character next to it.
fn power_shell_halves(value: &str) -> Vec<String> {
    let Some((before, after)) = value.split_once('&') else { return Vec::new() };
    let shortened = |s: &str| s.char_indices().next_back().map(|(i, _)| s[..i].to_owned());
    let mut halves = vec![before.to_owned(), after.to_owned()];
    halves.extend(shortened(before));
    halves.extend(after.char_indices().nth(1).map(|(i, _)| after[i..].to_owned()));
    halves.retain(|h| h.len() >= 6);
    halves
}

/// The base64 of a text that contains `value` at any of the three possible
/// shifts: the characters that `value` alone decides.
fn base64(value: &[u8], found: &mut BTreeSet<Vec<u8>>) {
    for shift in 0..3 {
        let mut shifted = vec![0_u8; shift];
        shifted.extend_from_slice(value);
        // Bits of the bytes before and after mix into the characters at the edges.
        let first = (shift * 8).div_ceil(6);
        let last = (shifted.len() * 8) / 6;
        for encoded in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            if let Some(core) = encoded.get(first..last)
                && core.len() >= SHORTEST_DERIVED
            {
                found.insert(core.as_bytes().to_vec());
            }
        }
    }
}
