//! Private networks: outgoing traffic, but not to private ranges, metadata
//! addresses and the loopback of the host; and ways to single ports of it.
//!
//! The walls are a network namespace of the host's kernel: routes in it refuse
//! what must not be reached ([`refused`]), and all that is left goes to a
//! network stack in user mode ([`Slirp`]) that never connects to the host's
//! own loopback. Whoever is inside has sockets in that namespace and no
//! capability over it, so neither routes nor devices can be changed or gone
//! around (a packet socket would need one too). That is true for an ordinary
//! process and for a guest kernel that a job has wholly taken over alike: both
//! are users of the namespace, not its owners. Nothing is decided by what runs
//! inside.
//!
//! It must never forward to a port that nobody asked for, and never leave a
//! namespace or a process behind.

mod forward;
mod namespace;
pub mod refused;
mod slirp;

pub use forward::{Forwards, Listen};
pub use namespace::{NetNamespace, listen_on_loopback, loopback_up};
pub use slirp::{NAME_SERVER, Slirp, program};

use std::io;

/// What is said wherever a private network cannot be made.
pub const NEEDS: &str = "a private network needs `slirp4netns` and access to /dev/net/tun: install the package \
     slirp4netns, or use the network `none` or `host`";

/// A private network of one cell, made by a runner that is root; gone when dropped.
#[derive(Debug)]
pub struct PrivateNetwork {
    namespace: NetNamespace,
    /// What leads out of it; only held.
    _stack: Slirp,
}

impl PrivateNetwork {
    /// Makes one, and waits until it works.
    ///
    /// # Errors
    /// If the namespace or its way out cannot be made.
    pub fn start() -> io::Result<Self> {
        let namespace = NetNamespace::new(refused::close)?;
        let stack = Slirp::start(None, namespace.fd())?;
        Ok(Self { namespace, _stack: stack })
    }

    /// Its namespace.
    #[must_use]
    pub const fn namespace(&self) -> &NetNamespace {
        &self.namespace
    }
}
