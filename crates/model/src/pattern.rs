//! The patterns of `branches`, `tags` and `paths`, and of the rules of environments: `*`, `**`, `?`, `+`, `[]`
//! and, in a list, `!`. Pure text against text; time grows with the product of
//! both lengths and no faster, whatever the pattern.

/// What one place of a pattern accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// One of these characters, this often.
    One(Set, Times),
    /// Any number of characters that are no slash.
    Star,
    /// Any number of characters.
    Anything,
    /// Reads nothing: here directories may begin, or be left out together with the next piece.
    MayBegin,
    /// Anything that ends in a slash.
    Directories,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    Once,
    AtMostOnce,
    AtLeastOnce,
}

/// Ranges of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Set(Vec<(char, char)>);

impl Set {
    fn has(&self, c: char) -> bool {
        self.0.iter().any(|(from, to)| (*from..=*to).contains(&c))
    }
}

fn compile(pattern: &str) -> Vec<Piece> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut pieces = Vec::new();
    let mut i = 0;
    while let Some(&c) = chars.get(i) {
        i += 1;
        let set = match c {
            '*' if chars.get(i) == Some(&'*') => {
                i += 1;
                let from_start = i == 2 || chars.get(i.wrapping_sub(3)) == Some(&'/');
                if chars.get(i) == Some(&'/') && from_start {
                    i += 1;
                    pieces.extend([Piece::MayBegin, Piece::Directories]);
                } else {
                    pieces.push(Piece::Anything);
                }
                continue;
            }
            '*' => {
                pieces.push(Piece::Star);
                continue;
            }
            '?' | '+' => {
                // They speak of the character before; without one they stand for themselves.
                if let Some(Piece::One(_, times @ Times::Once)) = pieces.last_mut() {
                    *times = if c == '?' { Times::AtMostOnce } else { Times::AtLeastOnce };
                    continue;
                }
                Set(vec![(c, c)])
            }
            '[' => match bracket(&chars[i..]) {
                Some((set, used)) => {
                    i += used;
                    set
                }
                None => Set(vec![('[', '[')]),
            },
            '\\' => {
                let c = chars.get(i).copied().unwrap_or('\\');
                i += 1;
                Set(vec![(c, c)])
            }
            c => Set(vec![(c, c)]),
        };
        pieces.push(Piece::One(set, Times::Once));
    }
    pieces
}

/// The inside of `[...]`, and how many characters it takes with its end.
fn bracket(chars: &[char]) -> Option<(Set, usize)> {
    let end = chars.iter().position(|c| *c == ']').filter(|end| *end > 0)?;
    let inside = &chars[..end];
    let mut ranges = Vec::new();
    let mut i = 0;
    while let Some(&from) = inside.get(i) {
        match (inside.get(i + 1), inside.get(i + 2)) {
            (Some('-'), Some(&to)) => {
                ranges.push((from, to));
                i += 3;
            }
            _ => {
                ranges.push((from, from));
                i += 1;
            }
        }
    }
    Some((Set(ranges), end + 1))
}

/// Whether a pattern (without `!`) fits the whole text.
#[must_use]
pub fn fits(pattern: &str, text: &str) -> bool {
    let pieces = compile(pattern);
    // `at[i]`: what was read so far can be explained by the first `i` pieces.
    let mut at = vec![false; pieces.len() + 1];
    at[0] = true;
    without_reading(&pieces, &mut at);
    for c in text.chars() {
        let mut next = vec![false; pieces.len() + 1];
        for (i, piece) in pieces.iter().enumerate() {
            match piece {
                Piece::One(set, times) if set.has(c) => {
                    next[i + 1] |= at[i] || (*times == Times::AtLeastOnce && at[i + 1]);
                }
                Piece::Star if c != '/' => next[i] |= at[i],
                Piece::Anything => next[i] |= at[i],
                Piece::Directories => {
                    next[i] |= at[i];
                    next[i + 1] |= at[i] && c == '/';
                }
                _ => {}
            }
        }
        at = next;
        without_reading(&pieces, &mut at);
    }
    at[pieces.len()]
}

