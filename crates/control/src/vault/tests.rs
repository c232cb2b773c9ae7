use super::*;
use fleetfoot_model::ids::{Epoch, JobId};

/// A vault, its directory, and the rows that a database would hold.
struct Bench {
    dir: tempfile::TempDir,
    vault: Vault,
    rows: Vec<DataKeyRow>,
}

fn reopen(dir: &Path, rows: &[DataKeyRow]) -> Vault {
    let vault = Vault::open(dir).unwrap();
    vault.unlock(rows).unwrap();
    vault
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        let mut rows = vault.missing(Timestamp(5)).unwrap();
        rows.extend(vault.missing_for("", Timestamp(1)).unwrap());
        rows.extend(vault.missing_for("core", Timestamp(1)).unwrap());
        vault.unlock(&rows).unwrap();
        Self { dir, vault, rows }
    }

    fn wrap(&mut self, only: usize) {
        for key in self.vault.rewrap(&self.rows).unwrap().into_iter().take(only) {
            let row = self.rows.iter_mut().find(|r| r.id == key.id).unwrap();
            (row.master, row.sealed) = (key.master, key.sealed);
        }
    }
}

fn project(name: &str) -> Scope {
    Scope::Project(name.to_owned())
}

fn attempt(epoch: u64) -> AttemptRef {
    AttemptRef { job: JobId(7), attempt: 1, epoch: Epoch(epoch) }
}

#[test]
fn secrets_open_only_for_their_run_and_unchanged() {
    let vault = Bench::new().vault;
    let secrets = IndexMap::from([("TOKEN".to_owned(), "hunter2-hunter2".to_owned())]);
    let sealed = vault.seal(RunId(1), &secrets).unwrap();
    assert!(!sealed.windows(7).any(|w| w == b"hunter2"));
    assert_eq!(vault.open_secrets(RunId(1), &sealed).unwrap(), secrets);
    assert!(vault.open_secrets(RunId(2), &sealed).is_err());
    let mut bent = sealed.clone();
    *bent.last_mut().unwrap() ^= 1;
    assert!(vault.open_secrets(RunId(1), &bent).is_err());
    for end in 1..sealed.len() {
        assert!(vault.open_secrets(RunId(1), &sealed[..end]).is_err());
    }
}

#[test]
fn what_was_sealed_before_there_were_data_keys_still_opens() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret.key"), [9; 32]).unwrap();
    let vault = Vault::open(dir.path()).unwrap();
    vault.unlock(&vault.missing(Timestamp(5)).unwrap()).unwrap();
    let old = Key([9; 32]).seal(br#"{"A":"b"}"#, &about_run(RunId(5))).unwrap();
    assert_eq!(vault.open_secrets(RunId(5), &old).unwrap()["A"], "b");
    let mac = blake3::keyed_hash(&[9; 32], format!("job-token {}", attempt(99)).as_bytes());
    assert!(vault.job_token(attempt(99)).ends_with(&URL_SAFE_NO_PAD.encode(mac.as_bytes())));
}

#[test]
fn a_moved_row_does_not_open() {
    let vault = Bench::new().vault;
    let (key, sealed) = vault.seal_secret(&project("core"), "TOKEN", "hunter2").unwrap();
    let open = |scope: &Scope, name: &str, key| vault.open_secret(scope, name, key, &sealed);
    assert_eq!(open(&project("core"), "TOKEN", key).unwrap(), "hunter2");
    let env = |environment: &str| Scope::Environment {
        project: "core".to_owned(),
        environment: environment.to_owned(),
    };
    for (scope, name) in [
        (Scope::Global, "TOKEN"),
        (project("other"), "TOKEN"),
        (project("core"), "TOKEN2"),
        (env("production"), "TOKEN"),
    ] {
        let refused = open(&scope, name, key).unwrap_err().to_string();
        assert!(refused.contains("moved") && !refused.contains("hunter2"), "{refused}");
    }
    assert!(open(&project("core"), "TOKEN", key ^ 2).is_err());
    let (key, sealed) = vault.seal_secret(&env("Production"), "A", "x").unwrap();
    assert_eq!(vault.open_secret(&env("production"), "A", key, &sealed).unwrap(), "x");
}

