//! The ways out of a hook.

use aya_ebpf::bindings::{BPF_F_INGRESS, TC_ACT_REDIRECT, bpf_redir_neigh as NextHop};
use aya_ebpf::helpers::{bpf_check_mtu, bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer};
use netdp_common::{Flow, Reason, Zone, without};

use super::access::Packet;
use super::header::Hop;
use super::maps::WITHOUT;
use super::mss;
use super::nat;
use super::parse::Tuple;
use super::route::{self, Route, Way};

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

/// No interface has an MTU below this (RFC 791): smaller packets need no check.
const SMALLEST_MTU: u32 = 576;

/// Out of an uplink, translated. The packet is untouched when the stack has to answer it.
#[inline(always)]
pub(super) fn to_uplink(packet: &Packet, tuple: &Tuple, flow: &Flow, ingress: u32) -> Result<Action, Reason> {
    if tuple.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    let way = route::place(tuple, ingress, &flow.dst).ok_or(Reason::NoFib)?;
    // SAFETY: this is the way's place.
    let is_known = unsafe { route::is_known(way, packet, tuple, ingress, &flow.dst) };
    let found = if is_known { Route::Via } else { route::ask(packet, tuple, ingress, &flow.dst, 0) };
    let has_way = match found {
        Route::Via => true,
        Route::Disabled => false,
        Route::Stack | Route::Cut => return Ok(Action::SlowPath),
        Route::FragNeeded => return Err(Reason::FragNeeded),
        Route::NoFib => return Err(Reason::NoFib),
    };
    if mss::is_announced(tuple) {
        mss::hold(packet, tuple, route::mtu(packet, tuple, ingress, &flow.dst))?;
    }
    nat::rewrite(packet, tuple, flow, Hop::Routed)?;
    packet.mark_translated();
    let action = if flow.is_reply() { Action::Reply } else { Action::Masqueraded };
    if has_way { by_way(way, action) } else { neighbour(flow.ifindex, action) }
}

/// Hands the packet to the next hop that the routing table has named.
#[inline(always)]
fn by_way(way: *mut Way, action: Action) -> Result<Action, Reason> {
    // SAFETY: the way is this CPU's, and the helper reads the struct within the size given.
    taken(
        unsafe {
            bpf_redirect_neigh((*way).ifindex, &raw mut (*way).next_hop, size_of::<NextHop>() as i32, 0)
        },
        action,
    )
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
    if WITHOUT.load() & without::REDIRECT_PEER != 0 {
        // SAFETY: the helper takes numbers.
        return taken(unsafe { bpf_redirect(ifindex, 0) }, action);
    }
    // SAFETY: as above.
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