/// Adds the places that are reached without reading anything.
fn without_reading(pieces: &[Piece], at: &mut [bool]) {
    for (i, piece) in pieces.iter().enumerate().filter(|(_, p)| !matches!(p, Piece::Directories)) {
        if !at[i] {
            continue;
        }
        match piece {
            Piece::MayBegin => {
                at[i + 1] = true;
                at[i + 2] = true;
            }
            Piece::Star | Piece::Anything | Piece::One(_, Times::AtMostOnce) => at[i + 1] = true,
            Piece::One(..) | Piece::Directories => {}
        }
    }
}

/// A list in order: a later pattern overrules an earlier one, `!` takes away.
#[must_use]
pub fn list_fits(patterns: &[String], text: &str) -> bool {
    patterns.iter().fold(false, |chosen, pattern| match pattern.strip_prefix('!') {
        Some(pattern) if chosen => !fits(pattern, text),
        Some(_) => false,
        None => chosen || fits(pattern, text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_of_the_documentation() {
        for (pattern, yes, no) in [
            ("feature/*", &["feature/my-branch"][..], &["feature/a/b", "feature"][..]),
            ("feature/**", &["feature/beta-a/my-branch", "feature/your-branch"], &["feature", "x/feature/a"]),
            ("main", &["main"], &["main2", "amain", ""]),
            ("*", &["main", "releases"], &["all/the/branches"]),
            ("**", &["all/the/branches", "every/tag", ""], &[]),
            ("*feature", &["mona-feature", "feature"], &["mona/feature", "features"]),
            ("v2*", &["v2", "v2.0", "v2.9"], &["v1"]),
            ("v[12].[0-9]+.[0-9]+", &["v1.10.1", "v2.0.0"], &["v3.0.0", "v1..1", "v1.0"]),
            ("*.jsx?", &["page.js", "page.jsx"], &["a/page.js", "page.jsxx"]),
            ("**.js", &["index.js", "js/index.js", "src/js/app.js"], &["a.ts"]),
            ("docs/*", &["docs/README.md"], &["docs/a/b.md"]),
            ("docs/**", &["docs/README.md", "docs/mona/octocat.txt"], &["docs", "a/docs/b"]),
            ("docs/**/*.md", &["docs/README.md", "docs/mona/hello.md", "docs/a/md/f.md"], &["docs/x.txt"]),
            ("**/docs/**", &["docs/hello.md", "dir/docs/my-file.txt", "space/docs/plan/s.doc"], &["adocs/x"]),
            ("**/README.md", &["README.md", "js/README.md"], &["XREADME.md", "README.md/x"]),
            ("**/*src/**", &["a/src/app.js", "my-src/code/js/app.js"], &["src-a/b"]),
            ("**/*-post.md", &["my-post.md", "path/their-post.md"], &["post.md"]),
            ("**/migrate-*.sql", &["migrate-10909.sql", "db/sept/migrate-v1.sql"], &["migrate.sql"]),
            ("a\\*b", &["a*b"], &["axb"]),
            ("[abc", &["[abc"], &["a"]),
            ("a**/b", &["axx/b", "a/b", "a/c/b"], &["a"]),
            ("+x", &["+x"], &["x"]),
        ] {
            yes.iter().for_each(|t| assert!(fits(pattern, t), "{pattern} should fit {t}"));
            no.iter().for_each(|t| assert!(!fits(pattern, t), "{pattern} should not fit {t}"));
        }
    }

    #[test]
    fn the_order_of_a_list_counts() {
        let list = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let releases = list(&["releases/**", "!releases/**-alpha"]);
        assert!(list_fits(&releases, "releases/10"));
        assert!(!list_fits(&releases, "releases/10-alpha"));
        assert!(list_fits(&list(&["*.md", "!README.md", "README*"]), "README.md"));
        assert!(!list_fits(&list(&["!main"]), "main"));
        assert!(!list_fits(&list(&["!main"]), "other"), "nothing was chosen that could be taken away");
        assert!(!list_fits(&[], "main"));
    }

    proptest! {
        #[test]
        fn a_text_without_signs_fits_itself_alone(text in "[a-z/.]{0,20}", other in "[a-z/.]{0,20}") {
            prop_assert!(fits(&text, &text));
            prop_assert_eq!(fits(&text, &other), text == other);
        }

        #[test]
        fn nothing_takes_long(pattern in "[a*?+/\\[\\]!-]{0,60}", text in "[a/]{0,200}") {
            let _ = fits(&pattern, &text);
        }
    }
}
