use super::*;
use proptest::prelude::*;

fn masked(masker: &Masker, chunks: &[&[u8]]) -> Vec<u8> {
    let mut stream = StreamMask::default();
    let mut out = Vec::new();
    for chunk in chunks {
        stream.feed(masker, Bytes::copy_from_slice(chunk), &mut |b| out.extend_from_slice(&b));
    }
    stream.finish(&mut |b| out.extend_from_slice(&b));
    out
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}

#[test]
fn every_encoding_of_a_secret_is_masked() {
    let secret = r#"p@ss "w<o>r'd&more%than\enough"#;
    let masker = Masker::new([secret]);
    let base64 = |prefix: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("{prefix}{secret}"))
    };
    let json = serde_json::to_string(secret).unwrap();
    let cases = [
        ("plain", secret.to_owned()),
        ("json", json[1..json.len() - 1].to_owned()),
        ("uri", "p%40ss%20%22w%3Co%3Er%27d%26more%25than%5Cenough".to_owned()),
        ("uri, lower case", "p%40ss%20%22w%3co%3er%27d%26more%25than%5cenough".to_owned()),
        ("form", "p%40ss+%22w%3Co%3Er%27d%26more%25than%5Cenough".to_owned()),
        ("xml", r"p@ss &quot;w&lt;o&gt;r&apos;d&amp;more%than\enough".to_owned()),
        ("command line", r#"p@ss \"w<o>r'd&more%than\enough"#.to_owned()),
        ("expression", r#"p@ss "w<o>r''d&more%than\enough"#.to_owned()),
        ("powershell, left half", r#"p@ss "w<o>r'd"#.to_owned()),
        ("powershell, right half", r"more%than\enough".to_owned()),
    ];
    for (name, form) in cases {
        assert_eq!(masker.mask(&format!("[{form}]")), "[***]", "{name}");
    }
    for prefix in ["", "u", "us", "use"] {
        let shown = masker.mask(&base64(prefix));
        let core = &base64(prefix)[8..base64(prefix).len() - 6];
        assert!(shown.contains(MASK) && !shown.contains(core), "base64 after '{prefix}': {shown}");
    }
}

#[test]
fn quotes_around_a_secret_are_not_part_of_it() {
    assert_eq!(Masker::new(["\"quoted\""]).mask("say quoted or \"quoted\""), "say *** or ***");
}

#[test]
fn lines_of_a_secret_are_masked_one_by_one() {
    let masker = Masker::new(["-----BEGIN\nMIIabc\n}\n"]);
    assert_eq!(masker.mask("x MIIabc } y"), "x *** } y", "a line of one character is no secret");
    assert_eq!(masker.mask(r"-----BEGIN\nMIIabc\n}"), "***");
}

#[test]
fn a_single_character_is_refused_and_an_empty_secret_ignored() {
    let masker = Masker::default();
    assert!(!masker.add("x"));
    assert!(masker.add(""));
    assert!(masker.is_empty());
    assert_eq!(masker.mask("x"), "x");
}

#[test]
fn overlapping_secrets_leave_nothing_visible() {
    let masker = Masker::new(["abcd", "cdef"]);
    assert_eq!(masker.mask("<abcdef>"), "<***>");
    assert_eq!(masked(&masker, &[b"<abc", b"d", b"e", b"f>"]), b"<***>");
}

#[test]
fn nothing_is_held_back_that_cannot_become_a_secret() {
    let masker = Masker::new(["hunter2"]);
    let mut stream = StreamMask::default();
    let mut out = Vec::new();
    stream.feed(&masker, Bytes::from_static(b"password: hun"), &mut |b| out.extend_from_slice(&b));
    assert_eq!(out, b"password: ");
    stream.feed(&masker, Bytes::from_static(b"gry"), &mut |b| out.extend_from_slice(&b));
    assert_eq!(out, b"password: hungry");
}

#[test]
fn a_secret_learned_later_is_masked_from_then_on() {
    let masker = Masker::new(["first1"]);
    let mut stream = StreamMask::default();
    let mut out = Vec::new();
    stream.feed(&masker, Bytes::from_static(b"second2 first1\n"), &mut |b| out.extend_from_slice(&b));
    assert!(masker.add("second2"));
    stream.feed(&masker, Bytes::from_static(b"second2 first1\n"), &mut |b| out.extend_from_slice(&b));
    assert_eq!(out, b"second2 ***\n*** ***\n");
}

#[test]
fn bytes_without_secrets_pass_uncopied() {
    let masker = Masker::new(["hunter2"]);
    let chunk = Bytes::from(vec![b'-'; 1000]);
    let mut seen = Vec::new();
    StreamMask::default().feed(&masker, chunk.clone(), &mut |b| seen.push(b));
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].as_ptr(), chunk.as_ptr());
}

/// Secrets over a small alphabet, so that they overlap and nest.
fn secrets() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[ab]{2,6}|[abc \"&]{3,9}", 1..4)
}

proptest! {
    #[test]
    fn cutting_the_stream_changes_nothing(
        secrets in secrets(),
        text in "[abc \"&\n]{0,120}",
        cuts in prop::collection::vec(0_usize..120, 0..12),
    ) {
        let masker = Masker::new(secrets.iter().map(String::as_str));
        let whole = masked(&masker, &[text.as_bytes()]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
        cuts.sort_unstable();
        let mut chunks = Vec::new();
        let mut at = 0;
        for cut in cuts {
            chunks.push(&text.as_bytes()[at..cut]);
            at = cut;
        }
        chunks.push(&text.as_bytes()[at..]);
        prop_assert_eq!(masked(&masker, &chunks), whole);
    }

    #[test]
    fn no_secret_survives(
        secrets in prop::collection::vec("[ -~]{2,24}", 1..5),
        words in prop::collection::vec("[ -~]{0,12}", 1..6),
        size in 1_usize..9,
    ) {
        let masker = Masker::new(secrets.iter().map(String::as_str));
        let mut text = String::new();
        for (i, word) in words.iter().enumerate() {
            text.push_str(word);
            text.push_str(&secrets[i % secrets.len()]);
        }
        let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        let out = masked(&masker, &chunks);
        prop_assert_eq!(&out, &masked(&masker, &[text.as_bytes()]));
        // A secret made of the mask's own character may appear in the mask.
        for secret in secrets.iter().filter(|s| s.trim().len() >= 2 && !s.contains('*')) {
            prop_assert!(!contains(&out, secret.as_bytes()), "{:?} in {:?}", secret, String::from_utf8_lossy(&out));
        }
    }
}
