//! What a proven identity token says about an account, and what the settings
//! say about such accounts. Pure.

use crate::error::{ErrorKind, OidcError};
use crate::settings::ProviderSettings;
use fleetfoot_model::users::Role;
use serde_json::{Map, Value};

/// An account at a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The provider's name for it, which never changes.
    pub subject: String,
    /// The name that the person goes by.
    pub username: Option<String>,
    /// Name for people.
    pub name: Option<String>,
    /// Address, if the provider verified it.
    pub email: Option<String>,
    /// Groups.
    pub groups: Vec<String>,
}

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its groups say so: it holds from now on, whatever was before.
    pub role: Option<Role>,
    /// What a new user gets about whom the groups say nothing.
    pub default_role: Option<Role>,
}

impl Account {
    /// Reads the claims of a verified token.
    pub(crate) fn read(claims: &Map<String, Value>, groups_claim: &str) -> Result<Self, OidcError> {
        let text = |name: &str| {
            claims.get(name).and_then(Value::as_str).map(str::to_owned).filter(|t| !t.trim().is_empty())
        };
        let subject = text("sub").filter(|s| s.len() <= 255);
        let subject = subject.ok_or_else(|| OidcError::new(ErrorKind::Unproven, "the token names nobody"))?;
        // Some providers say it as text.
        let verified = match claims.get("email_verified") {
            Some(Value::Bool(verified)) => *verified,
            Some(Value::String(text)) => text == "true",
            _ => false,
        };
        let groups = match claims.get(groups_claim) {
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(Value::String(one)) => vec![one.clone()],
            _ => Vec::new(),
        };
        Ok(Self {
            subject,
            username: text("preferred_username").or_else(|| text("nickname")),
            name: text("name"),
            email: text("email").filter(|_| verified),
            groups,
        })
    }

    /// A name that suits a new user.
    #[must_use]
    pub fn suggested_name(&self) -> String {
        let local = self.email.as_deref().and_then(|e| e.split('@').next());
        self.username.as_deref().or(local).unwrap_or("user").to_owned()
    }

    /// What the settings say about this account.
    ///
    /// # Errors
    /// `NotAllowed`, with the reason.
    pub fn grant(&self, settings: &ProviderSettings) -> Result<Grant, OidcError> {
        let refused = |why: String| Err(OidcError::new(ErrorKind::NotAllowed, why));
        if !settings.allowed_domains.is_empty() {
            let Some(email) = &self.email else {
                return refused(format!("account {} has no verified address", self.subject));
            };
            let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain);
            if !settings.allowed_domains.iter().any(|d| d.eq_ignore_ascii_case(domain)) {
                return refused(format!("the domain of {email} is not allowed"));
            }
        }
        if settings.roles.is_empty() {
            return Ok(Grant { role: None, default_role: settings.default_role });
        }
        // The map is in the order of the roles, the strongest first.
        let by_group =
            settings.roles.iter().find(|(_, groups)| groups.iter().any(|g| self.groups.contains(g)));
        match by_group.map(|(role, _)| *role).or(settings.default_role) {
            Some(role) => Ok(Grant { role: Some(role), default_role: None }),
            None => refused(format!("account {} is in none of the groups that may sign in", self.subject)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(claims: Value) -> Account {
        Account::read(claims.as_object().unwrap(), "groups").unwrap()
    }

    fn settings(extra: &str) -> ProviderSettings {
        toml::from_str(&format!(
            "id = 'corp'\nname = 'Corp'\nissuer = 'https://x.example'\nclient_id = 'c'\n{extra}"
        ))
        .unwrap()
    }

    #[test]
    fn claims_of_many_shapes() {
        let ada =
            read(json!({"sub": "1", "preferred_username": "ada", "name": "Ada", "email": "ada@x.example",
            "email_verified": true, "groups": ["dev", 7, "ops"]}));
        assert_eq!((ada.suggested_name(), ada.groups.len()), ("ada".to_owned(), 2));
        let ada =
            read(json!({"sub": "1", "email": "ada@x.example", "email_verified": "true", "groups": "dev"}));
        assert_eq!((ada.suggested_name(), ada.groups), ("ada".to_owned(), vec!["dev".to_owned()]));
        let ada = read(json!({"sub": "1", "email": "ada@x.example", "groups": {"a": 1}}));
        assert_eq!((ada.email, ada.groups.len()), (None, 0), "an address that nobody verified is nobody's");
        for bad in [json!({}), json!({"sub": ""}), json!({"sub": 7}), json!({"sub": "x".repeat(256)})] {
            assert!(Account::read(bad.as_object().unwrap(), "groups").is_err());
        }
    }

    #[test]
    fn domains_and_groups_decide() {
        let account = |email: Option<&str>, groups: &[&str]| Account {
            subject: "1".to_owned(),
            email: email.map(str::to_owned),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            ..Account::default()
        };
        let domains = settings("allowed_domains = ['Example.org']");
        assert!(account(Some("ada@example.org"), &[]).grant(&domains).is_ok());
        for bad in [None, Some("ada@example.org.evil"), Some("ada@sub.example.org"), Some("example.org")] {
            assert_eq!(account(bad, &[]).grant(&domains).unwrap_err().kind, ErrorKind::NotAllowed, "{bad:?}");
        }
        let by_groups = settings("roles = { member = ['dev'], admin = ['ops'] }");
        let role = |groups: &[&str]| account(None, groups).grant(&by_groups).map(|g| g.role).ok().flatten();
        assert_eq!(role(&["dev"]), Some(Role::Member));
        assert_eq!(role(&["dev", "ops"]), Some(Role::Admin), "the strongest");
        assert_eq!(role(&["Dev"]), None);
        let with_default = settings("default_role = 'read_only'\nroles = { admin = ['ops'] }");
        let granted = account(None, &[]).grant(&with_default).unwrap();
        assert_eq!(
            granted,
            Grant { role: Some(Role::ReadOnly), default_role: None },
            "who left a group loses it"
        );
        let granted = account(None, &[]).grant(&settings("default_role = 'member'")).unwrap();
        assert_eq!(granted, Grant { role: None, default_role: Some(Role::Member) });
    }
}
