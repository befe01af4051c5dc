//! The client's side of DHCP (RFC 2131) for endpoints on a LAN.
//!
//! Everything is said and heard on the host's own interface, in the endpoint's name and with its MAC: what an endpoint is to
//! have is known before anything of it is made, a lease is given back also when its container has ended, and nothing of it
//! needs a process in the container.
//!
//! What comes is from anybody on the LAN: `frame` and `message` say what of it is taken.

mod client;
mod error;
mod frame;
mod message;
mod socket;

pub use client::{Asked, Identity, Renewed, acquire, release, renew};
pub use error::Error;
