//! Attacks that must come to nothing: each is really sent, and counted where the victim is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tests::capture::{Capture, Frame};
use tests::packet::{Packet, SYN, TCP, UDP, arp_request};
use tests::process::eventually;
use tests::server::{Server, ask_stream, ask_udp, assert_refused, assert_served};
use tests::topology::UPLINK;

use crate::lan::{Lan, PUBLISHED, Peer, REMOTES};
use crate::tcp::{assert_carries, connection};
use crate::wire::{OTHER, REMOTE, Sender, Station, icmp, mac_of};

#[test]
fn neighbour_does_not_reach_loopback_by_the_hosts_mac() {
    let lan = Lan::new();
    let service = Peer::at(&lan.host.ns, Ipv4Addr::LOCALHOST, 9000);
    let (c1, outside) = (Station::listening(&lan, &lan.c1), Station::outside(&lan));
    for from in [REMOTES[0], Ipv4Addr::LOCALHOST] {
        for port in [9000, PUBLISHED] {
            outside.send(&Packet::udp((from, 7000), (Ipv4Addr::LOCALHOST, port)));
            outside.send(&Packet::tcp((from, 7000), (Ipv4Addr::LOCALHOST, port), SYN));
        }
    }
    service.hears_nothing();
    c1.refuses("reached", |ip| [TCP, UDP].contains(&ip.protocol));
}

#[test]
fn neighbour_does_not_reach_a_port_published_on_loopback() {
    let lan = Lan::new();
    let c3 = lan.bed.container(&lan.host, "c3", &["-p", "127.0.0.1:8081:80", "-p", "127.0.0.1:8081:80/udp"]);
    let (at_c3, outside) = (Station::listening(&lan, &c3), Station::outside(&lan));
    let _server = Server::start(&c3.ns, 80);
    for from in [REMOTES[0], Ipv4Addr::LOCALHOST] {
        for to in [lan.host.address, Ipv4Addr::LOCALHOST, c3.address] {
            for port in [8081, 80] {
                outside.send(&Packet::udp((from, 7000), (to, port)));
                outside.send(&Packet::tcp((from, 7000), (to, port), SYN));
            }
        }
    }
    assert_refused(&lan.bed.outside.ns, (lan.host.address, 8081));
    at_c3.refuses("reached", |ip| [TCP, UDP].contains(&ip.protocol));
    assert_served(&lan.host.ns, (Ipv4Addr::LOCALHOST, 8081), "c3");
}

#[test]
fn firewall_reload_takes_nothing_away() {
    let lan = Lan::new();
    let (_server, c1) = (Server::start(&lan.c1.ns, 80), Station::listening(&lan, &lan.c1));
    lan.host.ns.set_sysctl("net/ipv4/ip_forward", "1");
    lan.bed.outside.ns.sh(&format!("ip route add {} via {}", lan.c1.address, lan.host.address)).done();
    let (inside, outside, _) = connection(&lan);
    lan.host.ns.sh("nft flush ruleset").done();
    // What somebody else's clean-up would try. By TCX it finds nothing; filters of a qdisc go, until the next `up`.
    for interface in [UPLINK, "netdp0"] {
        let _ = lan.host.ns.sh(&format!("tc filter del dev {interface} ingress"));
        let _ = lan.host.ns.sh(&format!("tc qdisc del dev {interface} clsact"));
    }
    if lan.host.json(&["status"])["features"]["attach_modes"][0] == "clsact" {
        lan.host.up_once();
    }
    assert_carries(&inside, &outside, b"still there");
    assert_served(&lan.bed.outside.ns, (lan.host.address, PUBLISHED), "c1");
    assert_refused(&lan.bed.outside.ns, (lan.c1.address, 81));
    c1.refuses("reached directly", |ip| ip.dport() == 81);
}

#[test]
fn third_container_hears_nothing_of_two_others_whatever_it_claims() {
    let lan = Lan::new();
    let c3 = lan.bed.container(&lan.host, "c3", &[]);
    let (spy, sender) = (Capture::start(&c3.ns, "eth0", &[]), Sender::container(&lan, &c3));
    let (own, victim) = (mac_of(&c3.ns, "eth0"), mac_of(&lan.c1.ns, "eth0"));
    c3.ns.sh("ip link set eth0 promisc on").done();
    sender.send(&arp_request(own, lan.c1.address, lan.c1.address));
    sender.send(&arp_request(victim, lan.c1.address, lan.c2.address));
    sender.send(&Packet::udp((c3.address, 1), (lan.c2.address, 1)).link(victim, [0xff; 6]).build());
    let _server = Server::start(&lan.c1.ns, 80);
    assert_served(&lan.c2.ns, (lan.c1.address, 80), "c1");
    let pair = [lan.c1.address, lan.c2.address];
    let heard = spy.seen().frames;
    let heard = heard.iter().filter_map(Frame::ipv4);
    assert_eq!(heard.filter(|(_, src, dst)| pair.contains(src) && pair.contains(dst)).count(), 0);
}

