//! Ways from a cell with a network of its own to single ports of the host's
//! loopback, where services of the job listen. The sockets are made inside by
//! the zygote and served out here; nothing else of the host's loopback can be
//! reached through them. They must not outlive the cell.

use crate::zygote::Zygote;
use fleetfoot_driver::DriverError;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Connections of one port at once, at most: each costs the runner two descriptors.
const MAX_OPEN: usize = 256;

/// The forwarded ports of one cell.
#[derive(Debug, Default)]
pub(crate) struct Forwards(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    ports: Vec<u16>,
    /// One for each listening socket; ended when dropped.
    serving: JoinSet<()>,
}

impl Forwards {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forwards a port from now on, and in every zygote to come. Again changes nothing.
    pub(crate) fn add(&self, port: u16, zygote: Option<&Zygote>) -> Result<(), DriverError> {
        let mut state = self.lock();
        if state.ports.contains(&port) {
            return Ok(());
        }
        if let Some(zygote) = zygote {
            state.serve(port, zygote)?;
        }
        state.ports.push(port);
        Ok(())
    }

    /// Forwards all ports out of a new zygote.
    pub(crate) fn resume(&self, zygote: &Zygote) -> Result<(), DriverError> {
        let mut state = self.lock();
        for port in state.ports.clone() {
            state.serve(port, zygote)?;
        }
        Ok(())
    }

    /// Ends what is served, because the zygote ends.
    pub(crate) fn pause(&self) {
        self.lock().serving = JoinSet::new();
    }
}

impl State {
    fn serve(&mut self, port: u16, zygote: &Zygote) -> Result<(), DriverError> {
        for socket in zygote.listen(port)? {
            let listener = listener(socket)
                .map_err(|e| DriverError::io(format!("port {port} of the sandbox cannot be served"), e))?;
            self.serving.spawn(serve(listener, port));
        }
        Ok(())
    }
}

fn listener(socket: OwnedFd) -> io::Result<TcpListener> {
    let socket = std::net::TcpListener::from(socket);
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

async fn serve(listener: TcpListener, port: u16) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if open.len() < MAX_OPEN => match accepted {
                Ok((inside, _)) => {
                    open.spawn(forward(inside, port));
                }
                Err(error) => {
                    // Out of descriptors, or a connection that was gone already.
                    tracing::debug!(%error, port, "a connection of a sandbox was not accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            },
            Some(_) = open.join_next(), if !open.is_empty() => {}
        }
    }
}

async fn forward(mut inside: TcpStream, port: u16) {
    let outside = match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(outside) => Ok(outside),
        Err(_) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await,
    };
    // Whoever connects to a service that is not there is told by the end of the connection.
    if let Ok(mut outside) = outside {
        let _ = copy_bidirectional(&mut inside, &mut outside).await;
    }
}
