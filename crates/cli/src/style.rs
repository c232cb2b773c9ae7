//! Colours, and whether to use them; tables and times for people. Never
//! decides what is printed where.

use crate::environment;
use fleetfoot_model::{Conclusion, Status, Timestamp};
use std::io::IsTerminal;
use std::time::Duration;

/// Colours on or off for one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    colour: bool,
}

impl Style {
    /// No colours.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { colour: false };

    /// For standard output.
    pub(crate) fn stdout() -> Self {
        Self { colour: wanted() && std::io::stdout().is_terminal() }
    }

    /// For standard error.
    pub(crate) fn stderr() -> Self {
        Self { colour: wanted() && std::io::stderr().is_terminal() }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }
    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }
    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }
    pub(crate) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }
    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// One character for where something stands.
    pub(crate) fn mark(self, status: Status, conclusion: Option<Conclusion>) -> String {
        match (status, conclusion) {
            (_, Some(Conclusion::Success)) => self.green("✓"),
            (_, Some(Conclusion::Failure | Conclusion::TimedOut)) => self.red("✗"),
            (_, Some(Conclusion::Cancelled)) => self.yellow("!"),
            (_, Some(Conclusion::Skipped)) => self.dim("-"),
            (Status::Running, None) => self.cyan("*"),
            (_, None) => self.dim("·"),
        }
    }

    /// The word for where something stands: the conclusion once there is one.
    pub(crate) fn word(self, status: Status, conclusion: Option<Conclusion>) -> String {
        match conclusion {
            Some(c @ Conclusion::Success) => self.green(c.as_str()),
            Some(c @ (Conclusion::Failure | Conclusion::TimedOut)) => self.red(c.as_str()),
            Some(c @ Conclusion::Cancelled) => self.yellow(c.as_str()),
            Some(c) => self.dim(c.as_str()),
            None if status == Status::Running => self.cyan(status.as_str()),
            None => status.as_str().to_owned(),
        }
    }
}

fn wanted() -> bool {
    environment::get(environment::NO_COLOR).is_none()
        && environment::text("TERM").is_none_or(|term| term != "dumb")
}

/// `3.2s`, `2m05s`, `1h02m`.
pub(crate) fn duration(d: Duration) -> String {
    let seconds = d.as_secs();
    match seconds {
        0..60 => format!("{:.1}s", d.as_secs_f64()),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// How long something took, or has taken until now; `-` if it did not start.
pub(crate) fn elapsed(start: Option<Timestamp>, end: Option<Timestamp>, now: Timestamp) -> String {
    start.map_or_else(|| "-".to_owned(), |start| duration(end.unwrap_or(now).since(start)))
}

/// How long ago something was, in one unit.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(then).as_secs();
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3600 => format!("{}m ago", seconds / 60),
        3600..86_400 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// Text with columns as wide as their widest cell, two spaces between, nothing after the last.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|h| width(h)).collect();
    for row in rows {
        for (w, cell) in widths.iter_mut().zip(row) {
            *w = (*w).max(width(cell));
        }
    }
    let header: Vec<String> = header.iter().map(|h| (*h).to_owned()).collect();
    let mut out = String::new();
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if i + 1 < row.len() {
                line.push_str(&" ".repeat(widths[i].saturating_sub(width(cell)) + 2));
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Characters that take room: escape sequences of colours do not.
fn width(text: &str) -> usize {
    let mut count = 0;
    let mut in_escape = false;
    for c in text.chars() {
        match (in_escape, c) {
            (false, '\x1b') => in_escape = true,
            (false, _) => count += 1,
            (true, 'm') => in_escape = false,
            (true, _) => {}
        }
    }
    count
}

/// Removes control characters: names come from documents, and a terminal obeys escape sequences.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The first line of a message: what follows it is detail for those who look closer.
pub(crate) fn headline(text: &str) -> String {
    printable(text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (ms, expected) in [(0, "0.0s"), (3_240, "3.2s"), (125_000, "2m05s"), (3_725_000, "1h02m")] {
            assert_eq!(duration(Duration::from_millis(ms)), expected);
        }
    }

    #[test]
    fn colours_do_not_move_columns() {
        let colour = Style { colour: true };
        let rows = [vec![colour.red("a"), "x".to_owned()], vec!["bbb".to_owned(), "y".to_owned()]];
        insta::assert_snapshot!(table(&["N", "V"], &rows).replace('\x1b', "^"), @r"
        N    V
        ^[31ma^[0m    x
        bbb  y
        ");
    }

    #[test]
    fn names_cannot_speak_to_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
