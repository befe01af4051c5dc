//! Where the kernel's routing table sends a packet.
//!
//! Its answer is kept for the packets that follow within the same interrupt of the kernel's clock (1 to 10 ms, `CONFIG_HZ`). So a route, a rule, an address or an MTU that changes holds within that time, with nobody who
//! would have to be told: no longer than packets that have left already stand in a queue. In a stream of packets the table, by far
//! the dearest thing on their way, is asked once in some hundred times.

use aya_ebpf::bindings::{
    bpf_fib_lookup as FibLookup, bpf_redir_neigh as NextHop, bpf_redir_neigh__bindgen_ty_1 as NextHopAddr,
};
use aya_ebpf::helpers::bpf_fib_lookup;
use netdp_common::{Addr, proto, without};

use super::access::Packet;
use super::clock;
use super::maps::{WAY_BITS, WAYS, WITHOUT};
use super::parse::{ETH_LEN, Tuple};
use super::scratch;

/// Where the kernel's routing table sends a packet. Without payloads, as [`super::forward::Action`]; what else there is to say
/// stands in [`Answer`] and in [`Way`].
#[repr(u32)]
#[derive(Clone, Copy)]
pub(super) enum Route {
    /// By the way that was found.
    Via,
    /// The stack has to answer: local, unreachable or prohibited.
    Stack,
    /// Too big for the next link, and not to be cut.
    FragNeeded,
    /// Too big for the next link: the stack passes it on in fragments, by the way that was found.
    Cut,
    /// The kernel could not say.
    NoFib,
    /// Forwarding is switched off where the packet came in, and the helper refuses for that reason alone.
    Disabled,
}

/// What the kernel has said of the packet.
#[repr(C)]
pub(super) struct Answer {
    fib: FibLookup,
}

impl Answer {
    /// Interface that the packet leaves by.
    #[inline(always)]
    pub(super) fn ifindex(&self) -> u32 {
        self.fib.ifindex
    }

    /// MTU of the next link, when the packet is too big for it.
    #[inline(always)]
    pub(super) fn mtu(&self) -> u16 {
        // SAFETY: both fields of the union are a u16; the kernel has written the MTU where it says that the packet is too big, or
        // that it has found a way and a neighbour.
        unsafe { self.fib.__bindgen_anon_1.mtu_result }
    }

    /// Source that the route prefers, where [`SOURCE`] was asked and answered; else the packet's own.
    #[inline(always)]
    pub(super) fn source(&self, v4: bool) -> Addr {
        // SAFETY: `ask` has written one member, for the packet's family, and the rest was zeroed.
        unsafe {
            if v4 {
                Addr::from_v4_be(self.fib.__bindgen_anon_3.ipv4_src)
            } else {
                Addr(self.fib.__bindgen_anon_3.ipv6_src)
            }
        }
    }

    /// The question after the way of a packet of this length.
    #[inline(always)]
    fn begin(&mut self, tuple: &Tuple, ingress: u32, dst: &Addr, len: u16) {
        let fib = &mut self.fib;
        // SAFETY: all-zero is a valid value of this struct of integers and unions of integers.
        *fib = unsafe { core::mem::zeroed() };
        fib.l4_protocol = tuple.key.proto;
        fib.ifindex = ingress;
        fib.__bindgen_anon_1.tot_len = len;
        if dst.is_v4() {
            fib.family = AF_INET;
            fib.__bindgen_anon_3.ipv4_src = tuple.key.src.v4_be();
            fib.__bindgen_anon_4.ipv4_dst = dst.v4_be();
        } else {
            fib.family = AF_INET6;
            fib.__bindgen_anon_3.ipv6_src = tuple.key.src.0;
            fib.__bindgen_anon_4.ipv6_dst = dst.0;
        }
    }

