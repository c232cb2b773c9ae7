//! The services that actions speak to: artifacts, caches, identity tokens.
