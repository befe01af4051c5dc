//! The sockets of the resolver, to which what is for port 53 of a gateway is handed.
//!
//! None of them is bound to that port: a server of the host's own may have it on all addresses, before or after us, and so may
//! a container that publishes it.

/// Where clients look for a server (RFC 1035, 4.2).
pub const PORT: u32 = 53;

/// Datagrams of IPv4.
pub const UDP4: u32 = 0;
/// Connections of IPv4.
pub const TCP4: u32 = 1;
/// Datagrams of IPv6.
pub const UDP6: u32 = 2;
/// Connections of IPv6.
pub const TCP6: u32 = 3;
/// How many sockets there are.
pub const SOCKETS: u32 = 4;
