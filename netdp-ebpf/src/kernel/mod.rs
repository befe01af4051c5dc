//! What runs in the kernel: the entry points, and under them one file per concern.

mod access;
mod answer;
mod bind;
mod bytes;
mod call;
mod clock;
mod conntrack;
mod count;
mod deny;
mod direct;
mod excluded;
mod family;
mod forward;
mod fragments;
mod frame;
mod from_container;
mod from_fragments;
mod from_host;
mod from_uplink;
mod header;
mod icmp;
mod mapping;
mod maps;
mod mss;
mod nat;
mod neighbour;
mod parse;
mod prefilter;
mod quota;
mod resolver;
mod rogue;
mod route;
mod scratch;
mod sockets;
mod sound;
mod source;
mod sum;
mod to_bridge;
mod to_uplink;
mod unasked;

use aya_ebpf::bindings::{TC_ACT_REDIRECT, TC_ACT_SHOT, bpf_sock_addr, xdp_action};
use aya_ebpf::macros::{cgroup_sock_addr, classifier, sk_lookup, xdp};
use aya_ebpf::programs::{SkLookupContext, SockAddrContext, TcContext, XdpContext};
use netdp_common::{FlowKey, Reason};

use access::Packet;
use count::Seen;
use forward::Action;
use frame::Frame;
use parse::Tuple;

/// The next program of the hook, or the kernel, decides (`TCX_NEXT`, `TC_ACT_UNSPEC`). Not `TC_ACT_PIPE`: in TCX
/// that skips the programs that follow.
const NEXT: i32 = -1;

/// Ingress of a container's host-side veth.
#[classifier]
pub(crate) fn from_container(ctx: TcContext) -> i32 {
    let verdict = hook::<ANSWERS>(&ctx, from_container::decide);
    if verdict == NEXT {
        Packet::of(ctx.skb.skb).forget_translated();
    }
    verdict
}

/// Ingress of an uplink.
#[classifier]
pub(crate) fn from_uplink(ctx: TcContext) -> i32 {
    hook::<ANSWERS>(&ctx, from_uplink::decide)
}

/// XDP on an uplink. What passes is not counted here: `from_uplink` sees it.
#[xdp]
pub(crate) fn prefilter(ctx: XdpContext) -> u32 {
    let frame = Frame::new(&ctx);
    let mut seen = FlowKey::NONE;
    let Err(reason) = prefilter::decide(&frame, &mut seen) else { return xdp_action::XDP_PASS };
    count::event(&frame, reason, &seen);
    count::packet(&frame, reason);
    xdp_action::XDP_DROP
}

/// Egress of an uplink. Of what is translated already, nothing is looked at.
#[classifier]
pub(crate) fn to_uplink(ctx: TcContext) -> i32 {
    if Packet::of(ctx.skb.skb).is_translated() {
        return NEXT;
    }
    hook::<SILENT>(&ctx, to_uplink::decide)
}

/// Egress of a network's bridge.
#[classifier]
pub(crate) fn to_bridge(ctx: TcContext) -> i32 {
    hook::<SILENT>(&ctx, to_bridge::decide)
}

/// Egress of `lo`.
#[classifier]
pub(crate) fn from_host(ctx: TcContext) -> i32 {
    hook::<SILENT>(&ctx, from_host::decide)
}

/// Ingress of the veth from the namespace where fragments are sorted.
#[classifier]
pub(crate) fn from_fragments(ctx: TcContext) -> i32 {
    hook::<SILENT>(&ctx, from_fragments::decide)
}

/// `bind(2)` of an IPv4 socket in this host's namespace.
#[cgroup_sock_addr(bind4)]
pub(crate) fn bind4(ctx: SockAddrContext) -> i32 {
    bind::decide(ctx.sock_addr, bind::address4)
}

/// `bind(2)` of an IPv6 socket in this host's namespace.
#[cgroup_sock_addr(bind6)]
pub(crate) fn bind6(ctx: SockAddrContext) -> i32 {
    bind::decide(ctx.sock_addr, bind::address6)
}

/// Look-up of a socket in this host's namespace, for a first packet of TCP or any datagram.
#[sk_lookup]
pub(crate) fn resolver(ctx: SkLookupContext) -> u32 {
    resolver::hand_over(&ctx);
    SK_PASS
}

/// The look-up goes on, with the socket that was chosen or without one (`SK_PASS`).
const SK_PASS: u32 = 1;

/// What a hook does about a packet that goes no further: it may tell the sender, where packets come in, or not.
const ANSWERS: bool = true;
const SILENT: bool = false;

/// Has one hook decide on its packet.
#[inline(always)]
fn hook<const MAY_ANSWER: bool>(
    ctx: &TcContext,
    decide: fn(&Packet, &mut Tuple) -> Result<Action, Reason>,
) -> i32 {
    let packet = Packet::new(ctx);
    let Some(tuple) = scratch::tuple() else { return NEXT };
    *tuple = Tuple::UNKNOWN;
    verdict::<MAY_ANSWER>(&packet, decide(&packet, tuple), tuple)
}

/// The one place where a decision becomes a verdict, a count and an event.
#[inline(always)]
fn verdict<const MAY_ANSWER: bool>(packet: &Packet, decision: Result<Action, Reason>, tuple: &Tuple) -> i32 {
    let (reason, code) = match decision {
        Ok(Action::NotOurs) => return NEXT,
        // It is counted where it comes in once more.
        Ok(Action::Resumed) => return TC_ACT_REDIRECT,
        Ok(Action::SlowPath) => (Reason::SlowPath, NEXT),
        Ok(Action::Translated) => (Reason::Masqueraded, NEXT),
        Ok(Action::Local) => (Reason::Local, TC_ACT_REDIRECT),
        Ok(Action::Masqueraded) => (Reason::Masqueraded, TC_ACT_REDIRECT),
        Ok(Action::Published) => (Reason::Published, TC_ACT_REDIRECT),
        Ok(Action::IcmpError) => (Reason::IcmpError, TC_ACT_REDIRECT),
        Ok(Action::Reply) => (Reason::Reply, TC_ACT_REDIRECT),
        Ok(Action::Sorted) => (Reason::Sorted, TC_ACT_REDIRECT),
        Err(reason) => return refuse::<MAY_ANSWER>(packet, reason, tuple),
    };
    count::packet(packet, reason);
    code
}

/// The same of a packet that goes no further; the frame may have become the answer to it.
#[inline(always)]
fn refuse<const MAY_ANSWER: bool>(packet: &Packet, reason: Reason, tuple: &Tuple) -> i32 {
    let seen = Seen::of(packet);
    let answer = if MAY_ANSWER { answer::give(packet, reason) } else { None };
    let (reason, code) = match answer {
        Some(answer) if answer.is_routine() => (Reason::Answered, TC_ACT_REDIRECT),
        Some(_) => (reason, TC_ACT_REDIRECT),
        None => (reason, TC_ACT_SHOT),
    };
    if reason.is_drop() {
        count::event(&seen, reason, &tuple.key);
    }
    count::packet(&seen, reason);
    code
}

/// Reads one field of the context of a `bind` program.
type BindAddress = fn(*mut bpf_sock_addr) -> netdp_common::Addr;

/// Never reached: `cargo xtask build` refuses an object that refers to the panic machinery.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// What the kernel reads before it lets a program call the helpers that it marks as GPL-only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
