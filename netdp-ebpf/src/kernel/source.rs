//! Published ports that are not for everybody.

use aya_ebpf::maps::lpm_trie::Key;
use netdp_common::{Backend, FlowKey, Reason, Source, port_flags};

use super::maps::SOURCES;

/// Refuses the first packet of a flow whose source the port is not for, before there is any state of it. `key` is the
/// packet as it came in, so a container is judged by its own address. A port for everybody costs no look-up.
#[inline(always)]
pub(super) fn check(key: &FlowKey, backend: &Backend) -> Result<(), Reason> {
    if backend.flags & port_flags::FILTERED == 0 || is_listed(key, backend) {
        return Ok(());
    }
    Err(Reason::SourceDenied)
}

/// A call of its own: its key is a tenth of the stack, and most ports are for everybody.
#[inline(never)]
fn is_listed(key: &FlowKey, backend: &Backend) -> bool {
    SOURCES.get(Key::new(Source::BITS, Source::of(key, backend))).is_some()
}
