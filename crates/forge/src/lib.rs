//! Forges: webhooks in, statuses out. What GitHub, Gitea, Forgejo and GitLab say, in one language.
