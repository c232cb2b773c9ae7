//! The container boundary: Docker and Podman through their API socket.
