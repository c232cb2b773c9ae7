//! The action that is built in: `actions/checkout`, any version, by the git
//! command. Credentials travel in the environment of the git processes
//! that need them; they must never reach a command line or a file of the
//! repository. Names from a document must never be read as options.
//!
//! Where the boundary has files of its own, git runs outside of it, in a
//! directory that the job never saw: whatever the job did to git's
//! configuration, hooks or variables has no effect there, and its image needs
//! no git. The result is then moved into the workspace, following no link.

use crate::attempt::{Attempt, Leash, StepRun};
use crate::held;
use crate::host::HostCell;
use crate::interpret::Interpreter;
use crate::outcome::Outcome;
use crate::overlay;
use crate::process::Watch;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetfoot_driver::{Cell, Command};
use fleetfoot_model::state::{Conclusion, Reason};
use indexmap::IndexMap;
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

/// Inputs that mean something here, and those that are accepted because they change nothing.
const INPUTS: &[&str] = &[
    "repository",
    "ref",
    "path",
    "fetch-depth",
    "fetch-tags",
    "clean",
    "token",
    "ssh-key",
    "ssh-known-hosts",
    "submodules",
    "lfs",
    "persist-credentials",
    "set-safe-directory",
    "show-progress",
    "sparse-checkout",
    "sparse-checkout-cone-mode",
    "ssh-strict",
    "ssh-user",
    "github-server-url",
    "allow-unsafe-pr-checkout",
];

/// Variables that say how a server is reached.
const PROXIES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];

/// An end of the step before its end.
type Stopped = Box<Outcome>;

/// One checkout.
struct Checkout {
    index: u16,
    /// Names the files of the step.
    key: String,
    watch: Watch,
    leash: Leash,
    /// Where git works.
    target: PathBuf,
    /// If that is apart from the job: the way from the workspace to where the result belongs.
    way: Option<Vec<OsString>>,
    url: String,
    /// What to check out; empty means the default branch.
    reference: String,
    sha: Option<String>,
    depth: u32,
    tags: bool,
    clean: bool,
    /// Patterns of the files to check out; empty means all. In cone mode they are directories.
    sparse: Vec<String>,
    cone: bool,
    /// Without credentials.
    plain: HashMap<String, String>,
    /// For git commands that talk to the remote.
    remote: HashMap<String, String>,
}

/// What to fetch and what to check out then.
struct Target {
    refspec: String,
    checkout: Vec<String>,
    /// The ref to fetch in full if the server gives no single commits.
    fallback: Option<String>,
}

