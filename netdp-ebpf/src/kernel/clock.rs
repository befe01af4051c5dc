//! The time, for the price of reading one word.

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use netdp_common::timers::ticks;

use super::scratch;

/// What this CPU has read last.
#[repr(C)]
pub(super) struct Clock {
    /// When; zero is never, for the kernel's counter begins at -300 seconds in 32 bits.
    jiffies: u64,
    ticks: u32,
    _pad: u32,
}

/// Interrupts of the kernel's own clock, of which there are 100 to 1000 in a second (`CONFIG_HZ`). The verifier makes one load
/// of it (kernel 5.6, 5576b991e9c1), where any other clock is a call and the returns of three functions.
#[inline(always)]
pub(super) fn jiffies() -> u64 {
    // SAFETY: the helper takes nothing and reads a counter.
    unsafe { bpf_jiffies64() }
}

/// The time in ticks ([`netdp_common::timers`]), as old as an interrupt of the kernel's clock at most. Not made of jiffies: those
/// are not slewed, and the controller reads the clock that is.
#[inline(always)]
pub(super) fn now() -> u32 {
    let jiffies = jiffies();
    let Some(clock) = scratch::clock() else { return read() };
    if clock.jiffies != jiffies {
        (clock.jiffies, clock.ticks) = (jiffies, read());
    }
    clock.ticks
}

#[inline(always)]
fn read() -> u32 {
    // SAFETY: the helper takes nothing and reads a clock.
    ticks(unsafe { bpf_ktime_get_coarse_ns() })
}
