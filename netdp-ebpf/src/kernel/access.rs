//! The packet: the only pointer arithmetic of the programs.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::{bpf_skb_change_type, bpf_skb_load_bytes, bpf_skb_pull_data, bpf_skb_store_bytes};
use aya_ebpf::programs::TcContext;

use super::bytes;

/// Ethernet and ARP; or Ethernet, IPv4 without options, and the eight bytes that every transport header has. Not more
/// before the protocol is known: of a GSO frame of SCTP, what follows its header of twelve bytes are whole segments, and
/// one that bytes are taken from is spoilt.
const HEADERS: u32 = 14 + 20 + 8;
/// Every offset that is read or written is below this; said to the verifier by a mask, which changes none of them.
const OFFSET_MASK: u32 = 0x1ff;
/// The bits of a VLAN tag that name the VLAN (IEEE 802.1Q, 9.6).
const VLAN_ID: u32 = 0xfff;
/// In `tc_index` of frames that leave by an uplink translated; 16 bits.
const TRANSLATED: u32 = 0x6e64;
/// The same of fragments that come in once more, in order.
const SORTED: u32 = 0x6e66;
/// The same of frames of a container on a LAN, which may come in once more by the bridge: that is an uplink, perhaps.
const WATCHED: u32 = 0x6e65;
/// `PACKET_HOST` of `linux/if_packet.h`: the frame is for this host.
const PACKET_HOST: u32 = 0;

/// A frame at a hook.
pub(super) struct Packet {
    skb: *mut __sk_buff,
}

impl Packet {
    #[inline(always)]
    pub(super) fn new(ctx: &TcContext) -> Self {
        let packet = Self { skb: ctx.skb.skb };
        packet.linearise(HEADERS);
        packet
    }

    /// The frame of a context that a call was given.
    #[inline(always)]
    pub(super) fn of(skb: *mut __sk_buff) -> Self {
        Self { skb }
    }

    /// The context, for helpers.
    #[inline(always)]
    pub(super) fn skb(&self) -> *mut __sk_buff {
        self.skb
    }

    /// Length of the frame in bytes, also of a GSO frame.
    #[inline(always)]
    pub(super) fn len(&self) -> u32 {
        // SAFETY: `skb` is the context that the kernel gave to this run of the program.
        unsafe { (*self.skb).len }
    }

