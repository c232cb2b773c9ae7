//! The settings file: which providers there are, and who of theirs may sign in
//! as what. Mistakes are found when the server starts.

use fleetfoot_model::users::Role;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file as a whole.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The providers, in the order of the sign-in page.
    #[serde(default, rename = "provider")]
    pub providers: Vec<ProviderSettings>,
}

/// Groups by the role that their members have.
pub type RoleGroups = BTreeMap<Role, Vec<String>>;

/// One provider.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSettings {
    /// Id: part of addresses, and of what is stored about users. Never changed.
    pub id: String,
    /// Name on the sign-in page.
    pub name: String,
    /// Issuer: where `/.well-known/openid-configuration` is.
    pub issuer: String,
    /// The id under which the provider knows this server.
    pub client_id: String,
    /// A file with the secret; absent for a public client.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// What is asked for.
    #[serde(default = "scopes")]
    pub scopes: Vec<String>,
    /// Only accounts with a verified address in one of these domains; empty means any account.
    #[serde(default)]
    pub allowed_domains: Vec<String>,
    /// The claim with the groups of an account.
    #[serde(default = "groups")]
    pub groups_claim: String,
    /// Which groups mean which role; the strongest counts, at every sign-in anew.
    #[serde(default)]
    pub roles: RoleGroups,
    /// The role of accounts that are in none of these groups. Absent: they are not let in, unless no
    /// groups are named at all and an admin made the user.
    #[serde(default)]
    pub default_role: Option<Role>,
    /// The secret itself, read from its file.
    #[serde(skip)]
    pub client_secret: Option<String>,
}

impl std::fmt::Debug for ProviderSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderSettings")
            .field("id", &self.id)
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

fn scopes() -> Vec<String> {
    ["openid", "profile", "email"].map(str::to_owned).into()
}

fn groups() -> String {
    "groups".to_owned()
}

impl Settings {
    /// Reads and checks a file, and the secrets that it names (relative to its directory).
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut settings: Self = toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        let dir = path.parent().unwrap_or(Path::new("."));
        for provider in &mut settings.providers {
            let Some(file) = &provider.client_secret_file else { continue };
            let file = dir.join(file);
            let secret = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            provider.client_secret = Some(secret.trim().to_owned());
        }
        settings.check().map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(settings)
    }

    /// Checks what serde cannot.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn check(&self) -> Result<(), String> {
        for (at, provider) in self.providers.iter().enumerate() {
            provider.check().map_err(|e| format!("provider '{}': {e}", provider.id))?;
            if self.providers[..at].iter().any(|other| other.id == provider.id) {
                return Err(format!("there are two providers '{}'", provider.id));
            }
        }
        Ok(())
    }
}

impl ProviderSettings {
    fn check(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !(1..=32).contains(&self.id.len()) || !self.id.chars().all(plain) {
            return Err("an id has 1 to 32 small letters, digits and '-'".to_owned());
        }
        if self.name.trim().is_empty() || self.client_id.is_empty() {
            return Err("name and client_id must not be empty".to_owned());
        }
        if !is_safe(&self.issuer) {
            return Err(format!("the issuer '{}' is not an https address", self.issuer));
        }
        if !self.scopes.iter().any(|s| s == "openid") {
            return Err("the scopes must hold 'openid'".to_owned());
        }
        if self.client_secret.as_deref() == Some("") {
            return Err("the file of the secret is empty".to_owned());
        }
        Ok(())
    }
}

/// https, or a provider on this machine.
pub(crate) fn is_safe(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let loopback = url.host_str().is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [[provider]]
        id = "corp"
        name = "Corp"
        issuer = "https://id.example.org/realms/a"
        client_id = "fleetfoot"
        allowed_domains = ["example.org"]
        default_role = "read_only"
        [provider.roles]
        admin = ["ops"]
        member = ["dev", "qa"]
    "#;

    fn parse(text: &str) -> Result<Settings, String> {
        let settings: Settings = toml::from_str(text).map_err(|e| e.to_string())?;
        settings.check().map(|()| settings)
    }

    #[test]
    fn a_whole_file() {
        let provider = parse(GOOD).unwrap().providers.remove(0);
        assert_eq!(provider.scopes, ["openid", "profile", "email"]);
        assert_eq!(provider.groups_claim, "groups");
        assert_eq!(provider.roles[&Role::Member], ["dev", "qa"]);
        assert_eq!(provider.default_role, Some(Role::ReadOnly));
        assert!(parse("").unwrap().providers.is_empty());
    }

    #[test]
    fn mistakes_are_found() {
        for (from, to, says) in [
            ("\"corp\"", "\"Corp Inc\"", "small letters"),
            ("https://id", "http://id", "not an https address"),
            ("client_id = \"fleetfoot\"", "client_id = \"\"", "must not be empty"),
            ("admin =", "root =", "root"),
            ("default_role", "defaultrole", "defaultrole"),
            ("allowed_domains = [\"example.org\"]", "scopes = [\"email\"]", "'openid'"),
        ] {
            let error = parse(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert!(parse(&format!("{GOOD}{GOOD}")).unwrap_err().contains("two providers"));
    }

    #[test]
    fn secrets_come_from_files_beside() {
        let dir = std::env::temp_dir().join(format!("fleetfoot-oidc-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("sign-in.toml");
        std::fs::write(&file, GOOD.replace("client_id", "client_secret_file = \"s\"\nclient_id")).unwrap();
        assert!(Settings::read(&file).unwrap_err().contains("s: "));
        std::fs::write(dir.join("s"), "hush\n").unwrap();
        let settings = Settings::read(&file).unwrap();
        assert_eq!(settings.providers[0].client_secret.as_deref(), Some("hush"));
        assert!(!format!("{settings:?}").contains("hush"));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn only_this_machine_goes_without_https() {
        for safe in ["https://x.example", "http://127.0.0.1:5", "http://[::1]:5/a", "http://localhost:5"] {
            assert!(is_safe(safe), "{safe}");
        }
        for bad in ["http://x.example", "ftp://localhost", "localhost", "", "http://127.0.0.1.example"] {
            assert!(!is_safe(bad), "{bad}");
        }
    }
}
