//! The flow table: one entry per direction, each with the whole rewrite of its packets.
//!
//! A flow has two entries, because source translation gives its directions keys that have nothing in common.
//! Either one leads to the other ([`Flow::twin_key`]), so neither is orphaned: an entry that looks expired asks
//! its twin before it dies, state changes are written to both, and a missing twin is written anew.

use crate::addr::{Addr, Mac, Port};
use crate::assert_size;
use crate::tracker::Numbers;

/// Which side of the host a packet comes in from. Part of the key, so that a packet with a forged tuple can
/// never meet an entry that belongs to another hook.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Zone(pub u8);

impl Zone {
    /// From a container's veth.
    pub const CONTAINER: Self = Self(1);
    /// From the outside.
    pub const UPLINK: Self = Self(2);
    /// From a process of the host, by way of `lo`.
    pub const HOST: Self = Self(3);
}

/// Where the packets of an entry go after translation.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Exit(pub u8);

impl Exit {
    /// Into the container behind [`Flow::ifindex`].
    pub const ENDPOINT: Self = Self(1);
    /// To the outside, by the route to the destination.
    pub const UPLINK: Self = Self(2);
    /// To a process of the host, by way of `lo`.
    pub const LOOPBACK: Self = Self(3);
    /// As [`Exit::ENDPOINT`], from the moment on at which that container has sent something in the other direction.
    pub const WAITING: Self = Self(4);

    /// Whether it leads to a container, now or later.
    #[inline(always)]
    pub const fn is_to_endpoint(self) -> bool {
        matches!(self, Self::ENDPOINT | Self::WAITING)
    }
}

/// Flags of a [`Flow`].
pub mod flow_flags {
    /// This entry is of the direction of the replies.
    pub const REPLY: u8 = 1;
}

/// The tuple of a packet before translation, and where it came in (map `FLOWS`).
///
/// ICMP echo has one identifier: requests carry it as `sport` (with `dport` zero), replies as `dport`, so that
/// [`FlowKey::reversed`] of a request is its reply.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FlowKey {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port or echo identifier.
    pub sport: Port,
    /// Destination port or echo identifier.
    pub dport: Port,
    /// [`crate::proto`].
    pub proto: u8,
    /// [`Zone`].
    pub zone: Zone,
    /// Zero.
    pub pad: u16,
}
assert_size!(FlowKey, 40);

impl FlowKey {
    /// All zero: what an [`crate::Event`] carries when nothing could be parsed.
    pub const NONE: Self = Self {
        src: Addr::UNSPECIFIED,
        dst: Addr::UNSPECIFIED,
        sport: Port::NONE,
        dport: Port::NONE,
        proto: 0,
        zone: Zone(0),
        pad: 0,
    };

    /// The tuple of a packet in the other direction, coming in from `zone`.
    #[must_use]
    #[inline(always)]
    pub const fn reversed(&self, zone: Zone) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            proto: self.proto,
            zone,
            pad: 0,
        }
    }
}

/// What becomes of a packet of this direction, and the state of the flow (map `FLOWS`).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Flow {
    /// Source address after translation.
    pub src: Addr,
    /// Destination address after translation.
    pub dst: Addr,
    /// Source port or echo identifier after translation.
    pub sport: Port,
    /// Destination port or echo identifier after translation.
    pub dport: Port,
    /// [`Exit`].
    pub exit: Exit,
    /// [`crate::State`], the same in both directions.
    pub state: u8,
    /// [`flow_flags`].
    pub flags: u8,
    /// Zone of the other direction.
    pub twin_zone: Zone,
    /// [`Exit::ENDPOINT`]: the host-side veth. [`Exit::UPLINK`]: the uplink when the flow began; packets
    /// follow the route of the moment, and this one only when no route may be asked.
    pub ifindex: u32,
    /// When a packet of this direction was last seen, in ticks ([`crate::timers`]); written once a tick.
    pub seen: u32,
    /// `ifindex` of the host-side veth of the container that the flow belongs to (of two, the server).
    pub owner: u32,
    /// [`Exit::ENDPOINT`]: destination MAC.
    pub mac: Mac,
    /// [`Exit::ENDPOINT`]: source MAC.
    pub gateway_mac: Mac,
    /// TCP: what this direction has said last. Written by its own packets alone, so that none of them can change what
    /// the other end's are held against.
    pub numbers: Numbers,
    /// Packets of this direction, segments of a large one counted singly. Not atomic: two CPUs in one
    /// direction of one flow may lose a count, which is dearer to prevent than to bear.
    pub packets: u64,
    /// Bytes of this direction, link layer included. Not atomic, as `packets`.
    pub bytes: u64,
}
assert_size!(Flow, 88);
const _: () = assert!(core::mem::offset_of!(Flow, mac) + 6 == core::mem::offset_of!(Flow, gateway_mac));

impl Flow {
    /// Destination and source MAC, as they follow one another in a frame.
    #[inline(always)]
    pub const fn macs(&self) -> &[Mac; 2] {
        let at = core::ptr::from_ref(self).cast::<u8>();
        // SAFETY: the two fields are neighbours (asserted above) inside `self`, and a MAC has an alignment of one.
        unsafe { &*at.add(core::mem::offset_of!(Self, mac)).cast() }
    }

    /// The key of the other direction's entry, given this entry's own key.
    #[inline(always)]
    pub const fn twin_key(&self, key: &FlowKey) -> FlowKey {
        FlowKey {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            proto: key.proto,
            zone: self.twin_zone,
            pad: 0,
        }
    }

    /// Whether this is the direction of the replies.
    #[inline(always)]
    pub const fn is_reply(&self) -> bool {
        self.flags & flow_flags::REPLY != 0
    }
}