#[test]
fn spoofed_sources_reach_nobody() {
    let lan = Lan::new();
    let (c1, outside) = (Station::container(&lan, &lan.c1), Station::outside(&lan));
    let c2 = Station::listening(&lan, &lan.c2);
    let claims = [lan.c2.address, lan.host.address, REMOTES[0], OTHER, Ipv4Addr::LOCALHOST];
    for from in claims {
        for to in [REMOTE, lan.c2.address, lan.host.address] {
            c1.send(&Packet::udp((from, 6666), (to, 6666)));
        }
    }
    outside.refuses("a spoofed source", |ip| ip.dport() == 6666);
    c2.refuses("a spoofed source", |ip| ip.dport() == 6666);
}

#[test]
fn source_port_of_a_hosts_service_does_not_take_its_packets() {
    let lan = Lan::new();
    let service = Peer::at(&lan.host.ns, Ipv4Addr::UNSPECIFIED, 6000);
    let remote = lan.remote(REMOTES[0], 4444);
    let shadow = Peer::inside(&lan.c1, 6000);
    assert_ne!(shadow.seen_by(&remote).port(), 6000);
    remote.send((lan.host.address, 6000), "for the service");
    assert_eq!(service.hears(), ("for the service".to_owned(), remote.local()));
    shadow.hears_nothing();
}

#[test]
fn source_port_of_a_published_port_does_not_take_its_packets() {
    let lan = Lan::new();
    let (published, shadow) = (Peer::inside(&lan.c1, 80), Peer::inside(&lan.c2, PUBLISHED));
    let remote = lan.remote(REMOTES[0], 4444);
    assert_ne!(shadow.seen_by(&remote).port(), PUBLISHED);
    remote.send((lan.host.address, PUBLISHED), "for c1");
    assert_eq!(published.hears().0, "for c1");
    shadow.hears_nothing();
}

#[test]
fn ports_that_are_chosen_follow_no_pattern() {
    const FLOWS: u16 = 1000;
    let lan = Lan::new();
    let senders = [Sender::container(&lan, &lan.c1), Sender::container(&lan, &lan.c2)];
    let ear = Sender::outside(&lan);
    let own = [lan.c1.address, lan.c2.address];
    // The first container keeps its ports, so those of the second one are chosen.
    for port in 20_000..20_000 + FLOWS {
        for ((sender, from), text) in senders.iter().zip(own).zip(["kept", "chosen"]) {
            let packet = Packet::udp((from, port), (REMOTE, 53));
            sender.send(&sender.frame(&packet.with(|p| p.payload = text.into())));
        }
    }
    let mut chosen = Vec::new();
    eventually("all have left", std::time::Duration::from_secs(5), || {
        let all = std::iter::from_fn(|| ear.next());
        chosen.extend(all.filter(|ip| ip.has(b"chosen")).map(|ip| u32::from(ip.sport())));
        chosen.len() == usize::from(FLOWS)
    });
    assert!(chosen.iter().all(|port| (1024..=65_535).contains(port)));
    // 16 classes and 15 degrees of freedom: a fair choice is above 56 once in a million runs.
    let mut classes = [0_i64; 16];
    for port in &chosen {
        classes[usize::try_from((port - 1024) * 16 / 64_512).unwrap()] += 1;
    }
    let fair = i64::from(FLOWS) / 16;
    let chi_square = classes.iter().map(|count| (count - fair).pow(2)).sum::<i64>() / fair;
    assert!(chi_square < 56, "{chi_square}: {classes:?}");
    let near = chosen.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 64).count();
    assert!(near < 20, "{near} of {FLOWS} are close to the one before");
}

