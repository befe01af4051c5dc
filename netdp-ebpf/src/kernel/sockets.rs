//! Ports that belong to the host itself: published, or held by a socket.

use aya_ebpf::bindings::{
    __sk_buff, bpf_sock, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
};
use aya_ebpf::helpers::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp};
use netdp_common::{Addr, Backend, FlowKey, Port, PortKey, proto};

use super::maps::PORTS;

/// Look in the namespace of the interface that the packet is at (`BPF_F_CURRENT_NETNS`).
const CURRENT_NETNS: u64 = u64::MAX;

/// The container behind a port of the host: the address's own publication before that of all addresses.
#[inline(always)]
pub(super) fn published(addr: Addr, port: Port, proto: u8) -> Option<&'static Backend> {
    // SAFETY: the controller replaces entries whole and the map is not preallocated, so a value that was found
    // stays as it is while the program runs.
    unsafe {
        PORTS
            .get(PortKey::new(addr, port, proto))
            .or_else(|| PORTS.get(PortKey::new(Addr::ANY4, port, proto)))
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

/// Whether a socket of the host would receive packets of this tuple: connected to it, or listening.
#[inline(always)]
pub(super) fn socket(skb: *mut __sk_buff, key: &FlowKey) -> bool {
    let ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
        saddr: key.src.v4_be(),
        daddr: key.dst.v4_be(),
        sport: key.sport.0,
        dport: key.dport.0,
    };
    let size = size_of_val(&ipv4) as u32;
    let mut tuple = bpf_sock_tuple { __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 { ipv4 } };
    let skb = skb.cast();
    // SAFETY: the helpers read `size` bytes of the tuple, which is the size of the member that was written; the
    // reference that they return is released once, below.
    let found: *mut bpf_sock = unsafe {
        match key.proto {
            proto::TCP => bpf_skc_lookup_tcp(skb, &raw mut tuple, size, CURRENT_NETNS, 0),
            _ => bpf_sk_lookup_udp(skb, &raw mut tuple, size, CURRENT_NETNS, 0),
        }
    };
    if found.is_null() {
        return false;
    }
    // SAFETY: a reference that a look-up returned, not released before.
    unsafe { bpf_sk_release(found.cast()) };
    true
}
