//! The container boundary: Docker and Podman through their API socket.

mod client;
mod config;
mod create;
mod driver;
mod engine;
mod error;
mod group;
mod image;
mod keeper;
mod memory;
mod names;
pub mod options;
mod owner;
mod paths;
pub mod ports;
mod unpack;
pub mod volumes;

pub use config::{ContainerOptions, Endpoint, Keep, KeepPolicy, Network, Pull};
pub use create::CAPABILITIES;
pub use driver::ContainerDriver;
pub use engine::{ContainerEngine, EngineAbout};
pub use image::reference;
