//! Ways from a cell with a network of its own to single ports of the host's
//! loopback, where services of the job listen. The sockets are made inside by
//! whoever may and served out here; nothing else of the host's loopback can be
//! reached through them. They must not outlive the cell.

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

/// Whoever can make sockets inside of a cell.
pub trait Listen {
    /// Sockets that listen on a port of the cell's own loopback.
    ///
    /// # Errors
    /// If the port is taken, or the cell is gone.
    fn listen(&self, port: u16) -> Result<Vec<OwnedFd>, DriverError>;
}

/// The forwarded ports of one cell.
#[derive(Debug, Default)]
pub struct Forwards(Mutex<State>);

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

    /// Forwards a port from now on, and after every new start of the cell. Again changes nothing.
    ///
    /// # Errors
    /// If no socket can be made inside.
    pub fn add(&self, port: u16, inside: Option<&impl Listen>) -> Result<(), DriverError> {
        let mut state = self.lock();
        if state.ports.contains(&port) {
            return Ok(());
        }
        if let Some(inside) = inside {
            state.serve(port, inside)?;
        }
        state.ports.push(port);
        Ok(())
    }

    /// Forwards all ports out of a cell that was started anew.
    ///
    /// # Errors
    /// If no socket can be made inside.
    pub fn resume(&self, inside: &impl Listen) -> Result<(), DriverError> {
        let mut state = self.lock();
        for port in state.ports.clone() {
            state.serve(port, inside)?;
        }
        Ok(())
    }

    /// Ends what is served, because the inside ends.
    pub fn pause(&self) {
        self.lock().serving = JoinSet::new();
    }
}

impl State {
    fn serve(&mut self, port: u16, inside: &impl Listen) -> Result<(), DriverError> {
        for socket in inside.listen(port)? {
            let listener = listener(socket)
                .map_err(|e| DriverError::io(format!("port {port} of the cell cannot be served"), e))?;
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
                    tracing::debug!(%error, port, "a connection of a cell was not accepted");
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
