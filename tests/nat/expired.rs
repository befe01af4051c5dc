//! A packet to a published port whose time to live ends at the host is answered by the host (R9, RFC 1812 section 5.3.1).

use std::net::Ipv4Addr;

use tests::packet::Packet;

use crate::lan::PUBLISHED;
use crate::path::{FAR, Path};
use crate::wire::Station;

#[test]
fn traceroute_to_a_published_port_names_every_hop() {
    let path = Path::new();
    let router = Ipv4Addr::new(198, 18, 1, 1);
    let far = Station::behind(&path.far, router);
    let outside = Ipv4Addr::new(198, 18, 0, 1);
    let host = path.lan.host.address;
    let hops = [(router, (11, 0)), (outside, (11, 0)), (host, (11, 0)), (host, (3, 3))];
    for (ttl, (hop, kind)) in (1..).zip(hops) {
        let from = (FAR, 50_000 + u16::from(ttl));
        far.send(&Packet::udp(from, (host, PUBLISHED)).with(|p| p.ttl = ttl));
        let answer = far.awaits(&format!("the answer of hop {ttl}"), |ip| {
            ip.kind().is_some() && ip.inner().sport() == from.1
        });
        assert_eq!((answer.src, answer.kind()), (hop, Some(kind)), "hop {ttl}");
        assert_eq!((answer.inner().dst, answer.inner().dport()), (host, PUBLISHED), "hop {ttl}");
    }
}
