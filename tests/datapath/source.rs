//! Published ports that are for some sources only: decided by the first packet, before there is a flow.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netdp_common::timers::State;
use netdp_common::{
    Addr, Backend, FlowKey, Port, PortKey, Reason, Source, SourceKey, Zone, names, port_flags, proto,
};
use tests::expect::Expect;
use tests::packet::{ACK, Packet, SYN, sum};
use tests::program::{DROP, NEXT, Outcome, REDIRECT};
use tests::server::Server;

use crate::fixture::{C1, C2, D1, DNS, HOST, REMOTE, ROUTER_MAC, WEB, World, counted, mac};

/// A port that the fixture has not published.
const ADMIN: (u16, u16) = (9443, 443);

fn prefix(text: &str) -> (IpAddr, u32) {
    let (address, length) = text.split_once('/').unwrap();
    let (address, length): (IpAddr, u32) = (address.parse().unwrap(), length.parse().unwrap());
    (address, if address.is_ipv4() { 96 + length } else { length })
}

fn prefixes(texts: &[&str]) -> Vec<(IpAddr, u32)> {
    texts.iter().map(|text| prefix(text)).collect()
}

/// A world whose TCP port [`ADMIN`] and UDP port [`DNS`] are for these sources, on all addresses.
fn world_for(sources: &[&str]) -> World {
    let (mut world, sources) = (World::new(), prefixes(sources));
    world.publish_for(Addr::ANY4, ADMIN, proto::TCP, Some(&sources));
    world.publish_for(Addr::ANY4, DNS, proto::UDP, Some(&sources));
    world
}

fn syn(world: &World, from: Ipv4Addr, to: Ipv4Addr) -> Packet {
    world.as_outside(Packet::tcp((from, 5000), (to, ADMIN.0), SYN))
}

fn outside_asks(world: &mut World, from: &str) -> Outcome {
    let packet = syn(world, from.parse().unwrap(), HOST);
    world.outside_sends(&packet)
}

#[test]
fn source_that_is_listed_begins_a_flow_and_reaches_the_container() {
    for (packet, ports, protocol, state) in [
        (Packet::tcp((REMOTE, 5000), (HOST, ADMIN.0), SYN), ADMIN, proto::TCP, State::TcpSynSent),
        (Packet::udp((REMOTE, 5000), (HOST, DNS.0)), DNS, proto::UDP, State::UdpUnreplied),
    ] {
        let mut world = world_for(&["10.0.0.0/8", "198.51.100.0/24"]);
        let packet = world.as_outside(packet);
        let [there, back] = world.published(protocol, 5000, ports, state);
        let outcome = world.outside_sends(&packet);
        let received = world.to_c1(packet.clone()).with(|p| {
            p.dst = C1;
            p.ttl -= 1;
            p.set_dport(ports.1);
        });
        Expect::redirected(Reason::Published)
            .packet(received.build())
            .flow(there.0, counted(there.1, &packet))
            .flow(back.0, back.1)
            .of(&outcome);
    }
}

#[test]
fn source_that_is_not_listed_is_dropped_counted_and_told_and_makes_no_flow() {
    let mut world = world_for(&["10.0.0.0/8", "198.51.101.0/24"]);
    for packet in [
        Packet::tcp((REMOTE, 5000), (HOST, ADMIN.0), SYN),
        Packet::udp((REMOTE, 5000), (HOST, DNS.0)),
        Packet::udp((REMOTE, 5000), (HOST, DNS.0)).with(|p| p.payload = vec![7; 1400]),
    ] {
        let packet = world.as_outside(packet);
        Expect::dropped(Reason::SourceDenied).of(&world.outside_sends(&packet));
    }
    assert!(world.machine.flows().is_empty());
}

#[test]
fn first_and_last_address_of_a_prefix_are_in_and_their_neighbours_are_not() {
    let mut world = world_for(&["198.51.100.64/26", "192.0.2.9/32"]);
    for (from, verdict) in [
        ("198.51.100.63", DROP),
        ("198.51.100.64", REDIRECT),
        ("198.51.100.127", REDIRECT),
        ("198.51.100.128", DROP),
        ("192.0.2.8", DROP),
        ("192.0.2.9", REDIRECT),
        ("192.0.2.10", DROP),
    ] {
        assert_eq!(outside_asks(&mut world, from).verdict, verdict, "{from}");
    }
}

#[test]
fn empty_list_is_for_nobody_and_zero_bits_are_for_everybody_of_the_family() {
    assert_eq!(outside_asks(&mut world_for(&[]), "198.51.100.7").verdict, DROP);
    assert_eq!(outside_asks(&mut world_for(&["0.0.0.0/0"]), "198.51.100.7").verdict, REDIRECT);
    assert_eq!(outside_asks(&mut world_for(&["fd00::/8"]), "198.51.100.7").verdict, DROP);
}

