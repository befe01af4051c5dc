//! Counters by reason, and events of drops.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;
use netdp_common::{Event, FlowKey, Reason};

use super::access::Packet;
use super::frame::Frame;
use super::maps::{COUNTERS, EVENTS};

/// What is counted, with a socket buffer or before there is one.
pub(super) trait Counted {
    /// Length of the frame in bytes, link layer included.
    fn len(&self) -> u32;
    /// Interface at whose hook the program runs.
    fn ifindex(&self) -> u32;
}

impl Counted for Packet {
    #[inline(always)]
    fn len(&self) -> u32 {
        self.len()
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.ifindex()
    }
}

impl Counted for Frame {
    #[inline(always)]
    fn len(&self) -> u32 {
        self.len()
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.ifindex()
    }
}

/// What was seen of a frame before it became another one.
pub(super) struct Seen {
    len: u32,
    ifindex: u32,
}

impl Seen {
    #[inline(always)]
    pub(super) fn of(packet: &Packet) -> Self {
        Self { len: packet.len(), ifindex: packet.ifindex() }
    }
}

impl Counted for Seen {
    #[inline(always)]
    fn len(&self) -> u32 {
        self.len
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.ifindex
    }
}

/// Counts a packet under its reason.
#[inline(always)]
pub(super) fn packet(packet: &impl Counted, reason: Reason) {
    let Some(count) = COUNTERS.get_ptr_mut(reason.number()) else { return };
    // SAFETY: the slot belongs to this CPU, and a program is not preempted by another run of the same hook
    // between read and write.
    unsafe {
        (*count).packets += 1;
        (*count).bytes += u64::from(packet.len());
    }
}

/// Tells the controller of a drop. No wake-up: it reads on a timer, and a flood must not wake it per packet.
#[inline(always)]
pub(super) fn event(packet: &impl Counted, reason: Reason, seen: &FlowKey) {
    let Some(mut slot) = EVENTS.reserve::<Event>(0) else { return };
    slot.write(Event {
        // SAFETY: the helper takes nothing and reads a clock.
        when_ns: unsafe { bpf_ktime_get_coarse_ns() },
        reason: reason.number(),
        ifindex: packet.ifindex(),
        len: packet.len(),
        pad: 0,
        key: *seen,
    });
    slot.submit(u64::from(BPF_RB_NO_WAKEUP));
}
