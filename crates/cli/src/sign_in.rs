//! Settings of `up` and `server` about people: how long they stay signed in,
//! cookies, and what stands before the server. Arguments only; the control
//! plane and the server act on them.

use crate::environment;
use crate::error::{CliError, Result};
use clap::Args;
use fleetfoot_control::SignInOptions;
use fleetfoot_oidc::Settings;
use fleetfoot_server::ServerOptions;
use std::path::PathBuf;
use std::time::Duration;

/// Settings about people.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Signing in")]
pub(crate) struct SignInArgs {
    /// A session of the dashboard ends when it is not used for this long: 30m, 12h
    #[arg(long, value_name = "TIME", default_value = "12h", value_parser = span)]
    session_idle: Duration,
    /// A session of the dashboard ends after this long, however much it is used: 12h, 7d
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = span)]
    session_max: Duration,
    /// Whether cookies are sent over https only [default: yes, if the public address is https or a proxy says so]
    #[arg(long, value_name = "YES", num_args = 0..=1, default_missing_value = "true")]
    secure_cookies: Option<bool>,
    /// A reverse proxy stands before this server: the last address in its X-Forwarded-For is who asks
    #[arg(long)]
    behind_proxy: bool,
    /// Settings of OpenID providers through which people sign in (TOML)
    #[arg(long, value_name = "FILE", env = environment::SIGN_IN)]
    sign_in: Option<PathBuf>,
}

impl SignInArgs {
    /// What the control plane needs to know.
    pub(crate) fn control(&self) -> SignInOptions {
        SignInOptions { idle: self.session_idle, longest: self.session_max }
    }

    /// What the server needs to know.
    pub(crate) fn server(&self, options: ServerOptions) -> Result<ServerOptions> {
        let sign_in = match &self.sign_in {
            None => Settings::default(),
            Some(file) => Settings::read(file).map_err(|why| {
                CliError::usage(format!("the settings for signing in cannot be used: {why}"))
                    .hint("docs/dashboard.md shows a whole file")
            })?,
        };
        Ok(ServerOptions {
            secure_cookies: self.secure_cookies,
            behind_proxy: self.behind_proxy,
            sign_in,
            ..options
        })
    }
}

/// At least a minute: uses of sessions are not noted more often than twice a minute.
fn span(text: &str) -> Result<Duration, String> {
    let seconds = crate::commands::token::seconds(text)?;
    if seconds < 60 {
        return Err("a session lives for a minute at least".to_owned());
    }
    Ok(Duration::from_secs(seconds))
}