#[test]
fn each_port_has_its_own_list() {
    let mut world = world_for(&["10.0.0.0/8"]);
    world.publish_for(Addr::ANY4, (9444, 443), proto::TCP, Some(&prefixes(&["198.51.100.0/24"])));
    assert_eq!(outside_asks(&mut world, "198.51.100.7").verdict, DROP);
    for (port, verdict) in [(9444, REDIRECT), (WEB.0, REDIRECT), (ADMIN.0, DROP)] {
        let packet = world.as_outside(Packet::tcp((REMOTE, 5001), (HOST, port), SYN));
        assert_eq!(world.outside_sends(&packet).verdict, verdict, "{port}");
    }
}

#[test]
fn list_of_one_address_never_falls_through_to_the_port_of_all_addresses() {
    let mut world = world_for(&["198.51.100.0/24"]);
    world.publish_for(Addr::from(HOST), ADMIN, proto::TCP, Some(&prefixes(&["10.0.0.0/8"])));
    let other = "203.0.113.77".parse().unwrap();
    world.machine.put_host_addr(other);
    let refused = syn(&world, REMOTE, HOST);
    Expect::dropped(Reason::SourceDenied).of(&world.outside_sends(&refused));
    assert_eq!(outside_asks(&mut world, "10.9.9.9").verdict, REDIRECT);
    for (from, verdict) in [(REMOTE, REDIRECT), (Ipv4Addr::new(10, 9, 9, 9), DROP)] {
        let packet = world.as_outside(Packet::tcp((from, 5002), (other, ADMIN.0), SYN));
        assert_eq!(world.outside_sends(&packet).verdict, verdict, "{from} to the port of all addresses");
    }
}

#[test]
fn flow_that_runs_is_not_asked_again() {
    let mut world = world_for(&["10.0.0.0/8"]);
    let [there, back] = world.published(proto::TCP, 5000, ADMIN, State::TcpEstablished);
    world.seed([there, back]);
    let packet = world.as_outside(Packet::tcp((REMOTE, 5000), (HOST, ADMIN.0), ACK));
    assert_eq!(world.outside_sends(&packet).verdict, REDIRECT);
}

#[test]
fn container_is_judged_by_its_own_address() {
    for (client, interface, bridge, verdict) in
        [(C2, "c2", "br0", REDIRECT), (C1, "c1", "br0", REDIRECT), (D1, "d1", "br1", DROP)]
    {
        let mut world = world_for(&["172.17.0.0/16", "203.0.113.0/24"]);
        let to = world.machine.mac(bridge).0;
        let packet = Packet::tcp((client, 5000), (HOST, ADMIN.0), SYN).link(mac(client), to);
        let outcome = world.machine.run(names::FROM_CONTAINER, interface, &packet.build());
        assert_eq!(outcome.verdict, verdict, "{interface}");
        if verdict == DROP {
            Expect::dropped(Reason::SourceDenied).of(&outcome);
        }
    }
}

#[test]
fn process_of_the_host_reaches_the_port_whatever_its_list() {
    for to in [Ipv4Addr::LOCALHOST, HOST] {
        let mut world = world_for(&["10.0.0.0/8"]);
        let packet = Packet::tcp((to, 5000), (to, ADMIN.0), SYN).link([0; 6], [0; 6]);
        assert_eq!(world.host_sends(&packet).verdict, REDIRECT, "{to}");
    }
}

#[test]
fn what_is_the_hosts_own_is_not_judged() {
    let mut world = world_for(&["10.0.0.0/8"]);
    let answer = world.as_outside(Packet::tcp((REMOTE, 5000), (HOST, ADMIN.0), SYN | ACK));
    Expect::untouched().of(&world.outside_sends(&answer));
    let _server = Server::start(world.machine.ns(), DNS.0);
    let datagram = world.as_outside(Packet::udp((REMOTE, 5000), (HOST, DNS.0)));
    Expect::untouched().of(&world.outside_sends(&datagram));
}

#[test]
fn malformed_packet_to_a_port_with_a_list_is_not_judged_and_makes_no_flow() {
    let mut world = world_for(&["10.0.0.0/8"]);
    let whole = Packet::tcp((REMOTE, 5000), (HOST, ADMIN.0), SYN);
    let allowed = Packet::tcp((Ipv4Addr::new(10, 9, 9, 9), 5000), (HOST, ADMIN.0), SYN);
    for packet in [whole, allowed] {
        let packet = world.as_outside(packet.with(|p| p.lies.total_length = Some(0)));
        let frame = packet.build();
        for length in [34, 37, 42, 53] {
            let outcome = world.machine.run(names::FROM_UPLINK, "up0", &frame[..length]);
            assert_eq!(outcome.verdict, NEXT, "{length} bytes");
            assert!(outcome.change.flows.is_empty() && outcome.change.counts.is_empty());
        }
    }
}

/// An address of the host in IPv6, and one behind the router.
const HOST6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);
const LISTED6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0x7fff, 0xffff, 0xffff, 0xffff);
const UNLISTED6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0x8000, 0, 0, 0);

