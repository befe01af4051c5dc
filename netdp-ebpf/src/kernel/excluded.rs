//! Destinations that a network's masquerade leaves out.

use aya_ebpf::maps::lpm_trie::Key;
use netdp_common::{Addr, Destination, Link, link_flags};

use super::maps::EXCLUDED;

/// Whether a container's packets to `dst` leave as they are. A network that has no such destinations costs no look-up.
#[inline(always)]
pub(super) fn is_excluded(link: &Link, dst: &Addr) -> bool {
    link.flags & link_flags::EXCLUDES != 0 && is_listed(link.network, dst)
}

/// A call of its own, as for the sources of a port.
#[inline(never)]
fn is_listed(network: u32, dst: &Addr) -> bool {
    EXCLUDED.get(Key::new(Destination::BITS, Destination { network, addr: *dst })).is_some()
}
