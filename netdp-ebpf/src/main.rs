//! netdp's programs. One entry per hook; each asks its hook's file for a decision and turns it into a verdict.
//!
//! A packet's way: `from_*`/`to_uplink` (the ordered steps of a hook) -> `parse` (headers to a tuple) ->
//! `conntrack` (the flow of the tuple, or a new one) -> `nat` (the bytes) -> `forward` (the way out).
//!
//! On the host this crate is an empty program, so that `cargo check --workspace` sees no foreign target.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod kernel;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
