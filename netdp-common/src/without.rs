//! Mechanisms that the programs can be loaded without, to measure what each of them is worth (global `WITHOUT`). What they do
//! is the same either way.

/// Hand packets to a container by way of its veth, not past it (`bpf_redirect` instead of `bpf_redirect_peer`).
pub const REDIRECT_PEER: u32 = 1;
/// Ask the routing table for every packet.
pub const KEPT_WAYS: u32 = 2;