#[test]
fn a_data_key_cannot_stand_for_another() {
    let bench = Bench::new();
    let mut rows = bench.rows.clone();
    let sealed = rows[0].sealed.clone();
    rows[1].sealed = sealed;
    assert!(matches!(Vault::open(bench.dir.path()).unwrap().unlock(&rows), Err(VaultError::DataKey(_))));
    let other = tempfile::tempdir().unwrap();
    // Without its key file a database is of no use for secrets, but can be worked with.
    let (first, sealed) = bench.vault.seal_secret(&project("core"), "A", "x").unwrap();
    let vault = Vault::open(other.path()).unwrap();
    assert_eq!(vault.unlock(&bench.rows).unwrap(), [bench.vault.master()]);
    assert!(vault.open_secret(&project("core"), "A", first, &sealed).is_err());
    rows.clone_from(&bench.rows);
    rows.extend(vault.missing(Timestamp(5)).unwrap());
    rows.extend(vault.missing_for("core", Timestamp(5)).unwrap());
    vault.unlock(&rows).unwrap();
    let (key, again) = vault.seal_secret(&project("core"), "A", "y").unwrap();
    assert_eq!(vault.open_secret(&project("core"), "A", key, &again).unwrap(), "y");
    vault.begin_rotation().unwrap();
    assert_eq!(vault.rewrap(&rows).unwrap().len(), 3, "what is locked is left alone");
    // The right file is back: what it sealed opens again.
    let back = reopen(bench.dir.path(), &rows);
    assert_eq!(back.open_secret(&project("core"), "A", first, &sealed).unwrap(), "x");
}

#[test]
fn the_key_survives_a_restart_and_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new();
    let token = bench.vault.job_token(attempt(99));
    let again = reopen(bench.dir.path(), &bench.rows);
    assert_eq!(again.attempt_of(&token), Some(attempt(99)));
    let mode = std::fs::metadata(bench.dir.path().join("secret.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_job_token_cannot_be_bent_to_another_attempt() {
    let vault = Bench::new().vault;
    let token = vault.job_token(attempt(99));
    assert_eq!(vault.attempt_of(&token.replace("ffj_7", "ffj_8")), None);
    assert_eq!(vault.attempt_of("ffj_"), None);
    assert_eq!(vault.attempt_of("ffj_1.1.1.x"), None);
}

/// Stopped anywhere, a rotation can be taken up again and everything opens.
#[test]
fn a_rotation_can_stop_anywhere() {
    for stop in 0..7 {
        let mut bench = Bench::new();
        let old = std::fs::read(bench.dir.path().join("secret.key")).unwrap();
        let token = bench.vault.job_token(attempt(99));
        let (key, secret) = bench.vault.seal_secret(&project("core"), "A", "x").unwrap();
        let run = bench.vault.seal(RunId(1), &IndexMap::from([("B".to_owned(), "y".to_owned())])).unwrap();
        if stop > 0 {
            bench.vault.begin_rotation().unwrap();
        }
        if stop == 2 {
            // Whatever a torn write leaves has another name.
            std::fs::write(bench.dir.path().join("secret.key.next.draft"), b"torn").unwrap();
        }
        if stop > 2 {
            bench.wrap(stop - 2);
        }
        if stop > 4 {
            bench.wrap(usize::MAX);
        }
        if stop > 5 {
            bench.vault.finish_rotation().unwrap();
        }
        bench.vault = reopen(bench.dir.path(), &bench.rows);
        assert_eq!(bench.vault.is_rotating(), (1..6).contains(&stop), "{stop}");
        bench.vault.begin_rotation().unwrap();
        bench.wrap(usize::MAX);
        bench.vault.finish_rotation().unwrap();
        bench.vault = reopen(bench.dir.path(), &bench.rows);
        assert_ne!(std::fs::read(bench.dir.path().join("secret.key")).unwrap(), old);
        assert!(!bench.dir.path().join("secret.key.next").exists());
        assert_eq!(bench.vault.open_secret(&project("core"), "A", key, &secret).unwrap(), "x", "{stop}");
        assert_eq!(bench.vault.open_secrets(RunId(1), &run).unwrap()["B"], "y");
        assert_eq!(bench.vault.attempt_of(&token), Some(attempt(99)));
    }
}

#[test]
fn an_attempt_keeps_its_token_and_a_later_one_gets_another_key() {
    let mut bench = Bench::new();
    let (before, after) = (bench.vault.job_token(attempt(99)), bench.vault.job_token(attempt(2_000)));
    bench.rows.extend(bench.vault.successors(Timestamp(1_000)).unwrap());
    bench.vault.unlock(&bench.rows).unwrap();
    assert_eq!(bench.vault.job_token(attempt(99)), before);
    assert_ne!(bench.vault.job_token(attempt(2_000)), after);
    assert_eq!(bench.vault.attempt_of(&after), None);
    assert_eq!(bench.rows.len(), 8);
}
