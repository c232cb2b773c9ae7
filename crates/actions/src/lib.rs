//! Actions: references, manifests, and the cache that fetches them by git.