    #[inline(always)]
    fn next_hop(&self) -> NextHop {
        // SAFETY: the helper fills `ipv6_dst` whole when the next hop is IPv6, and its first word is `ipv4_dst`
        // otherwise; the rest was zeroed.
        let addr = unsafe { self.fib.__bindgen_anon_4.ipv6_dst };
        NextHop { nh_family: u32::from(self.fib.family), __bindgen_anon_1: NextHopAddr { ipv6_nh: addr } }
    }
}

/// A way that was found, and what was asked for it. What is asked beside that, the length, is held against the MTU.
#[repr(C)]
pub(super) struct Way {
    /// When ([`clock::jiffies`]); zero when it is for the packet alone that has asked.
    found: u64,
    src: Addr,
    dst: Addr,
    ingress: u32,
    proto: u32,
    mtu: u32,
    /// Interface that the packet leaves by.
    pub(super) ifindex: u32,
    /// To whom.
    pub(super) next_hop: NextHop,
    _pad: u32,
}

/// `gso_size` of a frame whose segments are fragments of its own (`linux/skbuff.h`).
const GSO_BY_FRAGS: u32 = 0xffff;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Return codes of `bpf_fib_lookup` (`linux/bpf.h`).
const FIB_SUCCESS: i64 = 0;
const FIB_BLACKHOLE: i64 = 1;
const FIB_UNREACHABLE: i64 = 2;
const FIB_PROHIBIT: i64 = 3;
const FIB_NOT_FORWARDED: i64 = 4;
const FIB_FWD_DISABLED: i64 = 5;
const FIB_NO_NEIGH: i64 = 7;
const FIB_FRAG_NEEDED: i64 = 8;
/// `BPF_FIB_LOOKUP_SRC`: which source the route prefers is asked too (kernel 6.7, dab4e1f06cab). Older kernels refuse it.
pub(super) const SOURCE: u32 = 1 << 4;
const EINVAL: i64 = -22;
/// Spreads what differs between two questions over all bits (2^32 divided by the golden ratio).
const SPREAD: u32 = 0x9e37_79b1;

/// Where the way of a packet from `ingress` to `dst` is kept, if it is. Another one may be there.
#[inline(always)]
pub(super) fn place(tuple: &Tuple, ingress: u32, dst: &Addr) -> Option<*mut Way> {
    let from = tuple.key.src.0[3].rotate_left(16) ^ ingress;
    let mixed = dst.0[1] ^ dst.0[2] ^ dst.0[3] ^ from;
    WAYS.get_ptr_mut(mixed.wrapping_mul(SPREAD) >> (u32::BITS - WAY_BITS))
}

/// Whether this is the way of the packet, found just now.
///
/// # Safety
/// `way` is what [`place`] has given for the same question.
#[inline(always)]
pub(super) unsafe fn is_known(
    way: *const Way,
    packet: &Packet,
    tuple: &Tuple,
    ingress: u32,
    dst: &Addr,
) -> bool {
    if WITHOUT.load() & without::KEPT_WAYS != 0 {
        return false;
    }
    // SAFETY: by the contract of this function; the slot is this CPU's.
    let way = unsafe { &*way };
    way.found == clock::jiffies()
        && way.dst == *dst
        && way.src == tuple.key.src
        && way.ingress == ingress
        && way.proto == u32::from(tuple.key.proto)
        && u32::from(wire_len(packet, tuple)) <= way.mtu
}