impl Attempt<'_> {
    /// Carries out `actions/checkout`; the inputs are evaluated.
    pub(crate) async fn built_in_checkout(
        &self,
        run: &StepRun<'_>,
        inputs: &IndexMap<String, String>,
    ) -> Outcome {
        let inputs: HashMap<String, String> =
            inputs.iter().map(|(key, value)| (key.to_ascii_lowercase(), value.trim().to_owned())).collect();
        for key in inputs.keys().filter(|k| !INPUTS.contains(&k.as_str())) {
            self.log
                .say(run.index, &format!("Warning: the input '{key}' of actions/checkout has no effect here"))
                .await;
        }
        if inputs.get("persist-credentials").is_some_and(|v| v == "true") {
            let line = "Warning: the built-in actions/checkout leaves no credentials in the repository: \
                        give them to the git commands that need them";
            self.log.say(run.index, line).await;
        }
        let result = Box::pin(self.checkout(run, &inputs)).await;
        let _ = std::fs::remove_file(self.ssh_file("key", &run.spot.key));
        let _ = crate::workspace::remove(&self.apart(&run.spot.key));
        result.unwrap_or_else(|stopped| *stopped)
    }

    async fn checkout(
        &self,
        run: &StepRun<'_>,
        inputs: &HashMap<String, String>,
    ) -> Result<Outcome, Stopped> {
        let input = |name: &str| inputs.get(name).map(String::as_str).filter(|v| !v.is_empty());
        let way = self.way(input("path").unwrap_or("."))?;
        let apart = self.is_fenced();
        let target = match apart {
            true => self.apart(&run.spot.key),
            false => self.workspace.workspace.join(way.iter().collect::<PathBuf>()),
        };
        std::fs::create_dir_all(&target).map_err(|e| Outcome::io("cannot make the directory", &e))?;
        let own = self.assignment.repository.clone().unwrap_or_default();
        let overlay = self.overlay();
        let is_own = input("repository")
            .is_none_or(|r| own.name.as_deref().is_some_and(|n| n.eq_ignore_ascii_case(r)) || r == own.url);
        let (plain, remote) = (self.git_environment(run, apart), HashMap::new());
        let mut checkout = Checkout {
            index: run.index,
            key: run.spot.key.clone(),
            watch: self.watch(&run.leash),
            leash: run.leash.clone(),
            target,
            way: apart.then_some(way),
            url: String::new(),
            reference: input("ref").unwrap_or_default().to_owned(),
            sha: None,
            depth: depth(input("fetch-depth"))?,
            tags: input("fetch-tags") == Some("true"),
            clean: input("clean") != Some("false"),
            sparse: lines(input("sparse-checkout")),
            cone: input("sparse-checkout-cone-mode") != Some("false"),
            plain,
            remote,
        };
        if let Some(overlay) = overlay.filter(|_| is_own && checkout.reference.is_empty()) {
            return self.check_out_overlay(&checkout, &overlay).await;
        }
        let name = own.name.as_deref().unwrap_or_default();
        checkout.url = self.url(input("repository").filter(|_| !is_own), &own.url, name)?;
        if is_own && checkout.reference.is_empty() {
            checkout.sha = own.sha.clone();
            checkout.reference = own.git_ref.clone().unwrap_or_default();
        }
        for value in [&checkout.reference, &checkout.url] {
            if value.starts_with('-') || value.contains(['\n', '\0']) {
                return Err(bad(format!("'{value}' cannot be a repository or a ref")));
            }
        }
        if checkout.way.is_some() && !is_remote(&checkout.url) {
            let message =
                format!("'{}' is a directory of the runner, which this job cannot see", checkout.url);
            return Err(bad(message));
        }
        checkout.remote = self.credentials(&checkout, inputs)?;
        if checkout.way.is_some() && !is_own {
            // The keys of the runner are for the repository that it was given.
            let none = "ssh -F /dev/null -o IdentityFile=/dev/null -o IdentityAgent=none -o BatchMode=yes";
            checkout.remote.entry("GIT_SSH_COMMAND".into()).or_insert_with(|| none.into());
        }
        self.fetch(&checkout).await?;
        let submodules = input("submodules").unwrap_or("false").to_ascii_lowercase();
        if submodules == "true" || submodules == "recursive" {
            let mut args = vec!["submodule", "update", "--init", "--force"];
            args.extend((submodules == "recursive").then_some("--recursive"));
            let depth = format!("--depth={}", checkout.depth);
            args.extend((checkout.depth > 0).then_some(depth.as_str()));
            if checkout.way.is_some() {
                // A repository may name anything as its submodule, also directories of the runner.
                checkout.remote.insert("GIT_ALLOW_PROTOCOL".into(), "git:http:https:ssh".into());
            }
            self.git(&checkout, true, &args).await?;
        }
        if input("lfs") == Some("true") {
            self.git(&checkout, true, &["lfs", "pull"]).await?;
        }
        let outcome = self.outputs_of(&checkout).await?;
        self.hand_over(&checkout).await?;
        Ok(outcome)
    }

    /// Gives the job what was checked out apart from it.
    async fn hand_over(&self, c: &Checkout) -> Result<(), Stopped> {
        let Some(way) = c.way.clone() else { return Ok(()) };
        let (from, workspace, clean) = (c.target.clone(), self.workspace.workspace.clone(), c.clean);
        let moved = tokio::task::spawn_blocking(move || held::move_in(&from, &workspace, &way, clean));
        match moved.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(Box::new(Outcome::io("cannot put the files into the workspace", &e))),
            Err(e) => Err(bad(format!("putting the files into the workspace was cut short: {e}"))),
        }
    }

    /// Where git works if the job is not to get at it.
    fn apart(&self, key: &str) -> PathBuf {
        self.workspace.root.join(format!("_checkout_{key}"))
    }

    /// Fetches one commit (or everything) and checks it out.
    async fn fetch(&self, c: &Checkout) -> Result<(), Stopped> {
        if c.target.join(".git").exists() {
            self.git(c, false, &["remote", "set-url", "origin", &c.url]).await?;
        } else {
            self.git(c, false, &["init", "-q", "."]).await?;
            self.git(c, false, &["remote", "add", "origin", &c.url]).await?;
        }
        let target = self.resolve(c).await?;
        let mut args = vec!["fetch", "--prune", "--no-recurse-submodules", "--quiet"];
        let depth = format!("--depth={}", c.depth);
        args.push(if c.tags { "--tags" } else { "--no-tags" });
        args.extend((c.depth > 0).then_some(depth.as_str()));
        args.push("origin");
        if c.depth == 0 {
            args.extend(["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]);
        }
        args.push(&target.refspec);
        if let Err(stopped) = self.git(c, true, &args).await {
            let Some(fallback) = target.fallback.filter(|_| stopped.reason == Some(Reason::ExitCode)) else {
                return Err(stopped);
            };
            self.log.say(c.index, "The server gives no single commits: fetching the whole ref.").await;
            self.git(c, true, &["fetch", "--no-tags", "--quiet", "origin", &fallback]).await?;
        }
        if !c.sparse.is_empty() {
            let mut args = vec!["sparse-checkout", "set", if c.cone { "--cone" } else { "--no-cone" }];
            // Git knows no `--` here: a pattern must not be read as an option.
            args.extend(c.sparse.iter().map(String::as_str).filter(|p| !p.starts_with('-')));
            self.git(c, false, &args).await?;
        }
        let mut args = vec!["checkout", "--quiet", "--force"];
        args.extend(target.checkout.iter().map(String::as_str));
        self.git(c, true, &args).await?;
        if c.clean {
            self.git(c, false, &["clean", "-ffdxq"]).await?;
        }
        Ok(())
    }

    /// Finds out what the ref is called and how to fetch it.
    async fn resolve(&self, c: &Checkout) -> Result<Target, Stopped> {
        let on = |branch: &str| format!("refs/remotes/origin/{branch}");
        let reference = if c.reference.is_empty() && c.sha.is_none() {
            self.default_branch(c).await?
        } else if is_commit(&c.reference) {
            return Ok(commit(&c.reference, None));
        } else if c.reference.is_empty() || c.reference.starts_with("refs/") {
            c.reference.clone()
        } else {
            self.full_name(c).await?
        };
        Ok(match (&c.sha, reference.strip_prefix("refs/heads/")) {
            (Some(sha), Some(branch)) => Target {
                refspec: format!("+{sha}:{}", on(branch)),
                checkout: vec!["-B".into(), branch.into(), sha.clone(), "--".into()],
                fallback: Some(format!("+{reference}:{}", on(branch))),
            },
            (Some(sha), None) => commit(sha, (!reference.is_empty()).then(|| reference.clone())),
            (None, Some(branch)) => Target {
                refspec: format!("+{reference}:{}", on(branch)),
                checkout: vec!["-B".into(), branch.into(), on(branch), "--".into()],
                fallback: None,
            },
            (None, None) => Target {
                refspec: format!("+{reference}:{reference}"),
                checkout: vec!["--detach".into(), reference, "--".into()],
                fallback: None,
            },
        })
    }

    async fn default_branch(&self, c: &Checkout) -> Result<String, Stopped> {
        let listed = self.git_output(c, true, &["ls-remote", "--symref", "origin", "HEAD"]).await?;
        let branch = listed.lines().find_map(|l| l.strip_prefix("ref: ")?.split('\t').next());
        branch
            .map(str::to_owned)
            .ok_or_else(|| bad("the repository has no default branch: give 'ref'".into()))
    }

    /// A branch wins over a tag of the same name.
    async fn full_name(&self, c: &Checkout) -> Result<String, Stopped> {
        let candidates = [format!("refs/heads/{}", c.reference), format!("refs/tags/{}", c.reference)];
        let listed =
            self.git_output(c, true, &["ls-remote", "origin", &candidates[0], &candidates[1]]).await?;
        let names: Vec<&str> = listed.lines().filter_map(|l| l.split('\t').nth(1)).collect();
        candidates
            .into_iter()
            .find(|candidate| names.contains(&candidate.as_str()))
            .ok_or_else(|| bad(format!("the repository has no branch or tag '{}'", c.reference)))
    }

    async fn outputs_of(&self, c: &Checkout) -> Result<Outcome, Stopped> {
        let commit = self.git_output(c, false, &["rev-parse", "HEAD"]).await?;
        let mut outcome = Outcome::plain(Conclusion::Success);
        outcome.exit_code = Some(0);
        outcome.outputs.insert("ref".into(), c.reference.clone());
        outcome.outputs.insert("commit".into(), commit.trim().to_owned());
        Ok(outcome)
    }

    /// The working tree of a local run instead of a fetched commit.
    async fn check_out_overlay(&self, c: &Checkout, overlay: &Path) -> Result<Outcome, Stopped> {
        let source = overlay.to_string_lossy().into_owned();
        let copy = |files: Option<Vec<u8>>| {
            let (from, to) = (overlay.to_path_buf(), c.target.clone());
            async move {
                match tokio::task::spawn_blocking(move || overlay::copy(&from, &to, files.as_deref())).await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(e)) => Err(Box::new(Outcome::io("cannot copy the working tree", &e))),
                    Err(e) => Err(bad(format!("the copy of the working tree was cut short: {e}"))),
                }
            }
        };
        if !overlay.join(".git").exists() {
            copy(None).await?;
            self.hand_over(c).await?;
            let mut outcome = Outcome::plain(Conclusion::Success);
            outcome.outputs.insert("ref".into(), String::new());
            return Ok(outcome);
        }
        if !c.target.join(".git").exists() {
            // What is shared with the job must be where the job can see it, and not to be changed there.
            let how = if c.way.is_some() { "--no-hardlinks" } else { "--shared" };
            self.git(c, false, &["clone", "--quiet", how, "--no-checkout", "--", &source, "."]).await?;
        }
        let has_commit = self.git_ok(c, &["rev-parse", "--verify", "--quiet", "HEAD"]).await;
        if has_commit {
            self.git(c, false, &["read-tree", "HEAD"]).await?;
        }
        let list = ["-C", source.as_str(), "ls-files", "-z", "-c", "-o", "--exclude-standard"];
        let files = self.git_bytes(c, false, &list).await?;
        copy(Some(files)).await?;
        let outcome =
            if has_commit { self.outputs_of(c).await? } else { Outcome::plain(Conclusion::Success) };
        self.hand_over(c).await?;
        Ok(outcome)
    }

    /// A file for ssh, where no job sees it.
    fn ssh_file(&self, what: &str, key: &str) -> PathBuf {
        self.workspace.root.join(format!("_ssh_{what}_{key}"))
    }

    fn overlay(&self) -> Option<PathBuf> {
        let path = self.assignment.contexts.get("fleetfoot")?.get("overlay")?.as_str()?;
        (!path.is_empty()).then(|| PathBuf::from(path))
    }

    /// The directories from the workspace to a path.
    fn way(&self, path: &str) -> Result<Vec<OsString>, Stopped> {
        let path = self.outside(Path::new(path));
        let path = path.strip_prefix(&self.workspace.workspace).unwrap_or(&path);
        if path.components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir)) {
            return Err(bad(format!("the path '{}' is not inside the workspace", path.display())));
        }
        let names = path.components().filter(|c| matches!(c, Component::Normal(_)));
        Ok(names.map(|c| c.as_os_str().to_owned()).collect())
    }

    fn url(&self, wanted: Option<&str>, own: &str, own_name: &str) -> Result<String, Stopped> {
        match wanted {
            None if own.is_empty() => Err(bad(
                "this run is about no repository: submit it with one, or give 'repository' as an address"
                    .into(),
            )),
            None => Ok(own.to_owned()),
            Some(url) if url.contains("://") || url.starts_with('/') || url.contains('@') => {
                Ok(url.to_owned())
            }
            // A neighbour at the same forge.
            Some(name) if sibling(own, own_name, name).is_some() => {
                Ok(sibling(own, own_name, name).unwrap_or_default())
            }
            Some(name) => Err(bad(format!(
                "the repository '{name}' is not the one of this run: give its address, such as https://host/{name}.git"
            ))),
        }
    }

    /// Variables of every git command: those of the job, without the user's configuration of git.
    fn git_environment(&self, run: &StepRun<'_>, apart: bool) -> HashMap<String, String> {
        let mut variables = self.variables(run);
        if apart {
            // Those of the job say nothing to the runner, apart from the way to the server.
            variables.retain(|name, _| {
                PROXIES.iter().any(|p| p.eq_ignore_ascii_case(name)) || name == "GIT_SSL_NO_VERIFY"
            });
            variables.extend(self.config.passed_env.iter().cloned());
            variables.entry("PATH".into()).or_insert_with(|| crate::step::DEFAULT_PATH.to_owned());
        }
        variables.retain(|name, _| !name.starts_with("GIT_") || name.starts_with("GIT_SSL_"));
        let set: [(&str, &str); 5] = [
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh"),
            ("GIT_LFS_SKIP_SMUDGE", "1"),
        ];
        variables.extend(set.map(|(k, v)| (k.to_owned(), v.to_owned())));
        configure(
            &mut variables,
            &[
                ("protocol.ext.allow", "never"),
                ("safe.directory", "*"),
                ("init.defaultBranch", "main"),
                ("advice.detachedHead", "false"),
                ("gc.auto", "0"),
                ("core.hooksPath", "/dev/null"),
            ],
        );
        variables
    }

    /// Variables for git commands that talk to the remote.
    fn credentials(
        &self,
        c: &Checkout,
        inputs: &HashMap<String, String>,
    ) -> Result<HashMap<String, String>, Stopped> {
        let mut variables = c.plain.clone();
        let given = |name: &str| inputs.get(name).filter(|v| !v.is_empty());
        let token = given("token")
            .or_else(|| self.secrets.get("GITHUB_TOKEN"))
            // Our own token opens nothing at a forge, and a forge has no business knowing it.
            .filter(|t| **t != self.assignment.job_token);
        if let (Some(token), Some(origin)) = (token, http_origin(&c.url)) {
            let basic = STANDARD.encode(format!("x-access-token:{token}"));
            self.log.masker.add(&basic);
            configure(
                &mut variables,
                &[(&format!("http.{origin}/.extraHeader"), &format!("AUTHORIZATION: basic {basic}"))],
            );
        }
        if let Some(key) = given("ssh-key") {
            self.log.masker.add(key);
            let path = self.ssh_file("key", &c.key);
            write_private(&path, &format!("{}\n", key.trim_end()))
                .map_err(|e| Outcome::io("cannot write the SSH key", &e))?;
            let path = path.to_string_lossy().into_owned();
            let mut ssh = format!("ssh -i '{path}' -o IdentitiesOnly=yes -o BatchMode=yes");
            match given("ssh-known-hosts") {
                Some(hosts) => {
                    let known = self.ssh_file("known_hosts", &c.key);
                    write_private(&known, &format!("{hosts}\n"))
                        .map_err(|e| Outcome::io("cannot write the known hosts", &e))?;
                    ssh +=
                        &format!(" -o StrictHostKeyChecking=yes -o UserKnownHostsFile='{}'", known.display());
                }
                None => ssh += " -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=/dev/null",
            }
            variables.insert("GIT_SSH_COMMAND".into(), ssh);
        }
        Ok(variables)
    }

    fn git_command(&self, c: &Checkout, remote: bool, args: &[&str]) -> Command {
        let env = if remote && !c.remote.is_empty() { &c.remote } else { &c.plain };
        Command {
            program: "git".into(),
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            env: env.clone(),
            working_directory: c.target.clone(),
            stdin: Vec::new(),
            merge_output: false,
        }
    }

    fn git_cell(&self, c: &Checkout) -> &dyn Cell {
        if c.way.is_some() { &HostCell } else { self.cell }
    }

    /// Runs git; anything but success ends the step.
    async fn git(&self, c: &Checkout, remote: bool, args: &[&str]) -> Result<(), Stopped> {
        let command = self.git_command(c, remote, args);
        let ran = self.execute(self.git_cell(c), c.index, command, Interpreter::off(), &c.watch).await;
        let ran = ran.map_err(|e| Box::new(Outcome::driver(&e)))?;
        self.check(c, args, self.outcome(c, &ran))
    }

    fn outcome(&self, c: &Checkout, ran: &crate::step::Ran) -> Outcome {
        self.outcome_of(ran, &c.leash)
    }

    fn check(&self, c: &Checkout, args: &[&str], mut outcome: Outcome) -> Result<(), Stopped> {
        if outcome.conclusion == Conclusion::Success {
            return Ok(());
        }
        let verb = args.iter().find(|a| !a.starts_with('-')).copied().unwrap_or_default();
        outcome.message = Some(format!("git {verb} of '{}': {}", c.url, outcome.message.unwrap_or_default()));
        Err(Box::new(outcome))
    }

    async fn git_bytes(&self, c: &Checkout, remote: bool, args: &[&str]) -> Result<Vec<u8>, Stopped> {
        let command = self.git_command(c, remote, args);
        let captured = self.capture(self.git_cell(c), c.index, command, &c.watch).await;
        let (ran, bytes) = captured.map_err(|e| Box::new(Outcome::driver(&e)))?;
        self.check(c, args, self.outcome(c, &ran))?;
        Ok(bytes)
    }

    async fn git_output(&self, c: &Checkout, remote: bool, args: &[&str]) -> Result<String, Stopped> {
        let bytes = self.git_bytes(c, remote, args).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn git_ok(&self, c: &Checkout, args: &[&str]) -> bool {
        self.git_bytes(c, false, args).await.is_ok()
    }
}

