//! The deny list, for every hook that the outside meets.

use aya_ebpf::maps::lpm_trie::Key;
use netdp_common::{Addr, deny};

use super::maps::DENY;

/// Whether nothing from this address is let in. A host without a deny list pays for a call that returns at once.
#[inline(always)]
pub(super) fn refused(source: Addr) -> bool {
    DENY.get(Key::new(128, source)).is_some_and(|prefix_len| deny::covers(*prefix_len, source))
}
