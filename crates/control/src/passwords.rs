//! Passwords: rules, hashes (argon2id) and their verification. Hashing takes
//! memory and time on purpose, so it happens off the reactor, a few at a time,
//! and a queue that grows too long is refused. It never tells who it is about:
//! verifying takes as long for a user that does not exist.

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use fleetfoot_model::{Code, Problem};
use std::sync::{Arc, OnceLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory of one hash, KiB; with two passes and one lane what OWASP recommends for argon2id.
const MEMORY: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Hashes at the same time: bounds memory and the share of the machine.
const AT_ONCE: usize = 2;
/// Callers that wait for their turn; one more is told to come back.
const WAITING: usize = 64;
/// Shortest password, characters.
const SHORTEST: usize = 8;
/// Longest, bytes: hashing it must not become work.
const LONGEST: usize = 1024;

/// The place where passwords are hashed.
#[derive(Debug)]
pub(crate) struct Passwords {
    places: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    /// Hash of a password that nobody has, for users that do not exist.
    nobody: Arc<OnceLock<String>>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE)),
            queue: Arc::new(Semaphore::new(AT_ONCE + WAITING)),
            nobody: Arc::default(),
        }
    }
}

/// Checks that a password may be one.
pub(crate) fn check(password: &str, name: &str) -> Result<(), Problem> {
    let bad = |detail: String| Err(Problem::new(Code::BadRequest, detail));
    if password.chars().count() < SHORTEST {
        return bad(format!("a password has at least {SHORTEST} characters"));
    }
    if password.len() > LONGEST {
        return bad(format!("a password has at most {LONGEST} bytes"));
    }
    if password.eq_ignore_ascii_case(name) {
        return bad("the name is not a password".to_owned());
    }
    Ok(())
}

impl Passwords {
    /// Hashes a password, in the PHC format.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Problem> {
        self.work(move || hash(&password)).await?
    }

    /// Whether the password is the one of this hash. Without a hash it is not, after the same time.
    pub(crate) async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, Problem> {
        if password.len() > LONGEST {
            return Ok(false);
        }
        let nobody = Arc::clone(&self.nobody);
        self.work(move || {
            let known = stored.is_some();
            let stored = match stored {
                Some(stored) => stored,
                None => match nobody.get() {
                    Some(made) => made.clone(),
                    None => nobody.get_or_init(|| hash("nobody's").unwrap_or_default()).clone(),
                },
            };
            let right = PasswordHash::new(&stored)
                .is_ok_and(|stored| argon2().verify_password(password.as_bytes(), &stored).is_ok());
            right && known
        })
        .await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let _queued = Arc::clone(&self.queue).try_acquire_owned().map_err(|_| {
            Problem::new(Code::Overloaded, "too many people sign in at the same time")
                .with_hint("try again in a moment")
        })?;
        let gone = || Problem::new(Code::Internal, "the place where passwords are hashed is gone");
        let place: OwnedSemaphorePermit =
            Arc::clone(&self.places).acquire_owned().await.map_err(|_| gone())?;
        // The place is given back by the thread that worked, even if nobody waits for it any more.
        let working = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        working.await.map_err(|_| gone())
    }
}

fn argon2() -> Argon2<'static> {
    // The numbers are within the bounds of the algorithm; the defaults are the same today.
    let params = Params::new(MEMORY, PASSES, LANES, None).unwrap_or(Params::DEFAULT);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(password: &str) -> Result<String, Problem> {
    let failed = |e: String| Problem::new(Code::Internal, format!("a password cannot be hashed: {e}"));
    let salt = crate::vault::random::<16>().map_err(|e| failed(e.to_string()))?;
    let salt = SaltString::encode_b64(&salt).map_err(|e| failed(e.to_string()))?;
    let hash = argon2().hash_password(password.as_bytes(), &salt).map_err(|e| failed(e.to_string()))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_verifies() {
        let passwords = Passwords::default();
        let stored = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        let again = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert_ne!(stored, again, "a salt of its own");
        let right = |p: &str, s: Option<&str>| passwords.verify(p.to_owned(), s.map(str::to_owned));
        assert!(right("correct horse", Some(&stored)).await.unwrap());
        assert!(!right("correct horsE", Some(&stored)).await.unwrap());
        assert!(!right("", Some(&stored)).await.unwrap());
        assert!(!right("nobody's", None).await.unwrap(), "nobody has no password");
        assert!(!right("correct horse", Some("not a hash")).await.unwrap());
    }

    #[tokio::test]
    async fn a_flood_is_refused_instead_of_piling_up() {
        let passwords = Arc::new(Passwords::default());
        let busy =
            Arc::clone(&passwords.places).acquire_many_owned(AT_ONCE.try_into().unwrap()).await.unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE + WAITING {
            let passwords = Arc::clone(&passwords);
            waiting.spawn(async move { passwords.work(|| ()).await });
        }
        while passwords.queue.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = passwords.verify("x".to_owned(), None).await.unwrap_err();
        assert_eq!(refused.code, Code::Overloaded);
        drop(busy);
        while let Some(done) = waiting.join_next().await {
            done.unwrap().unwrap();
        }
    }

    #[test]
    fn rules() {
        assert!(check("12345678", "ada").is_ok());
        assert!(check("pässwörd", "ada").is_ok());
        for (bad, name) in [("1234567", "ada"), ("", "ada"), ("lovelace-ada", "Lovelace-Ada")] {
            assert_eq!(check(bad, name).unwrap_err().code, Code::BadRequest, "{bad}");
        }
        assert!(check(&"x".repeat(LONGEST + 1), "ada").is_err());
    }
}