/// The first packet of a TCP connection to [`ADMIN`] over IPv6 (RFC 8200, 3).
fn syn6(world: &World, from: Ipv6Addr) -> Vec<u8> {
    let mut tcp = [5000_u16.to_be_bytes(), ADMIN.0.to_be_bytes()].concat();
    tcp.extend([0; 8]);
    tcp.extend([5 << 4, SYN, 0xfa, 0xf0, 0, 0, 0, 0]);
    let addresses = [from.octets(), HOST6.octets()].concat();
    let checksum = !sum(&tcp, u32::from(sum(&addresses, u32::from(proto::TCP) + 20)));
    tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
    let eth = [&world.machine.mac("up0").0[..], &ROUTER_MAC, &[0x86, 0xdd]].concat();
    [&eth[..], &[0x60, 0, 0, 0, 0, 20, proto::TCP, 64], &addresses, &tcp].concat()
}

/// A world whose TCP port [`ADMIN`] leads to an IPv6 address of `C1`, for sources of both families.
fn world6(flags: u16) -> World {
    let mut world = World::new();
    world.machine.put_host_addr(HOST6);
    let inside = |last| Addr::from(IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)));
    let backend = Backend {
        addr: inside(2),
        gateway: inside(1),
        ifindex: world.machine.ifindex("c1"),
        port: Port::new(ADMIN.1),
        mac: world.machine.mac("c1"),
        gateway_mac: world.machine.mac("br0"),
        flags,
    };
    let everywhere = PortKey::new(Addr::UNSPECIFIED, Port::new(ADMIN.0), proto::TCP);
    world.machine.put_port(everywhere, backend);
    for (source, prefix_len) in prefixes(&["fd00::/8", "2001:db8::/65"]) {
        let source = Source { port: everywhere, addr: Addr::from(source) };
        world.machine.put_source(SourceKey { prefix_len, source });
    }
    world
}

#[test]
fn source_of_ipv6_is_judged_by_the_prefixes_of_ipv6() {
    let asks = |flags, from| {
        let mut world = world6(flags);
        let frame = syn6(&world, from);
        (world.machine.run(names::FROM_UPLINK, "up0", &frame), world)
    };
    let (every, own) = (port_flags::FILTERED | port_flags::EVERY_ADDRESS, port_flags::FILTERED);
    let (listed, world) = asks(every, LISTED6);
    assert_eq!((listed.verdict, world.machine.flows().len()), (REDIRECT, 2));
    let (unlisted, world) = asks(every, UNLISTED6);
    Expect::dropped(Reason::SourceDenied).of(&unlisted);
    assert!(world.machine.flows().is_empty());
    Expect::dropped(Reason::SourceDenied).of(&asks(own, LISTED6).0);
    assert_eq!(asks(0, UNLISTED6).0.verdict, REDIRECT);
}

#[test]
fn malformed_ipv6_packet_to_a_port_with_a_list_is_not_judged_and_makes_no_flow() {
    for from in [LISTED6, UNLISTED6] {
        let mut world = world6(port_flags::FILTERED | port_flags::EVERY_ADDRESS);
        let frame = syn6(&world, from);
        for length in [54, 61, 73] {
            let outcome = world.machine.run(names::FROM_UPLINK, "up0", &frame[..length]);
            assert_eq!(outcome.verdict, NEXT, "{length} bytes");
            assert!(outcome.change.flows.is_empty() && outcome.change.counts.is_empty());
        }
    }
}

/// The look-up of the programs, address by address.
#[test]
fn lists_of_both_families_are_kept_apart() {
    let mut world = World::new();
    let of = |src: &str, dst: &str| {
        let addr = |text: &str| Addr::from(text.parse::<IpAddr>().unwrap());
        let (sport, dport) = (Port::new(5000), Port::new(ADMIN.0));
        FlowKey {
            src: addr(src),
            dst: addr(dst),
            sport,
            dport,
            proto: proto::TCP,
            zone: Zone::UPLINK,
            pad: 0,
        }
    };
    world.publish_for(Addr::ANY4, ADMIN, proto::TCP, Some(&prefixes(&["10.0.0.0/8"])));
    world.publish_for(Addr::UNSPECIFIED, ADMIN, proto::TCP, Some(&prefixes(&["fd00::/8", "2001:db8::/65"])));
    let backend = Backend {
        addr: C1.into(),
        gateway: Addr::UNSPECIFIED,
        ifindex: 1,
        port: Port::new(ADMIN.1),
        mac: world.machine.mac("c1"),
        gateway_mac: world.machine.mac("br0"),
        flags: port_flags::FILTERED | port_flags::EVERY_ADDRESS,
    };
    for (src, dst, listed) in [
        ("10.200.0.1", "203.0.113.10", true),
        ("11.0.0.1", "203.0.113.10", false),
        ("fd00::1", "fd77::1", true),
        ("fe80::1", "fd77::1", false),
        ("2001:db8::7fff:ffff:ffff:ffff", "fd77::1", true),
        ("2001:db8::8000:0:0:0", "fd77::1", false),
        ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "fd77::1", false),
    ] {
        let source = Source::of(&of(src, dst), &backend);
        assert_eq!(world.machine.lists(source), listed, "{src} to {dst}");
    }
    let own = Backend { flags: port_flags::FILTERED, ..backend };
    let unlisted = Source::of(&of("fd00::1", "fd77::1"), &own);
    assert!(!world.machine.lists(unlisted), "the list of all addresses is not that of one");
}
