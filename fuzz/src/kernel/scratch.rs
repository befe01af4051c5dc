//! In the place of the per-CPU map: one slot for each thread.

use std::ptr::{addr_of_mut, null_mut};

use netdp_common::crc32c::Change;

use super::icmp::Inner;
use super::sum::Summing;

/// What the files that are here keep outside of the stack.
struct Scratch {
    change: Change,
    inner: Inner,
    summing: Summing,
}

fn slot() -> *mut Scratch {
    thread_local! {
        static SLOT: std::cell::Cell<*mut Scratch> = const { std::cell::Cell::new(null_mut()) };
    }
    SLOT.with(|slot| {
        if slot.get().is_null() {
            // SAFETY: all are structs of integers, and the kernel's map begins with zeroes too.
            slot.set(Box::into_raw(Box::new(unsafe { std::mem::zeroed() })));
        }
        slot.get()
    })
}

/// What changes in a checksum of SCTP.
pub(super) fn change() -> Option<&'static mut Change> {
    // SAFETY: this thread's, kept for ever; its callers have it one after the other, as in the kernel.
    Some(unsafe { &mut *addr_of_mut!((*slot()).change) })
}

/// The packet inside of an ICMP error.
pub(super) fn inner() -> Option<&'static mut Inner> {
    // SAFETY: as in `change`.
    Some(unsafe { &mut *addr_of_mut!((*slot()).inner) })
}

/// The checksum that is being made.
pub(super) fn summing() -> Option<&'static mut Summing> {
    // SAFETY: as in `change`.
    Some(unsafe { &mut *addr_of_mut!((*slot()).summing) })
}
