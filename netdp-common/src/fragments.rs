//! Fragments: how much of what is incomplete one interface may keep, and what names a datagram.
//!
//! Fragments are put in order by the kernel, in a network namespace of its own that nothing else lives in. What comes
//! back is credited; what does not is forgotten when the kernel has forgotten it too.

use crate::{FlowKey, Mac, Port, assert_size};

/// MAC of the veth's end in that namespace. The stack there takes no frame for another one.
pub const SORTER_MAC: Mac = Mac([0x02, 0x6e, 0x64, 0x70, 0x00, 0x01]);
/// Where the number of the interface that a fragment came in by stands in a frame to and from there: the last four bytes
/// of the source MAC.
pub const FROM: u32 = 8;

/// Bytes that fragments may wait with for the rest of their datagrams, of what one container has sent.
pub const LIMIT_CONTAINER: u32 = 1 << 20;
/// The same of what came in by one uplink, from everybody outside.
pub const LIMIT_UPLINK: u32 = 8 << 20;
/// Bytes of memory that all waiting fragments of one family may have, whoever they are from.
pub const LIMIT_MEMORY: u32 = 64 << 20;
/// Seconds after which the kernel gives an incomplete datagram up (RFC 8200, 4.5, has 60, and Linux 30).
pub const PATIENCE_SECONDS: u32 = 30;
/// Bytes of memory that a fragment costs beside its own.
const OVERHEAD: u32 = 768;

/// What one interface has sent to be sorted, and has not got back (map `PENDING`).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pending {
    /// The time, in units of the kernel's patience.
    pub window: u32,
    /// Bytes of memory.
    pub bytes: u32,
}
assert_size!(Pending, 8);

impl Pending {
    /// Of an interface that has sent none.
    pub const NONE: Self = Self { window: 0, bytes: 0 };

    /// With one fragment more of `len` bytes; `None` when that is more than `limit`.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, len: u32, window: u32, limit: u32) -> Option<Self> {
        let bytes = if self.window == window { self.bytes } else { 0 };
        let bytes = bytes.saturating_add(len).saturating_add(OVERHEAD);
        if bytes > limit { None } else { Some(Self { window, bytes }) }
    }

    /// With one that came back.
    #[inline(always)]
    #[must_use]
    pub const fn minus(self, len: u32) -> Self {
        Self { bytes: self.bytes.saturating_sub(len.saturating_add(OVERHEAD)), ..self }
    }
}

/// The MACs of a frame that goes there.
#[inline(always)]
#[must_use]
pub const fn macs(ifindex: u32) -> [Mac; 2] {
    let [a, b, c, d] = ifindex.to_ne_bytes();
    [SORTER_MAC, Mac([0x02, 0x6e, a, b, c, d])]
}

/// The window of a time in nanoseconds.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "seconds since the boot fit in it for a century")]
pub const fn window(now_ns: u64) -> u32 {
    (now_ns / (PATIENCE_SECONDS as u64 * 1_000_000_000)) as u32
}

impl FlowKey {
    /// The name of the datagram that a fragment belongs to: its identification, as on the wire, for the ports.
    #[inline(always)]
    pub fn name_datagram(&mut self, id: u32) {
        (self.sport, self.dport) = (Port((id >> 16) as u16), Port((id & 0xffff) as u16));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_makes_room_and_what_does_not_is_forgotten_with_its_window() {
        let mut pending = Pending::NONE;
        let mut taken = 0;
        while let Some(more) = pending.plus(1514, 7, LIMIT_CONTAINER) {
            (pending, taken) = (more, taken + 1);
        }
        assert_eq!(taken, LIMIT_CONTAINER / (1514 + OVERHEAD));
        assert!(pending.minus(1514).plus(1514, 7, LIMIT_CONTAINER).is_some());
        assert!(pending.plus(1514, 8, LIMIT_CONTAINER).is_some());
        assert_eq!(Pending::NONE.minus(1514).bytes, 0);
        assert!(pending.plus(u32::MAX, 7, LIMIT_CONTAINER).is_none());
    }

    #[test]
    fn every_bit_of_an_identification_is_in_the_name() {
        let name = |id| {
            let mut key = FlowKey::NONE;
            key.name_datagram(id);
            key
        };
        for bit in 0..32 {
            assert_ne!(name(1 << bit), name(0));
        }
    }
}