    /// Interface at whose hook the program runs.
    #[inline(always)]
    pub(super) fn ifindex(&self) -> u32 {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).ifindex }
    }

    /// Payload bytes of one segment when the frame is a GSO frame, else zero.
    #[inline(always)]
    pub(super) fn gso_size(&self) -> u32 {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).gso_size }
    }

    /// Number of segments of a GSO frame; zero or one otherwise.
    #[inline(always)]
    pub(super) fn gso_segs(&self) -> u32 {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).gso_segs }
    }

    /// Whether the destination MAC is the interface's own.
    #[inline(always)]
    pub(super) fn is_for_host(&self) -> bool {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).pkt_type == PACKET_HOST }
    }

    /// Whether a process or the kernel of this host made the frame: it came in by no interface.
    #[inline(always)]
    pub(super) fn came_from_stack(&self) -> bool {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).ingress_ifindex == 0 }
    }

    /// Whether the frame carries a VLAN tag; the tag is not in the bytes.
    #[inline(always)]
    pub(super) fn has_vlan_tag(&self) -> bool {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).vlan_present != 0 }
    }

    /// The VLAN that the frame's tag names; zero when it names none, or there is no tag.
    #[inline(always)]
    pub(super) fn vlan(&self) -> u32 {
        // SAFETY: as in `len`.
        if self.has_vlan_tag() { unsafe { (*self.skb).vlan_tci & VLAN_ID } } else { 0 }
    }

    /// Marks the frame as translated by us, for the guard of the uplink that it is redirected to. `tc_index` goes with
    /// the frame as far as the egress hook, and nothing else of a host uses it unless told to.
    #[inline(always)]
    pub(super) fn mark_translated(&self) {
        // SAFETY: as in `len`. Volatile, so that it is not merged with another store: the verifier knows the fields of
        // the context singly.
        unsafe { (&raw mut (*self.skb).tc_index).write_volatile(TRANSLATED) };
    }

    /// Whether [`Packet::mark_translated`] was called on the way.
    #[inline(always)]
    pub(super) fn is_translated(&self) -> bool {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).tc_index == TRANSLATED }
    }

    /// Takes away that mark from a frame of a container, which has not been anywhere: a filter of its own at the other end of
    /// the veth has set it (`tc filter ... classid 1:6e64`), and what the stack made of it would pass the guard.
    #[inline(always)]
    pub(super) fn forget_translated(&self) {
        if self.is_translated() {
            // SAFETY: as in `mark_translated`.
            unsafe { (&raw mut (*self.skb).tc_index).write_volatile(0) };
        }
    }

    /// Marks the frame as one that `from_fragments` has sent back to where it had come from.
    #[inline(always)]
    pub(super) fn mark_sorted(&self) {
        // SAFETY: as in `mark_translated`.
        unsafe { (&raw mut (*self.skb).tc_index).write_volatile(SORTED) };
    }

    /// Whether [`Packet::mark_sorted`] was called on the way. Who else could do that, with a program of his own at the
    /// other end of a veth, only puts up with fragments that are not in order.
    #[inline(always)]
    pub(super) fn is_sorted(&self) -> bool {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).tc_index == SORTED }
    }

    /// Marks the frame as one that `from_container` judges.
    #[inline(always)]
    pub(super) fn mark_watched(&self) {
        // SAFETY: as in `mark_translated`.
        unsafe { (&raw mut (*self.skb).tc_index).write_volatile(WATCHED) };
    }

    /// Whether [`Packet::mark_watched`] was called on the way. Nobody on a LAN can do that; who is on the bridge by a veth of
    /// his own is let in like the host's neighbours are where no uplink is.
    #[inline(always)]
    pub(super) fn is_watched(&self) -> bool {
        // SAFETY: as in `len`.
        unsafe { (*self.skb).tc_index == WATCHED }
    }

    /// Marks the frame as meant for whoever receives it next. Frames between containers carry the receiver's
    /// MAC, not that of the veth they came in by, and a stack drops what is marked for another host.
    #[inline(always)]
    pub(super) fn mark_for_receiver(&self) {
        if !self.is_for_host() {
            // SAFETY: the helper takes the context as it is.
            unsafe { bpf_skb_change_type(self.skb, PACKET_HOST) };
        }
    }

    /// Reads a value at an offset from the Ethernet header; `None` when the frame is shorter.
    #[inline(always)]
    pub(super) fn read<T: Copy>(&self, offset: u32) -> Option<T> {
        let at = self.at::<T>(offset)?;
        // SAFETY: `at` has checked that all of T lies in the frame; header types are made of integers, so any
        // bytes are a value.
        Some(unsafe { bytes::read(at) })
    }

    /// Reads a value that a rare packet has, wherever it lies: by a helper that copies, so that the verifier has no pointer
    /// to follow and nothing needs to be linear.
    #[inline(always)]
    pub(super) fn load<T: Copy>(&self, offset: u32) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        let to = value.as_mut_ptr().cast();
        // SAFETY: the helper writes as many bytes as the value has, or fails; header types are made of integers, so that
        // any bytes are a value.
        match unsafe { bpf_skb_load_bytes(self.skb.cast(), offset, to, size_of::<T>() as u32) } {
            // SAFETY: the helper has written all of it.
            0 => Some(unsafe { value.assume_init() }),
            _ => None,
        }
    }

    /// Writes a value at an offset from the Ethernet header; `None` when the frame is shorter.
    ///
    /// By a helper and not through a pointer: a program that writes through one is given a prologue by the verifier that
    /// makes every cloned frame writable, also those that it lets pass, and all that TCP sends are clones.
    #[inline(always)]
    pub(super) fn write<T: Copy>(&self, offset: u32, value: &T) -> Option<()> {
        let from = core::ptr::from_ref(value).cast();
        // SAFETY: the helper reads as many bytes as the value has, and checks the frame itself; header types are made
        // of integers and have no padding.
        match unsafe { bpf_skb_store_bytes(self.skb, offset, from, size_of::<T>() as u32, 0) } {
            0 => Some(()),
            _ => None,
        }
    }

    #[inline(always)]
    fn at<T>(&self, offset: u32) -> Option<*const T> {
        // SAFETY: as in `len`. Both are read anew each time: helpers may move the frame.
        let (data, end) = unsafe { ((*self.skb).data as usize, (*self.skb).data_end as usize) };
        let at = data + (offset & OFFSET_MASK) as usize;
        if at + size_of::<T>() > end {
            return None;
        }
        Some(at as *const T)
    }

    /// Brings the first `wanted` bytes into the directly readable part. Drivers and GRO nearly always have the headers
    /// there.
    #[inline(always)]
    pub(super) fn linearise(&self, wanted: u32) {
        // SAFETY: as in `len`.
        let readable = unsafe { (*self.skb).data_end - (*self.skb).data };
        let wanted = if self.len() < wanted { self.len() } else { wanted };
        if readable < wanted {
            // SAFETY: the helper takes the context as it is; no pointer into the frame is held here.
            unsafe { bpf_skb_pull_data(self.skb, wanted) };
        }
    }
}
