//! What a container, or a neighbour outside, must not be able to play: router, DHCP server, source redirect (S8, S9).

use std::net::Ipv4Addr;

use tests::packet::{Mac, Packet};

use crate::lan::Lan;
use crate::wire::{REMOTE, Sender, Station, icmp, mac_of};

/// From a container to all of its link.
fn to_all(mac: Mac, group: Mac, packet: Packet) -> Vec<u8> {
    packet.link(mac, group).build()
}

#[test]
fn dhcp_server_of_a_container_is_not_heard() {
    let lan = Lan::new();
    let (sender, c2) = (Sender::container(&lan, &lan.c1), Station::listening(&lan, &lan.c2));
    let mac = mac_of(&lan.c1.ns, "eth0");
    for to in [Ipv4Addr::BROADCAST, lan.c2.address] {
        let offer = Packet::udp((lan.c1.address, 67), (to, 68)).with(|p| p.payload = vec![2; 240]);
        sender.send(&to_all(mac, [0xff; 6], offer.clone()));
        sender.send(&to_all(mac, mac_of(&lan.c2.ns, "eth0"), offer));
    }
    c2.refuses("an offer arrived", |ip| ip.sport() == 67);
}

#[test]
fn redirect_of_a_container_reaches_nobody() {
    let lan = Lan::new();
    let (c1, outside) = (Sender::container(&lan, &lan.c1), Station::outside(&lan));
    let c2 = Station::listening(&lan, &lan.c2);
    let [a, b, c, d] = lan.c1.address.octets();
    let head = [5, 1, 0, 0, a, b, c, d];
    let about = |from| Packet::udp((from, 5000), (REMOTE, 53)).build()[14..].to_vec();
    for to in [lan.c2.address, REMOTE, lan.host.address] {
        let redirect = icmp(lan.c1.address, to, head, &about(to));
        c1.send(&c1.frame(&redirect));
        c1.send(&redirect.link(mac_of(&lan.c1.ns, "eth0"), mac_of(&lan.c2.ns, "eth0")).build());
    }
    c2.refuses("a redirect", |ip| ip.kind() == Some((5, 1)));
    outside.refuses("a redirect", |ip| ip.kind() == Some((5, 1)));
}