#[test]
fn packet_without_a_hop_left_is_not_delivered_by_any_way() {
    let lan = Lan::new();
    let (c1, c2) = (Station::listening(&lan, &lan.c1), Station::container(&lan, &lan.c2));
    let outside = Station::outside(&lan);
    let spent = |from, to| Packet::udp(from, to).with(|p| (p.ttl, p.payload) = (1, b"spent".to_vec()));
    c2.send(&spent((lan.c2.address, 7000), (lan.host.address, PUBLISHED)));
    c2.send(&spent((lan.c2.address, 7000), (REMOTE, 53)));
    outside.send(&spent((REMOTE, 7000), (lan.host.address, PUBLISHED)));
    c1.refuses("delivered", |ip| ip.protocol == UDP && ip.has(b"spent"));
    outside.refuses("sent on", |ip| ip.protocol == UDP && ip.has(b"spent"));
}

#[test]
fn container_that_talks_to_itself_by_the_outside_address_goes_round_once() {
    let lan = Lan::new();
    let _server = Server::start(&lan.c1.ns, 80);
    let outside = Station::outside(&lan);
    assert_eq!(
        assert_served(&lan.c1.ns, (lan.host.address, PUBLISHED), "c1"),
        IpAddr::from(lan.host.address)
    );
    outside.refuses("it left the host", |ip| [TCP, UDP].contains(&ip.protocol));
}

#[test]
fn client_is_known_by_its_own_address_on_every_way_to_a_published_port() {
    let lan = Lan::new();
    let _server = Server::start(&lan.c1.ns, 80);
    for client in REMOTES {
        let from = Peer::at(&lan.bed.outside.ns, client, 0);
        from.send((lan.host.address, PUBLISHED), "who\n");
        assert!(from.hears().0.starts_with(&format!("c1 {client}:")));
    }
    let answer = ask_udp(&lan.c2.ns, 0, (lan.c1.address, 80)).unwrap();
    assert_eq!(answer.seen.ip(), IpAddr::from(lan.c2.address));
    let answer = ask_udp(&lan.c2.ns, 0, (lan.host.address, PUBLISHED)).unwrap();
    assert_eq!(answer.seen.ip(), IpAddr::from(lan.host.address));
    let stream = tests::server::connect(&lan.bed.outside.ns, (lan.host.address, PUBLISHED)).unwrap();
    assert_eq!(ask_stream(&stream).unwrap().seen.ip(), IpAddr::from(REMOTES[0]));
}

#[test]
fn syn_flood_to_a_published_port_leaves_other_traffic_untouched() {
    let lan = Lan::new();
    let (inside, outside, _) = connection(&lan);
    let _servers = [Server::start(&lan.c1.ns, 80), Server::start(&lan.bed.outside.ns, 81)];
    let sender = Sender::outside(&lan);
    for n in 0..60_000_u32 {
        let from = (Ipv4Addr::from(0xc612_0000 | n >> 4), u16::try_from(1024 + n % 60_000).unwrap());
        sender.send(&sender.frame(&Packet::tcp(from, (lan.host.address, PUBLISHED), SYN)));
    }
    assert_carries(&inside, &outside, b"established");
    assert_carries(&outside, &inside, b"established");
    assert_served(&lan.c2.ns, (REMOTES[0], 81), "outside");
}

#[test]
fn router_advertisement_of_a_container_reaches_nobody() {
    let lan = Lan::new();
    let (sender, c2) = (Sender::container(&lan, &lan.c1), Sender::container(&lan, &lan.c2));
    let mac = mac_of(&lan.c1.ns, "eth0");
    let mut frame =
        [&[0x33, 0x33, 0, 0, 0, 1][..], &mac, &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 16, 58, 255]].concat();
    frame.extend("fe80::42:acff:fe11:2".parse::<Ipv6Addr>().unwrap().octets());
    frame.extend("ff02::1".parse::<Ipv6Addr>().unwrap().octets());
    frame.extend([134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    sender.send(&frame);
    let heard =
        std::iter::from_fn(|| c2.next_frame()).any(|bytes| bytes[12..14] == [0x86, 0xdd] && bytes[54] == 134);
    assert!(!heard, "a router advertisement arrived");
}

#[test]
fn redirect_from_outside_reaches_no_container() {
    let lan = Lan::new();
    let (c1, outside) = (Station::container(&lan, &lan.c1), Station::outside(&lan));
    c1.send(&Packet::udp((lan.c1.address, 5000), (REMOTE, 53)));
    let seen = outside.awaits("the packet", |ip| ip.dst == REMOTE);
    for code in 0..4 {
        outside.send(&icmp(REMOTE, lan.host.address, [5, code, 0, 0, 203, 0, 113, 1], &seen.frame[14..]));
    }
    c1.refuses("a redirect", |ip| ip.kind().is_some_and(|(kind, _)| kind == 5));
}
