//! Counters by reason, and events of drops.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;
use netdp_common::{Event, FlowKey, Reason};

use super::access::Packet;
use super::maps::{COUNTERS, EVENTS};

/// Counts a packet under its reason.
#[inline(always)]
pub(super) fn packet(packet: &Packet, reason: Reason) {
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
pub(super) fn event(packet: &Packet, reason: Reason, seen: &FlowKey) {
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
