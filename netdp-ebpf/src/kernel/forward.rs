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

/// What becomes of a packet that is not dropped. Without payloads: half of one that is not set would be a register
/// that the verifier has never seen written.
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
}

/// Where the kernel's routing table sends a packet.
pub(super) enum Route {
    /// Out of this interface, to this next hop.
    Via(u32, NextHop),
    /// The stack has to answer: local, unreachable, prohibited, or too big for the next link and not to be cut.
    Stack,
    /// The stack would pass it on as it is, which is to say untranslated.
    Refused(Reason),
    /// Forwarding is switched off where the packet came in, and the helper refuses for that reason alone.
    Disabled,
}

const AF_INET: u8 = 2;
/// Return codes of `bpf_fib_lookup` (`linux/bpf.h`).
const FIB_SUCCESS: i64 = 0;
const FIB_BLACKHOLE: i64 = 1;
const FIB_UNREACHABLE: i64 = 2;
const FIB_PROHIBIT: i64 = 3;
const FIB_NOT_FORWARDED: i64 = 4;
const FIB_FWD_DISABLED: i64 = 5;
const FIB_NO_NEIGH: i64 = 7;
const FIB_FRAG_NEEDED: i64 = 8;
/// No interface has an MTU below this (RFC 791): smaller packets need no check.
const SMALLEST_MTU: u32 = 576;

/// Asks the routing table, as if the packet came in by `ingress` with its present source. A call of its own, because
/// what the helper fills is a sixth of the stack.
#[inline(never)]
pub(super) fn route(packet: &Packet, tuple: &Tuple, ingress: u32, dst: &Addr) -> Route {
    // SAFETY: all-zero is a valid value of this struct of integers and unions of integers.
    let mut fib: FibLookup = unsafe { core::mem::zeroed() };
    fib.family = AF_INET;
    fib.l4_protocol = tuple.key.proto;
    fib.ifindex = ingress;
    fib.__bindgen_anon_1.tot_len = wire_len(packet, tuple);
    fib.__bindgen_anon_3.ipv4_src = tuple.key.src.v4_be();
    fib.__bindgen_anon_4.ipv4_dst = dst.v4_be();
    // SAFETY: the helper reads and writes the struct within the size given.
    let code = unsafe { bpf_fib_lookup(packet.skb().cast(), &raw mut fib, size_of::<FibLookup>() as i32, 0) };
    match code {
        FIB_SUCCESS | FIB_NO_NEIGH => Route::Via(fib.ifindex, next_hop(&fib)),
        FIB_FWD_DISABLED => Route::Disabled,
        FIB_BLACKHOLE | FIB_UNREACHABLE | FIB_PROHIBIT | FIB_NOT_FORWARDED => Route::Stack,
        FIB_FRAG_NEEDED if tuple.dont_fragment => Route::Stack,
        FIB_FRAG_NEEDED => Route::Refused(Reason::FragNeeded),
        _ => Route::Refused(Reason::NoFib),
    }
}

/// Length from the IP header on of what will be on the wire: of one segment, when the frame is a GSO frame.
#[inline(always)]
fn wire_len(packet: &Packet, tuple: &Tuple) -> u16 {
    let len = match packet.gso_size() {
        0 => packet.len() - ETH_LEN,
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
        return Ok(Action::SlowPath);
    }
    let (ifindex, next_hop) = match route(packet, tuple, ingress, &flow.dst) {
        Route::Via(ifindex, next_hop) => (ifindex, Some(next_hop)),
        Route::Stack => return Ok(Action::SlowPath),
        Route::Refused(reason) => return Err(reason),
        Route::Disabled => (flow.ifindex, None),
    };
    nat::rewrite(packet, tuple, flow, Hop::Routed)?;
    packet.mark_translated();
    neighbour(ifindex, next_hop, if flow.is_reply() { Action::Reply } else { Action::Masqueraded })
}

/// Hands the packet to a neighbour; without a next hop, the kernel looks the route up itself.
#[inline(always)]
pub(super) fn neighbour(ifindex: u32, next_hop: Option<NextHop>, action: Action) -> Result<Action, Reason> {
    let code = match next_hop {
        // SAFETY: the helper reads the struct within the size given.
        Some(mut hop) => unsafe { bpf_redirect_neigh(ifindex, &raw mut hop, size_of::<NextHop>() as i32, 0) },
        // SAFETY: null and zero mean "no next hop given".
        None => unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) },
    };
    taken(code, action)
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