fn bad(message: String) -> Stopped {
    Box::new(Outcome::failure(Reason::BadSpecification, message))
}

/// The lines of an input, without empty ones.
fn lines(text: Option<&str>) -> Vec<String> {
    let lines = text.unwrap_or_default().lines().map(str::trim);
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn depth(text: Option<&str>) -> Result<u32, Stopped> {
    match text {
        None => Ok(1),
        Some(text) => text.parse().map_err(|_| bad(format!("fetch-depth: '{text}' is not a number"))),
    }
}

/// The address of another repository of the forge where ours is, if the addresses there have the usual form.
fn sibling(own: &str, own_name: &str, name: &str) -> Option<String> {
    let plain = |n: &str| {
        n.split('/').count() == 2
            && n.split('/').all(|p| {
                !p.is_empty()
                    && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
                    && !p.starts_with('.')
            })
    };
    let (stem, ending) = own.strip_suffix(".git").map_or((own, ""), |stem| (stem, ".git"));
    let base = stem.strip_suffix(own_name).filter(|base| base.contains("://") && base.ends_with('/'))?;
    (plain(own_name) && plain(name)).then(|| format!("{base}{name}{ending}"))
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn commit(sha: &str, fallback: Option<String>) -> Target {
    Target {
        refspec: format!("+{sha}:refs/remotes/origin/fleetfoot-checkout"),
        checkout: vec!["--detach".into(), sha.to_owned(), "--".into()],
        fallback: Some(fallback.unwrap_or_else(|| "+refs/heads/*:refs/remotes/origin/*".into())),
    }
}

/// Whether an address leads to another machine, and not to a directory of this one.
fn is_remote(url: &str) -> bool {
    match url.split_once("://") {
        Some((scheme, _)) => ["http", "https", "ssh", "git"].iter().any(|s| scheme.eq_ignore_ascii_case(s)),
        // `user@host:path`
        None => url.split_once(':').is_some_and(|(host, _)| host.contains('@') && !host.contains('/')),
    }
}

/// `https://host:port` of an address.
fn http_origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    if scheme != "http" && scheme != "https" {
        return None;
    }
    let host = rest.split('/').next()?.rsplit('@').next()?;
    Some(format!("{scheme}://{host}"))
}

/// Adds configuration by environment, which no other user can read and no file keeps.
fn configure(variables: &mut HashMap<String, String>, entries: &[(&str, &str)]) {
    let mut count: usize = variables.get("GIT_CONFIG_COUNT").and_then(|c| c.parse().ok()).unwrap_or(0);
    for (key, value) in entries {
        variables.insert(format!("GIT_CONFIG_KEY_{count}"), (*key).to_owned());
        variables.insert(format!("GIT_CONFIG_VALUE_{count}"), (*value).to_owned());
        count += 1;
    }
    variables.insert("GIT_CONFIG_COUNT".into(), count.to_string());
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}
