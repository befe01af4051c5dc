//! `bind(2)` of another program to a published port fails with EADDRINUSE, as if a socket of ours held it.

use core::ffi::c_void;
use core::ptr::addr_of;

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::{bpf_for_each_map_elem, bpf_get_netns_cookie, bpf_set_retval};
use netdp_common::{Addr, Port, PortKey};

use super::BindAddress;
use super::maps::{HOST_ADDRS, NETNS_COOKIE, PORTS};

const ALLOW: i32 = 1;
const REFUSE: i32 = 0;
const EADDRINUSE: i32 = 98;

/// What is asked for, and whether it is taken; lives on the stack of `decide`.
#[repr(C)]
struct Request {
    key: PortKey,
    taken: u32,
}

/// The IPv4 address that a socket is to be bound to.
#[inline(always)]
pub(super) fn address4(ctx: *mut bpf_sock_addr) -> Addr {
    // SAFETY: the context that the kernel gave to this run of the program.
    Addr::from_v4_be(unsafe { (*ctx).user_ip4 })
}

/// The IPv6 address that a socket is to be bound to.
#[inline(always)]
pub(super) fn address6(ctx: *mut bpf_sock_addr) -> Addr {
    // SAFETY: as in `address4`; the four words are read one by one, as the verifier demands.
    let words = unsafe {
        let ip = addr_of!((*ctx).user_ip6).cast::<u32>();
        [ip.read_volatile(), ip.add(1).read_volatile(), ip.add(2).read_volatile(), ip.add(3).read_volatile()]
    };
    Addr(words)
}

/// Allows or refuses one `bind(2)`. Other namespaces than ours are not our business.
#[inline(always)]
pub(super) fn decide(ctx: *mut bpf_sock_addr, address: BindAddress) -> i32 {
    // SAFETY: the helper takes the context as it is.
    if unsafe { bpf_get_netns_cookie(ctx.cast()) } != NETNS_COOKIE.load() {
        return ALLOW;
    }
    // SAFETY: as in `address4`. The low half of the word is the port in network order.
    let (port, proto) = unsafe { (Port((*ctx).user_port as u16), (*ctx).protocol as u8) };
    let addr = address(ctx);
    if port == Port::NONE || !is_taken(addr, port, proto) {
        return ALLOW;
    }
    // SAFETY: the helper takes a number; the kernel returns it from bind(2).
    unsafe { bpf_set_retval(-EADDRINUSE) };
    REFUSE
}

/// Published on all addresses of a family, or on this one. `::` takes the IPv4 port too, as Linux does by default.
#[inline(always)]
fn is_taken(addr: Addr, port: Port, proto: u8) -> bool {
    // SAFETY: only whether there is a value is looked at.
    let is_published = |addr| unsafe { PORTS.get(PortKey::new(addr, port, proto)) }.is_some();
    if is_published(Addr::ANY4) || !addr.is_v4() && is_published(Addr::UNSPECIFIED) {
        return true;
    }
    if addr != Addr::ANY4 && addr != Addr::UNSPECIFIED {
        return is_published(addr);
    }
    on_any_address(port, proto)
}

/// A socket on all addresses clashes with a port that is published on one: each address of the host is tried.
/// `bind(2)` is rare enough for that.
#[inline(always)]
fn on_any_address(port: Port, proto: u8) -> bool {
    let mut request = Request { key: PortKey::new(Addr::ANY4, port, proto), taken: 0 };
    let map = addr_of!(HOST_ADDRS).cast_mut().cast::<c_void>();
    let context = core::ptr::from_mut(&mut request).cast::<c_void>();
    // SAFETY: the callback has the signature that the helper calls, and the request outlives the call.
    unsafe { bpf_for_each_map_elem(map, try_address as *mut c_void, context, 0) };
    request.taken != 0
}

unsafe extern "C" fn try_address(
    _map: *mut c_void,
    addr: *const Addr,
    _value: *mut u32,
    request: *mut Request,
) -> i64 {
    // SAFETY: the kernel calls this with a key of the map, and with the context given to the helper.
    unsafe {
        let key = PortKey::new(*addr, (*request).key.port, (*request).key.proto);
        if PORTS.get(key).is_none() {
            return 0;
        }
        (*request).taken = 1;
    }
    1
}
