//! The ways out of a hook.

use aya_ebpf::bindings::{
    BPF_F_INGRESS, TC_ACT_REDIRECT, bpf_fib_lookup as FibLookup, bpf_redir_neigh as NextHop,
    bpf_redir_neigh__bindgen_ty_1 as NextHopAddr,
};
use aya_ebpf::helpers::{bpf_check_mtu, bpf_fib_lookup, bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer};
use netdp_common::{Addr, Flow, Reason, Zone};

use super::access::Packet;
use super::nat::{self, Hop};
use super::parse::{ETH_LEN, Tuple};
use super::scratch;

/// What becomes of a packet that is not dropped. Without payloads, and as large as [`Reason`]: half of a result that is not
/// set would be a register that the verifier has never seen written.
#[repr(u32)]
#[derive(Clone, Copy)]
pub(super) enum Action {
    /// Somebody else's: it passes as it came.
    NotOurs,
    /// The bridge or the host's stack goes on with it.
    SlowPath,
    /// Masqueraded on its way out of the host's stack, which goes on with it.
    Translated,
    /// Redirected to a container of the same network.
    Local,
    /// Redirected to the outside.
    Masqueraded,
    /// Redirected to the container behind a published port.
    Published,
    /// Redirected to who began the flow.
    Reply,
    /// An ICMP error, redirected to who sent the packet inside.
    IcmpError,
    /// A fragment, redirected to where it is put in order.
    Sorted,
    /// A fragment that comes from there, redirected to where it had come from.
    Resumed,
}

/// Where the kernel's routing table sends a packet. Without payloads, as [`Action`]; what else there is to say stands in
/// [`Way`].
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

/// Out of which interface, and to which next hop.
#[repr(C)]
pub(super) struct Way {
    fib: FibLookup,
    next_hop: NextHop,
}

impl Way {
    /// Interface that the packet leaves by.
    #[inline(always)]
    pub(super) fn ifindex(&self) -> u32 {
        self.fib.ifindex
    }

    /// MTU of the next link, when the packet is too big for it.
    #[inline(always)]
    pub(super) fn mtu(&self) -> u16 {
        // SAFETY: both fields of the union are a u16; the kernel has written the MTU where it says that the packet is too big.
        unsafe { self.fib.__bindgen_anon_1.mtu_result }
    }

    /// Source that the route prefers, where [`SOURCE`] was asked and answered; else the packet's own.
    #[inline(always)]
    pub(super) fn source(&self, v4: bool) -> Addr {
        // SAFETY: `route` has written one member, for the packet's family, and the rest was zeroed.
        unsafe {
            if v4 {
                Addr::from_v4_be(self.fib.__bindgen_anon_3.ipv4_src)
            } else {
                Addr(self.fib.__bindgen_anon_3.ipv6_src)
            }
        }
    }
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
/// No interface has an MTU below this (RFC 791): smaller packets need no check.
const SMALLEST_MTU: u32 = 576;

/// Asks the routing table, as if the packet came in by `ingress` with its present source. `asked` is [`SOURCE`] or nothing.
#[inline(never)]
pub(super) fn route(packet: &Packet, tuple: &Tuple, ingress: u32, dst: &Addr, asked: u32) -> Route {
    let Some(way) = scratch::way() else { return Route::NoFib };
    let fib = &mut way.fib;
    // SAFETY: all-zero is a valid value of this struct of integers and unions of integers.
    *fib = unsafe { core::mem::zeroed() };
    fib.l4_protocol = tuple.key.proto;
    fib.ifindex = ingress;
    fib.__bindgen_anon_1.tot_len = wire_len(packet, tuple);
    if dst.is_v4() {
        fib.family = AF_INET;
        fib.__bindgen_anon_3.ipv4_src = tuple.key.src.v4_be();
        fib.__bindgen_anon_4.ipv4_dst = dst.v4_be();
    } else {
        fib.family = AF_INET6;
        fib.__bindgen_anon_3.ipv6_src = tuple.key.src.0;
        fib.__bindgen_anon_4.ipv6_dst = dst.0;
    }
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
            way.next_hop = next_hop(&way.fib);
            Route::Via
        }
        FIB_FWD_DISABLED => Route::Disabled,
        FIB_BLACKHOLE | FIB_UNREACHABLE | FIB_PROHIBIT | FIB_NOT_FORWARDED => Route::Stack,
        FIB_FRAG_NEEDED => Route::FragNeeded,
        _ => Route::NoFib,
    }
}

/// Length from the IP header on of what will be on the wire: of one segment, when the frame is a GSO frame.
#[inline(always)]
fn wire_len(packet: &Packet, tuple: &Tuple) -> u16 {
    let len = match packet.gso_size() {
        0 => packet.len() - ETH_LEN,
        // Of SCTP: segments of different sizes, each made to fit the path by its sender.
        GSO_BY_FRAGS => tuple.l4 - ETH_LEN + 20,
        // The helper's check must not refuse a large frame that is cut later; TCP headers are at least 20 bytes,
        // and the options that are not counted here are in the sender's own MSS arithmetic.
        segment => tuple.l4 - ETH_LEN + 20 + segment,
    };
    if len > 0xffff { 0xffff } else { len as u16 }
}

