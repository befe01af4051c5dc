//! A way out that takes less than a container's link: the segment size that the container announces fits it, so that nobody
//! outside depends on an ICMP error to send what arrives.

use std::net::{IpAddr, SocketAddr};

use tests::capture::{Capture, Frame};
use tests::server::{Server, ask_tcp_at};
use tests::topology::Bed;

/// What the default route of the host takes.
const MTU: u16 = 1300;

/// The segment size that a SYN announces; none of other frames. All known stacks have it first.
fn announced(frame: &Frame) -> Option<u16> {
    let l4 = match frame.bytes.get(12..14)? {
        [0x08, 0x00] => 14 + 20,
        [0x86, 0xdd] => 14 + 40,
        _ => return None,
    };
    let (tcp, flags) = (frame.bytes.get(l4..)?, frame.bytes.get(l4 + 13)?);
    match tcp.get(20..24)? {
        [2, 4, high, low] if flags & 2 != 0 => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

#[test]
fn segment_size_that_a_container_announces_fits_the_route() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.ns.sh(&format!("ip route change default via {} mtu lock {MTU}", bed.outside.address)).done();
    host.ns.sh(&format!("ip -6 route change default via {} mtu lock {MTU}", bed.outside.address6)).done();
    // Beyond a router, as on the real Internet: what is on the link has a route of its own.
    let far: [IpAddr; 2] = [[198, 51, 100, 7].into(), "2001:db8:7::7".parse().unwrap()];
    for address in far {
        bed.outside.ns.sh(&format!("ip address add {address} dev lo")).done();
    }
    host.up_once();
    host.netdp(&["network", "create", "--ipv6", "both"]).done();

    let container = bed.container(&host, "c1", &["--network", "both"]);
    let _server = Server::start_dual(&bed.outside.ns, 80);
    let wire = Capture::start(&host.ns, "up0", &[]);
    for address in far {
        ask_tcp_at(&container.ns, SocketAddr::new(address, 80)).unwrap();
    }
    let seen = wire.seen();
    seen.assert_checksums();
    let mut sizes: Vec<u16> =
        seen.frames.iter().filter(|frame| frame.outgoing).filter_map(announced).collect();
    sizes.sort_unstable();
    sizes.dedup();
    assert_eq!(sizes, [MTU - 60, MTU - 40]);
}
