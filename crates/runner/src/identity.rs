//! Who this runner is at its server: the token file, registering, leaving.
//! The token is in that file (mode 0600) and in memory, nowhere else.

use crate::config::RunnerConfig;
use fleetfoot_client::{Client, ClientError, Secret};
use fleetfoot_model::api::RegisterRunner;
use fleetfoot_model::ids::RunnerId;
use fleetfoot_model::problem::Code;
use fleetfoot_model::version::VERSION;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A registered runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Address of the server that knows it.
    pub server: String,
    /// Its id there.
    pub id: RunnerId,
    /// Its name there.
    pub name: String,
    /// Its token.
    pub token: Secret,
}

#[derive(Serialize, Deserialize)]
struct TokenFile {
    server: String,
    id: RunnerId,
    name: String,
    token: String,
}

/// What can go wrong with an identity.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// There is no token file.
    #[error("this runner is not registered: there is no token file {path}", path = .0.display())]
    NotRegistered(PathBuf),
    /// The token file cannot be read or written.
    #[error("the token file {path} cannot be used", path = path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No registration token was given.
    #[error("a registration token is needed to register")]
    NoRegistrationToken,
    /// The server.
    #[error(transparent)]
    Server(#[from] ClientError),
}

impl IdentityError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotRegistered(_) => {
                Some("register it with `fleetfoot runner register --token TOKEN`".to_owned())
            }
            Self::NoRegistrationToken => Some(
                "an admin makes one with `fleetfoot token create --registration`; pass it with --token, \
                 --stdin-registration-token or FLEETFOOT_RUNNER_TOKEN"
                    .to_owned(),
            ),
            Self::File { .. } => None,
            Self::Server(error) => error.hint(),
        }
    }
}

impl Identity {
    /// Reads a token file.
    ///
    /// # Errors
    /// [`IdentityError::NotRegistered`] if there is none.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let file_error = |source| IdentityError::File { path: path.to_owned(), source };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(IdentityError::NotRegistered(path.to_owned()));
            }
            Err(error) => return Err(file_error(error)),
        };
        // serde's message would repeat what it read.
        let file: TokenFile = serde_json::from_slice(&bytes).map_err(|_| {
            file_error(io::Error::new(io::ErrorKind::InvalidData, "it is not a token file of a runner"))
        })?;
        Ok(Self { server: file.server, id: file.id, name: file.name, token: Secret::new(file.token) })
    }

    /// Writes the token file: mode 0600, whole or not at all.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        let file = TokenFile {
            server: self.server.clone(),
            id: self.id,
            name: self.name.clone(),
            token: self.token.expose().to_owned(),
        };
        let file_error = |source| IdentityError::File { path: path.to_owned(), source };
        let mut bytes = serde_json::to_vec_pretty(&file).map_err(|e| file_error(e.into()))?;
        bytes.push(b'\n');
        crate::files::write_private(path, &bytes).map_err(file_error)
    }

    /// Names server and runner: what the journal of one must not be taken for another's.
    #[must_use]
    pub fn owner(&self) -> String {
        format!("{}#{}", self.server, self.id)
    }

    /// A client that acts as this runner.
    ///
    /// # Errors
    /// If the configuration of the connection cannot be used.
    pub fn client(&self, config: &RunnerConfig) -> Result<Client, ClientError> {
        let mut client = config.client(Some(self.token.clone()));
        client.url.clone_from(&self.server);
        Client::new(client)
    }
}

/// Becomes a runner with `token` (or the one of the configuration) and writes the token file;
/// one that exists is replaced, as is a runner of the same name at the server that was this machine's.
///
/// # Errors
/// [`IdentityError`].
pub async fn register(config: &RunnerConfig, token: Option<Secret>) -> Result<Identity, IdentityError> {
    let token = token.or_else(|| config.token.clone()).ok_or(IdentityError::NoRegistrationToken)?;
    let client = Client::new(config.client(Some(token)))?;
    let before = Identity::load(&config.token_file).ok();
    let request = RegisterRunner {
        name: Some(config.name.clone()),
        description: config.description.clone(),
        labels: config.labels.clone(),
        queues: config.queues.clone(),
        slots: Some(u32::try_from(config.slots).unwrap_or(u32::MAX)),
        version: Some(VERSION.to_owned()),
        one_off: config.one_off,
        replace: before.is_some_and(|b| b.name == config.name && b.server == client.server()),
        ..RegisterRunner::default()
    };
    let registered = client.register_runner(&request).await?;
    let identity = Identity {
        server: client.server().to_owned(),
        id: registered.id,
        name: registered.name,
        token: Secret::new(registered.token),
    };
    identity.save(&config.token_file)?;
    Ok(identity)
}

/// The identity in the token file, or a new registration if there is none (or it is another server's).
///
/// # Errors
/// [`IdentityError`].
pub async fn load_or_register(config: &RunnerConfig) -> Result<Identity, IdentityError> {
    match Identity::load(&config.token_file) {
        Ok(identity) if same_server(&identity, config) || config.token.is_none() => Ok(identity),
        Ok(_) | Err(IdentityError::NotRegistered(_)) => register(config, None).await,
        Err(error) => Err(error),
    }
}

fn same_server(identity: &Identity, config: &RunnerConfig) -> bool {
    Client::new(config.client(None)).is_ok_and(|c| c.server() == identity.server)
}

/// Removes this runner at the server and the token file. A runner that the server does not know is fine.
///
/// # Errors
/// [`IdentityError`]; the file stays if the server could not be told.
pub async fn unregister(config: &RunnerConfig, identity: &Identity) -> Result<(), IdentityError> {
    match identity.client(config)?.delete_runner(identity.id).await {
        Err(error) if !matches!(error.code(), Some(Code::NotFound | Code::Unauthorized)) => {
            return Err(error.into());
        }
        _ => {}
    }
    match std::fs::remove_file(&config.token_file) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(IdentityError::File { path: config.token_file.clone(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_token_file_is_private_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/token.json");
        assert!(matches!(Identity::load(&path), Err(IdentityError::NotRegistered(_))));
        for token in ["ffrun_one", "ffrun_two"] {
            let identity = Identity {
                server: "http://x".into(),
                id: RunnerId(7),
                name: "n".into(),
                token: Secret::new(token),
            };
            identity.save(&path).unwrap();
            assert_eq!(Identity::load(&path).unwrap(), identity);
            assert!(!format!("{identity:?}").contains(token));
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        std::fs::write(&path, "{\"token\": \"ffrun_three\", ").unwrap();
        let error = Identity::load(&path).unwrap_err();
        assert!(!format!("{error:?}").contains("ffrun_three"));
    }
}
