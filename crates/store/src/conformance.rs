//! The conformance suite: what every implementation of [`Store`](crate::Store) must do.
