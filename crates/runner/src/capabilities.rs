//! Which tools this machine has, and their versions. Asks each once, all at
//! the same time, none longer than three seconds; a tool that hangs or fails
//! is one that is not there.

use indexmap::IndexMap;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long one tool may take to say its version.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often the tools are looked for again.
pub const REFRESH: Duration = Duration::from_secs(3600);

/// Name of the capability, program, arguments.
const TOOLS: &[(&str, &str, &[&str])] = &[
    ("git", "git", &["--version"]),
    ("docker", "docker", &["--version"]),
    ("podman", "podman", &["--version"]),
    ("node", "node", &["--version"]),
    ("python", "python3", &["--version"]),
    ("go", "go", &["version"]),
    ("rust", "rustc", &["--version"]),
    ("java", "java", &["-version"]),
    ("ansible", "ansible", &["--version"]),
    ("terraform", "terraform", &["version"]),
    ("tofu", "tofu", &["version"]),
    ("pwsh", "pwsh", &["--version"]),
    ("kubectl", "kubectl", &["version", "--client"]),
];

/// The tools that are there, in a fixed order.
pub async fn detect() -> IndexMap<String, String> {
    ask(TOOLS, PATIENCE).await
}

async fn ask(tools: &'static [(&str, &str, &[&str])], patience: Duration) -> IndexMap<String, String> {
    let mut asked = JoinSet::new();
    for (place, (_, program, args)) in tools.iter().enumerate() {
        asked.spawn(async move { (place, version_of(program, args, patience).await) });
    }
    let mut found = vec![None; tools.len()];
    while let Some(answer) = asked.join_next().await {
        if let Ok((place, version)) = answer {
            found[place] = version;
        }
    }
    tools.iter().zip(found).filter_map(|((name, ..), version)| Some(((*name).to_owned(), version?))).collect()
}

async fn version_of(program: &str, args: &[&str], patience: Duration) -> Option<String> {
    let child = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        // Without these two, asking for a version asks the network or runs an installer.
        .env("CHECKPOINT_DISABLE", "1")
        .env("POWERSHELL_UPDATECHECK", "Off")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .ok()?;
    let group = child.id();
    let output = match timeout(patience, child.wait_with_output()).await {
        Ok(output) => output.ok()?,
        Err(_) => {
            kill_group(group);
            return None;
        }
    };
    if !output.status.success() {
        return None;
    }
    // Java says it on standard error.
    [output.stdout, output.stderr].iter().find_map(|text| first_version(&String::from_utf8_lossy(text)))
}

/// What a hanging wrapper script started hangs as well.
fn kill_group(leader: Option<u32>) {
    let pid = leader.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

/// The first thing in a text that looks like a version: `1.2`, `1.2.3-rc1`.
fn first_version(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let starts =
        (0..bytes.len()).filter(|&i| bytes[i].is_ascii_digit() && (i == 0 || !bytes[i - 1].is_ascii_digit()));
    for start in starts {
        let rest = &text[start..];
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_')))
            .unwrap_or(rest.len());
        let word = rest[..end].trim_end_matches(['.', '-', '+', '_']);
        let mut parts = word.split('.');
        let number = |p: Option<&str>| p.is_some_and(|p| p.starts_with(|c: char| c.is_ascii_digit()));
        if number(parts.next()) && number(parts.next()) {
            return Some(word.chars().take(64).collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_in_the_wild() {
        for (text, version) in [
            ("git version 2.39.5", "2.39.5"),
            ("Docker version 27.3.1, build ce12230", "27.3.1"),
            ("v22.11.0\n", "22.11.0"),
            ("go version go1.24.1 linux/amd64", "1.24.1"),
            ("rustc 1.95.0-nightly (5980761 2026-01-01)", "1.95.0-nightly"),
            ("openjdk version \"21.0.5\" 2024-10-15", "21.0.5"),
            ("ansible [core 2.18.1]\n  python version = 3.11", "2.18.1"),
            ("Terraform v1.10.0\non linux_amd64", "1.10.0"),
            ("PowerShell 7.4.6", "7.4.6"),
            ("Client Version: v1.31.3\nKustomize Version: v5.4.2", "1.31.3"),
        ] {
            assert_eq!(first_version(text).as_deref(), Some(version), "{text}");
        }
        assert_eq!(first_version("no numbers 12 here"), None);
    }

    #[tokio::test]
    async fn hanging_failing_and_missing_tools_are_not_there() {
        const ODD: &[(&str, &str, &[&str])] = &[
            ("hangs", "sh", &["-c", "echo 1.2.3; sleep 1000"]),
            ("fails", "sh", &["-c", "echo 1.2.3; exit 1"]),
            ("missing", "no-such-program-here", &[]),
            ("speaks", "sh", &["-c", "echo version 4.5 >&2"]),
        ];
        let started = std::time::Instant::now();
        let found = ask(ODD, Duration::from_millis(300)).await;
        assert_eq!(found, IndexMap::from([("speaks".to_owned(), "4.5".to_owned())]));
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
