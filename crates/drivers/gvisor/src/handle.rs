//! Waiting for and signalling one command inside a guest. It must never outlast
//! the guest in its answers: when that is gone, so is the command.

use crate::guest::Link;
use async_trait::async_trait;
use fleetfoot_driver::{Exit, Handle, Signal};
use std::sync::Arc;
use tokio::sync::watch;

pub(crate) struct GvisorHandle {
    pub(crate) link: Arc<Link>,
    pub(crate) id: u32,
    pub(crate) exit: watch::Receiver<Option<Exit>>,
}

#[async_trait]
impl Handle for GvisorHandle {
    async fn wait(&self) -> Exit {
        let mut exit = self.exit.clone();
        let killed = Exit { signal: Some(libc::SIGKILL), ..Exit::default() };
        // The sender is dropped only after it has sent, or with the process that we are.
        let found = exit.wait_for(Option::is_some).await;
        found.ok().and_then(|e| *e).unwrap_or(killed)
    }

    fn signal(&self, signal: Signal) {
        let number = match signal {
            Signal::Interrupt => libc::SIGINT,
            Signal::Terminate => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
        };
        self.link.signal(self.id, number, false);
    }

    fn kill_tree(&self) {
        self.link.signal(self.id, libc::SIGKILL, true);
    }
}
