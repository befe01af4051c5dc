//! Who published ports are for, and by which interfaces containers are reached at their own addresses.

use aya_ebpf::maps::lpm_trie::Key;
use netdp_common::policy::Target;
use netdp_common::{Addr, Backend, FlowKey, Source, port_flags};

use super::maps::SOURCES;

/// A published port for the source of the first packet of a flow, before there is any state of it. `key` is the packet as it
/// came in, so a container is judged by its own address. A port for everybody costs no look-up.
#[inline(always)]
pub(super) fn target(target: Target, key: &FlowKey, backend: &Backend) -> Target {
    target.for_source(backend.flags & port_flags::FILTERED == 0 || is_listed(key, backend))
}

/// Whether a container is reached by what comes in by this interface. A call of its own, as below.
#[inline(never)]
pub(super) fn is_trusted(container: &Addr, ifindex: u32) -> bool {
    SOURCES.get(Key::new(Source::BITS, Source::interface(*container, ifindex))).is_some()
}

/// A call of its own: its key is a tenth of the stack, and most ports are for everybody.
#[inline(never)]
fn is_listed(key: &FlowKey, backend: &Backend) -> bool {
    SOURCES.get(Key::new(Source::BITS, Source::of(key, backend))).is_some()
}
