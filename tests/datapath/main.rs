//! One packet, one program: accepted, refused, malformed; verdict, bytes and exact change of state.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test, and the panic says which")]

mod fixture;
mod from_container;
mod from_host;
mod from_uplink;
mod hairpin;
mod icmp_error;
mod malformed;
mod masquerade;
mod table;
mod to_bridge;
mod to_uplink;
mod verifier;
