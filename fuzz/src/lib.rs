//! The programs' own files `access`, `parse`, `icmp` and `nat`, compiled for the host as they stand.
//!
//! They find what they take from `aya_ebpf` in this crate, which goes by that name too: [`bindings`] has the context with the
//! fields that they read, [`helpers`] the kernel's helpers on a frame in memory. The frame ends where an unmapped page begins, so
//! that a read past its end is a crash and not a surprise in the kernel; and it lies below 4 GiB, because a program knows its
//! data by 32-bit addresses.
//!
//! [`run`] takes any bytes, and panics when what came of them breaks a promise.

extern crate self as aya_ebpf;

pub mod bindings;
pub mod frame;
pub mod helpers;
#[expect(dead_code, reason = "hooks use more of these files")]
#[expect(
    clippy::pedantic,
    reason = "these files are written for a target of 32-bit lengths, and checked for that one"
)]
mod kernel;
pub mod programs;
mod promise;

pub use kernel::run;
