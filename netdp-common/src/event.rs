//! What the programs tell the controller as it happens.

use crate::assert_size;
use crate::flow::FlowKey;

/// One dropped packet (ring `EVENTS`). The per-CPU counters are the count; the ring may lose records.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// `CLOCK_MONOTONIC` (coarse) of the drop in ns.
    pub when_ns: u64,
    /// [`crate::Reason`] as a number.
    pub reason: u32,
    /// Interface at whose hook the packet was dropped.
    pub ifindex: u32,
    /// Length of the frame in bytes.
    pub len: u32,
    /// Zero.
    pub pad: u32,
    /// The packet as it came in, as far as it was parsed; the rest is zero.
    pub key: FlowKey,
}
assert_size!(Event, 64);

impl Event {
    /// Decodes one record of the ring; `None` when the length is not that of an event.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != size_of::<Self>() {
            return None;
        }
        // SAFETY: the length was compared with the type's size above, every byte pattern is a value of the
        // type (integers only), and read_unaligned asks for no alignment.
        Some(unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }
}