/// Asks the routing table, as if the packet came in by `ingress` with its present source. `asked` is [`SOURCE`] or nothing.
/// What it finds is written to the packet's [`place`].
#[inline(never)]
pub(super) fn ask(packet: &Packet, tuple: &Tuple, ingress: u32, dst: &Addr, asked: u32) -> Route {
    let Some(answer) = scratch::answer() else { return Route::NoFib };
    answer.begin(tuple, ingress, dst, wire_len(packet, tuple));
    let fib = &mut answer.fib;
    let skb = packet.skb().cast();
    let mut asked = asked;
    // SAFETY: the helper reads and writes the struct within the size given.
    let mut code = unsafe { bpf_fib_lookup(skb, fib, size_of::<FibLookup>() as i32, asked) };
    if code == EINVAL && asked != 0 {
        asked = 0;
        // SAFETY: as above.
        code = unsafe { bpf_fib_lookup(skb, fib, size_of::<FibLookup>() as i32, asked) };
    }
    let is_cut = code == FIB_FRAG_NEEDED && !tuple.dont_fragment;
    if is_cut {
        // The way of such a packet is not told. That of one which fits anywhere is, and it is the same. Not zero: then the
        // helper asks how long the packet itself is.
        (fib.ifindex, fib.__bindgen_anon_1.tot_len) = (ingress, 1);
        // SAFETY: as above.
        code = unsafe { bpf_fib_lookup(skb, fib, size_of::<FibLookup>() as i32, asked) };
    }
    match code {
        FIB_SUCCESS | FIB_NO_NEIGH if is_cut => Route::Cut,
        FIB_SUCCESS | FIB_NO_NEIGH => {
            // The MTU is told together with the neighbour, and without it the next packet cannot be held against it.
            let found = if code == FIB_SUCCESS { clock::jiffies() } else { 0 };
            keep(tuple, ingress, dst, answer, found)
        }
        FIB_FWD_DISABLED => Route::Disabled,
        FIB_BLACKHOLE | FIB_UNREACHABLE | FIB_PROHIBIT | FIB_NOT_FORWARDED => Route::Stack,
        FIB_FRAG_NEEDED => Route::FragNeeded,
        _ => Route::NoFib,
    }
}

/// MTU of the way to `dst`, also while its neighbour is not known; zero when the kernel does not say. Few packets ask.
#[inline(never)]
pub(super) fn mtu(packet: &Packet, tuple: &Tuple, ingress: u32, dst: &Addr) -> u32 {
    let Some(answer) = scratch::answer() else { return 0 };
    // Larger than what any way takes: the kernel says how much that is before it looks for a neighbour.
    answer.begin(tuple, ingress, dst, u16::MAX);
    // SAFETY: the helper reads and writes the struct within the size given.
    let code =
        unsafe { bpf_fib_lookup(packet.skb().cast(), &raw mut answer.fib, size_of::<FibLookup>() as i32, 0) };
    if code == FIB_FRAG_NEEDED { u32::from(answer.mtu()) } else { 0 }
}

#[inline(always)]
fn keep(tuple: &Tuple, ingress: u32, dst: &Addr, answer: &Answer, found: u64) -> Route {
    let Some(way) = place(tuple, ingress, dst) else { return Route::NoFib };
    // SAFETY: the slot is this CPU's; nobody else writes it while this program runs.
    unsafe {
        *way = Way {
            found,
            src: tuple.key.src,
            dst: *dst,
            ingress,
            proto: u32::from(tuple.key.proto),
            mtu: u32::from(answer.mtu()),
            ifindex: answer.ifindex(),
            next_hop: answer.next_hop(),
            _pad: 0,
        };
    }
    Route::Via
}

/// Bytes of a UDP header.
const UDP_HEADER: u32 = 8;

/// Length from the IP header on of what will be on the wire: of one segment, when the frame is a GSO frame.
#[inline(always)]
fn wire_len(packet: &Packet, tuple: &Tuple) -> u16 {
    let len = match packet.gso_size() {
        0 => packet.len() - ETH_LEN,
        // Of SCTP: segments of different sizes, each made to fit the path by its sender.
        GSO_BY_FRAGS => tuple.l4 - ETH_LEN + 20,
        segment if tuple.key.proto == proto::UDP => tuple.l4 - ETH_LEN + UDP_HEADER + segment,
        // The helper's check must not refuse a large frame that is cut later; TCP headers are at least 20 bytes,
        // and the options that are not counted here are in the sender's own MSS arithmetic.
        segment => tuple.l4 - ETH_LEN + 20 + segment,
    };
    if len > 0xffff { 0xffff } else { len as u16 }
}
