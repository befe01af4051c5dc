//! Ports that belong to the host itself: published, or held by a socket.

use aya_ebpf::bindings::{
    __sk_buff, bpf_sock, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
};
use aya_ebpf::helpers::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp};
use netdp_common::{Addr, Backend, FlowKey, Port, PortKey, proto};

use super::maps::PORTS;
use super::scratch;

/// Look in the namespace of the interface that the packet is at (`BPF_F_CURRENT_NETNS`).
const CURRENT_NETNS: u64 = u64::MAX;

/// What is asked for: in a map, for the stack of a chain of calls is small and this is at its end.
#[repr(C)]
pub(super) struct Asked {
    port: PortKey,
    socket: bpf_sock_tuple,
}

/// The container behind a port of the host: the address's own publication before that of all addresses.
#[inline(always)]
pub(super) fn published(addr: Addr, port: Port, proto: u8) -> Option<&'static Backend> {
    let key = &mut scratch::asked()?.port;
    *key = PortKey::new(addr, port, proto);
    // SAFETY: the controller replaces entries whole and the map is not preallocated, so a value that was found
    // stays as it is while the program runs.
    unsafe {
        if let Some(backend) = PORTS.get(&*key) {
            return Some(backend);
        }
        key.addr = addr.any();
        PORTS.get(&*key)
    }
}

/// Whether packets of this tuple are expected by the host itself: no flow may be given its destination port.
#[inline(never)]
pub(super) fn holds(skb: *mut __sk_buff, reply: &FlowKey) -> bool {
    match reply.proto {
        proto::TCP | proto::UDP => {
            published(reply.dst, reply.dport, reply.proto).is_some() || socket(skb, reply)
        }
        _ => false,
    }
}

/// Whether a socket of TCP or UDP of the host would receive packets of this tuple: connected to it, or listening.
#[inline(always)]
pub(super) fn socket(skb: *mut __sk_buff, key: &FlowKey) -> bool {
    let Some(asked) = scratch::asked() else { return false };
    let (sport, dport) = (key.sport.0, key.dport.0);
    let size = if key.dst.is_v4() {
        let (saddr, daddr) = (key.src.v4_be(), key.dst.v4_be());
        let ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 { saddr, daddr, sport, dport };
        asked.socket.__bindgen_anon_1.ipv4 = ipv4;
        size_of_val(&ipv4) as u32
    } else {
        let (saddr, daddr) = (key.src.0, key.dst.0);
        let ipv6 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 { saddr, daddr, sport, dport };
        asked.socket.__bindgen_anon_1.ipv6 = ipv6;
        size_of_val(&ipv6) as u32
    };
    let tuple = &raw mut asked.socket;
    let skb = skb.cast();
    // SAFETY: the helpers read `size` bytes of the tuple, which is the size of the member that was written; the
    // reference that they return is released once, below.
    let found: *mut bpf_sock = unsafe {
        match key.proto {
            proto::TCP => bpf_skc_lookup_tcp(skb, tuple, size, CURRENT_NETNS, 0),
            proto::UDP => bpf_sk_lookup_udp(skb, tuple, size, CURRENT_NETNS, 0),
            // Nobody can be asked about others.
            _ => return false,
        }
    };
    if found.is_null() {
        return false;
    }
    // SAFETY: a reference that a look-up returned, not released before.
    unsafe { bpf_sk_release(found.cast()) };
    true
}