#[inline(always)]
fn next_hop(fib: &FibLookup) -> NextHop {
    // SAFETY: the helper fills `ipv6_dst` whole when the next hop is IPv6, and its first word is `ipv4_dst`
    // otherwise; the rest was zeroed.
    let addr = unsafe { fib.__bindgen_anon_4.ipv6_dst };
    NextHop { nh_family: u32::from(fib.family), __bindgen_anon_1: NextHopAddr { ipv6_nh: addr } }
}

/// Out of an uplink, translated. The packet is untouched when the stack has to answer it.
#[inline(always)]
pub(super) fn to_uplink(packet: &Packet, tuple: &Tuple, flow: &Flow, ingress: u32) -> Result<Action, Reason> {
    if tuple.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    let found = match route(packet, tuple, ingress, &flow.dst, 0) {
        Route::Via => true,
        Route::Disabled => false,
        Route::Stack | Route::Cut => return Ok(Action::SlowPath),
        Route::FragNeeded => return Err(Reason::FragNeeded),
        Route::NoFib => return Err(Reason::NoFib),
    };
    nat::rewrite(packet, tuple, flow, Hop::Routed)?;
    packet.mark_translated();
    let action = if flow.is_reply() { Action::Reply } else { Action::Masqueraded };
    if found { next_hop_of(scratch::way(), action) } else { neighbour(flow.ifindex, action) }
}

/// Hands the packet to the next hop that the routing table has named.
#[inline(always)]
fn next_hop_of(way: Option<&mut Way>, action: Action) -> Result<Action, Reason> {
    let Some(Way { fib, next_hop }) = way else { return Err(Reason::NoFib) };
    // SAFETY: the helper reads the struct within the size given.
    taken(unsafe { bpf_redirect_neigh(fib.ifindex, next_hop, size_of::<NextHop>() as i32, 0) }, action)
}

/// Hands the packet to a neighbour that the kernel looks up itself.
#[inline(always)]
pub(super) fn neighbour(ifindex: u32, action: Action) -> Result<Action, Reason> {
    // SAFETY: null and zero mean "no next hop given".
    taken(unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) }, action)
}

/// Whether a redirect helper has taken the packet.
#[inline(always)]
fn taken(code: i64, action: Action) -> Result<Action, Reason> {
    if code == i64::from(TC_ACT_REDIRECT) { Ok(action) } else { Err(Reason::RedirectFailed) }
}

/// Into a container, translated.
#[inline(always)]
pub(super) fn to_endpoint(packet: &Packet, tuple: &Tuple, flow: &Flow) -> Result<Action, Reason> {
    let action = if flow.is_reply() { Action::Reply } else { Action::Published };
    if tuple.key.zone == Zone::HOST {
        fits(packet, flow.ifindex)?;
        nat::rewrite(packet, tuple, flow, Hop::Local)?;
        // SAFETY: the helper takes numbers. Not `redirect_peer`: that is for ingress hooks, and this is egress.
        return taken(unsafe { bpf_redirect(flow.ifindex, 0) }, action);
    }
    if tuple.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    nat::rewrite(packet, tuple, flow, Hop::RoutedToEndpoint)?;
    peer(packet, flow.ifindex, action)
}

/// Into the namespace at the other end of a veth.
#[inline(always)]
pub(super) fn peer(packet: &Packet, ifindex: u32, action: Action) -> Result<Action, Reason> {
    packet.mark_for_receiver();
    // SAFETY: the helper takes numbers.
    taken(unsafe { bpf_redirect_peer(ifindex, 0) }, action)
}

/// To a process of the host, translated.
#[inline(always)]
pub(super) fn to_loopback(packet: &Packet, tuple: &Tuple, flow: &Flow) -> Result<Action, Reason> {
    nat::rewrite(packet, tuple, flow, Hop::Local)?;
    loopback(flow.ifindex, Action::Reply)
}

/// Up into the host's stack, as if it came in by `lo`; the frame carries the MAC of `lo`, which is zero.
#[inline(always)]
pub(super) fn loopback(ifindex: u32, action: Action) -> Result<Action, Reason> {
    // SAFETY: the helper takes numbers.
    taken(unsafe { bpf_redirect(ifindex, u64::from(BPF_F_INGRESS)) }, action)
}

/// In by an interface once more.
#[inline(always)]
pub(super) fn again(ifindex: u32) -> Result<Action, Reason> {
    // SAFETY: the helper takes numbers.
    taken(unsafe { bpf_redirect(ifindex, u64::from(BPF_F_INGRESS)) }, Action::Resumed)
}

/// To where fragments are put in order.
#[inline(always)]
pub(super) fn to_sorter(ifindex: u32) -> Result<Action, Reason> {
    // SAFETY: the helper takes numbers.
    taken(unsafe { bpf_redirect(ifindex, 0) }, Action::Sorted)
}

/// `lo` carries 64 KiB packets; the veth drops without a word what is larger than its MTU.
#[inline(always)]
fn fits(packet: &Packet, ifindex: u32) -> Result<(), Reason> {
    if packet.len() <= SMALLEST_MTU || packet.gso_size() != 0 {
        return Ok(());
    }
    let mut mtu = 0;
    // SAFETY: the helper writes the MTU to the variable.
    match unsafe { bpf_check_mtu(packet.skb().cast(), ifindex, &raw mut mtu, 0, 0) } {
        0 => Ok(()),
        _ => Err(Reason::FragNeeded),
    }
}
