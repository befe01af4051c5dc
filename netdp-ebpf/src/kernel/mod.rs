//! What runs in the kernel: the entry points, and under them one file per concern.

mod access;
mod bind;
mod conntrack;
mod count;
mod forward;
mod from_container;
mod from_host;
mod from_uplink;
mod icmp;
mod maps;
mod nat;
mod parse;
mod sockets;
mod to_bridge;
mod to_uplink;

use aya_ebpf::bindings::{TC_ACT_REDIRECT, TC_ACT_SHOT, bpf_sock_addr};
use aya_ebpf::macros::{cgroup_sock_addr, classifier};
use aya_ebpf::programs::{SockAddrContext, TcContext};
use netdp_common::Reason;

use access::Packet;
use forward::Action;
use parse::Tuple;

/// The next program of the hook, or the kernel, decides (`TCX_NEXT`, `TC_ACT_UNSPEC`). Not `TC_ACT_PIPE`: in TCX
/// that skips the programs that follow.
const NEXT: i32 = -1;

/// Ingress of a container's host-side veth.
#[classifier]
pub(crate) fn from_container(ctx: TcContext) -> i32 {
    let packet = Packet::new(&ctx);
    let mut tuple = Tuple::UNKNOWN;
    verdict(&packet, from_container::decide(&packet, &mut tuple), &tuple)
}

/// Ingress of an uplink.
#[classifier]
pub(crate) fn from_uplink(ctx: TcContext) -> i32 {
    let packet = Packet::new(&ctx);
    let mut tuple = Tuple::UNKNOWN;
    verdict(&packet, from_uplink::decide(&packet, &mut tuple), &tuple)
}

/// Egress of an uplink.
#[classifier]
pub(crate) fn to_uplink(ctx: TcContext) -> i32 {
    let packet = Packet::new(&ctx);
    let mut tuple = Tuple::UNKNOWN;
    verdict(&packet, to_uplink::decide(&packet, &mut tuple), &tuple)
}

/// Egress of a network's bridge.
#[classifier]
pub(crate) fn to_bridge(ctx: TcContext) -> i32 {
    let packet = Packet::new(&ctx);
    let mut tuple = Tuple::UNKNOWN;
    verdict(&packet, to_bridge::decide(&packet, &mut tuple), &tuple)
}

/// Egress of `lo`.
#[classifier]
pub(crate) fn from_host(ctx: TcContext) -> i32 {
    let packet = Packet::new(&ctx);
    let mut tuple = Tuple::UNKNOWN;
    verdict(&packet, from_host::decide(&packet, &mut tuple), &tuple)
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

/// The one place where a decision becomes a verdict, a count and an event.
#[inline(always)]
fn verdict(packet: &Packet, decision: Result<Action, Reason>, tuple: &Tuple) -> i32 {
    let (reason, code) = match decision {
        Ok(Action::NotOurs) => return NEXT,
        Ok(Action::SlowPath) => (Reason::SlowPath, NEXT),
        Ok(Action::Translated) => (Reason::Masqueraded, NEXT),
        Ok(Action::Local) => (Reason::Local, TC_ACT_REDIRECT),
        Ok(Action::Masqueraded) => (Reason::Masqueraded, TC_ACT_REDIRECT),
        Ok(Action::Published) => (Reason::Published, TC_ACT_REDIRECT),
        Ok(Action::IcmpError) => (Reason::IcmpError, TC_ACT_REDIRECT),
        Ok(Action::Reply) => (Reason::Reply, TC_ACT_REDIRECT),
        Err(reason) => {
            count::event(packet, reason, &tuple.key);
            (reason, TC_ACT_SHOT)
        }
    };
    count::packet(packet, reason);
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
