//! What an answer that stays open stands on. Whoever follows something was
//! authenticated when the answer began; a [`Standing`] says when that no longer
//! holds: the session or token ended, the user was disabled, or the role no
//! longer allows it. It is woken by what ends here, and looks now and then for
//! what ends by time or at another server. It never uses what it looks at.

use crate::{Control, Permission, Principal};
use fleetfoot_model::users::Role;
use fleetfoot_model::{Code, Problem};
use std::time::Duration;
use tokio::sync::watch;

/// At least this often somebody looks.
const LOOK: Duration = Duration::from_secs(2);

/// What a caller proved to be somebody with.
#[derive(Clone)]
pub enum Credential {
    /// An API token.
    Token(String),
    /// The secret of a session.
    Session(String),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token",
            Self::Session(_) => "Session",
        })
    }
}

/// Why an answer cannot simply stay open.
#[derive(Debug)]
pub enum Lost {
    /// The caller may not see it any more.
    Ended(Problem),
    /// The caller may still see it, in another role.
    RoleChanged,
}

/// The right of a caller to an answer that stays open.
#[derive(Debug)]
pub struct Standing {
    control: Control,
    credential: Credential,
    needs: Permission,
    role: Option<Role>,
    endings: watch::Receiver<u64>,
}

impl Control {
    /// The right of a caller, authenticated by `credential` a moment ago, to an answer that stays open.
    #[must_use]
    pub fn standing(&self, who: &Principal, credential: Credential, needs: Permission) -> Standing {
        let endings = self.inner.sessions.endings();
        Standing { control: self.clone(), credential, needs, role: who.role(), endings }
    }
}

impl Standing {
    /// Resolves when the right is lost, or the role has changed. The first look is at once, for what
    /// ended since the caller was authenticated.
    pub async fn lost(&mut self) -> Lost {
        loop {
            match self.look().await {
                Ok(role) if role != self.role => {
                    self.role = role;
                    return Lost::RoleChanged;
                }
                Err(problem) if matches!(problem.code, Code::Unauthorized | Code::Forbidden) => {
                    return Lost::Ended(problem);
                }
                // A store that does not answer takes nobody's rights.
                Ok(_) | Err(_) => {}
            }
            // The sender lives as long as the control plane, which this holds.
            let _ = tokio::time::timeout(LOOK, self.endings.changed()).await;
        }
    }

    /// Resolves when the right is lost, whatever becomes of the role otherwise.
    pub async fn ended(&mut self) -> Problem {
        loop {
            if let Lost::Ended(problem) = self.lost().await {
                return problem;
            }
        }
    }

    async fn look(&self) -> Result<Option<Role>, Problem> {
        let who = match &self.credential {
            Credential::Token(token) => self.control.holder_of_token(token).await?,
            Credential::Session(secret) => self.control.holder_of_session(secret).await?,
        };
        who.require(self.needs)?;
        Ok(who.role())
    }
}
