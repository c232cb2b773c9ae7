//! Signing in through OpenID providers: the relying party of the authorisation
//! code flow with PKCE. It finds out, with proof, which account at a provider
//! somebody has, and what the server's settings say about such accounts. It
//! knows neither users nor sessions, and believes nothing that is not signed by
//! a key of the provider.

mod account;
mod error;
mod pending;
mod provider;
mod settings;

pub use account::{Account, Grant};
pub use error::{ErrorKind, OidcError};
pub use provider::{Answer, Relying, Started};
pub use settings::{ProviderSettings, RoleGroups, Settings};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// 256 random bits as text.
fn random() -> Result<String, OidcError> {
    let mut bits = [0_u8; 32];
    getrandom::fill(&mut bits)
        .map_err(|e| OidcError::new(ErrorKind::Unavailable, format!("no random numbers: {e}")))?;
    Ok(URL_SAFE_NO_PAD.encode(bits))
}
