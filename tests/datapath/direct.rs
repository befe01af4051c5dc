//! Containers at their own addresses: of a routed network, of one that is not protected, of one that is let in directly.

use netdp_common::fragments::macs;
use netdp_common::policy::Rule;
use netdp_common::{
    Addr, Backend, Link, Mac, Port, PortKey, Reason, SourceKey, link_flags, names, port_flags, proto,
};
use tests::expect::Expect;
use tests::packet::{ACK, Carries, RST, SYN};
use tests::program::Outcome;

use super::stations::{C1, D1, GATEWAY, Packet, REMOTE, UNUSED, World};
use crate::fixture::mac;

/// The machine with this beside the address of `C1`, and with TCP port 80 of it published there.
fn world(beside: u16) -> World {
    let flags = if beside == port_flags::ROUTED { link_flags::ROUTED4 | link_flags::ROUTED6 } else { 0 };
    let mut world = World::with_flags(flags);
    open(&mut world, beside);
    world
}

fn open(world: &mut World, beside: u16) {
    let backend = |port: Port, flags: u16| Backend {
        addr: C1.into(),
        gateway: GATEWAY.into(),
        ifindex: world.machine.ifindex("c1"),
        port,
        mac: Mac(mac(C1)),
        gateway_mac: world.machine.mac("br0"),
        flags,
    };
    let rows = [(PortKey::beside(C1.into()), backend(Port::NONE, beside))];
    let port = (PortKey::new(C1.into(), Port::new(80), proto::TCP), backend(Port::new(80), 0));
    for (key, backend) in rows.into_iter().chain([port]) {
        world.machine.put_port(key, backend);
    }
}

/// Every kind of first packet to a container, and whether a routed network takes it.
fn packets(src: super::stations::Ip, dst: super::stations::Ip) -> [(Packet, bool); 5] {
    [
        (Packet::tcp((src, 5000), (dst, 80), SYN), true),
        (Packet::ping(src, dst, 1), true),
        (Packet::tcp((src, 5000), (dst, 81), SYN), false),
        (Packet::udp((src, 5000), (dst, 80)), false),
        (Packet::new(src, dst, Carries::Other(47)), false),
    ]
}

#[test]
fn routed_container_is_reached_from_outside_at_its_published_ports_and_by_icmp() {
    for (packet, is_taken) in packets(REMOTE, C1) {
        let mut world = world(port_flags::ROUTED);
        let packet = world.as_outside(packet);
        let outcome = world.outside_sends(&packet);
        if !is_taken {
            Expect::dropped(Reason::Unpublished).of(&outcome);
            continue;
        }
        // As it is, but for the hop.
        let got = world.to_c1(packet.clone()).with(|p| p.ttl -= 1);
        assert_eq!(outcome.bytes, got.build(), "{packet:?}");
    }
}

#[test]
fn replies_of_a_routed_container_leave_as_they_are() {
    let mut world = world(port_flags::ROUTED);
    let asked = world.as_outside(Packet::tcp((REMOTE, 5000), (C1, 80), SYN));
    world.outside_sends(&asked);
    let answer = world.as_c1(Packet::tcp((C1, 80), (REMOTE, 5000), SYN | ACK));
    let left = answer.clone().with(|p| p.ttl -= 1);
    let outcome = world.container_sends(&answer);
    assert_eq!(outcome.bytes[14..], left.build()[14..]);
}

#[test]
fn what_a_routed_container_begins_keeps_its_address() {
    let mut world = world(port_flags::ROUTED);
    let sent = world.as_c1(Packet::udp((C1, 4000), (REMOTE, 53)));
    let left = sent.clone().with(|p| p.ttl -= 1);
    let outcome = world.container_sends(&sent);
    assert_eq!(outcome.bytes[14..], left.build()[14..]);
    let answer = world.as_outside(Packet::udp((REMOTE, 53), (C1, 4000)));
    let got = world.to_c1(answer.clone()).with(|p| p.ttl -= 1);
    assert_eq!(world.outside_sends(&answer).bytes, got.build());
}

#[test]
fn unprotected_container_is_reached_by_everything_and_masquerades_what_it_begins() {
    for (packet, _) in packets(REMOTE, C1) {
        let mut world = world(port_flags::UNPROTECTED);
        let packet = world.as_outside(packet);
        let got = world.to_c1(packet.clone()).with(|p| p.ttl -= 1);
        assert_eq!(world.outside_sends(&packet).bytes, got.build(), "{packet:?}");
    }
    let mut world = world(port_flags::UNPROTECTED);
    let sent = world.as_c1(Packet::udp((C1, 4000), (REMOTE, 53)));
    let left = world.container_sends(&sent);
    assert_ne!(left.bytes[14..], sent.with(|p| p.ttl -= 1).build()[14..]);
}

#[test]
fn another_network_reaches_a_routed_container_as_the_outside_does() {
    for (packet, is_taken) in packets(D1, C1) {
        let mut world = world(port_flags::ROUTED);
        let bridge = world.machine.mac("br1").0;
        let packet = packet.link(mac(D1), bridge);
        let outcome = neighbour_sends(&mut world, &packet);
        if is_taken {
            let got = world.to_c1(packet.clone()).with(|p| p.ttl -= 1);
            assert_eq!(outcome.bytes, got.build(), "{packet:?}");
        } else {
            Expect::dropped(Reason::Unpublished).of(&outcome);
        }
    }
}

#[test]
fn internal_network_reaches_no_routed_container() {
    for (packet, _) in packets(D1, C1) {
        let mut world = world(port_flags::ROUTED);
        let ifindex = world.machine.ifindex("d1");
        let link = Link { flags: link_flags::INTERNAL, ..world.machine.link("d1") };
        world.machine.put_endpoint(link, ifindex);
        let packet = packet.link(mac(D1), world.machine.mac("br1").0);
        let outcome = neighbour_sends(&mut world, &packet);
        Expect::dropped(Rule::Internal.verdict().unwrap_err()).of(&outcome);
    }
}

#[test]
fn what_begins_no_flow_and_what_no_link_has_reaches_no_container() {
    let mut world = world(port_flags::UNPROTECTED);
    let reset = world.as_outside(Packet::tcp((REMOTE, 5000), (C1, 80), RST));
    Expect::dropped(Reason::CtInvalid).of(&world.outside_sends(&reset));
    let late = world.as_outside(Packet::tcp((REMOTE, 5000), (C1, 80), SYN)).with(|p| p.ttl = 1);
    let outcome = world.outside_sends(&late);
    assert_ne!(outcome.bytes, world.to_c1(late).with(|p| p.ttl = 0).build());
    for source in super::stations::MARTIANS {
        let packet = world.as_outside(Packet::tcp((source, 5000), (C1, 80), SYN));
        Expect::dropped(Reason::SpoofedIp).of(&world.outside_sends(&packet));
    }
}

#[test]
fn port_of_a_routed_container_is_for_its_sources_only() {
    let mut world = world(port_flags::ROUTED);
    world.publish_for(Addr::from(C1), (80, 80), proto::TCP, Some(&[]));
    let packet = world.as_outside(Packet::tcp((REMOTE, 5000), (C1, 80), SYN));
    Expect::dropped(Reason::SourceDenied).of(&world.outside_sends(&packet));
}

/// The machine with `C1` let in at its published ports by what comes in by this interface.
fn trusting(interface: &str) -> World {
    let mut world = world(port_flags::DIRECT | port_flags::FILTERED);
    let ifindex = world.machine.ifindex(interface);
    world.machine.put_source(SourceKey::interface(C1.into(), ifindex));
    world
}

fn neighbour_sends(world: &mut World, packet: &Packet) -> Outcome {
    world.machine.run(names::FROM_CONTAINER, "d1", &packet.build())
}

#[test]
fn container_that_is_let_in_directly_is_reached_at_its_published_ports_and_by_nothing_else() {
    for make in [|| world(port_flags::DIRECT), || trusting("up0")] as [fn() -> World; 2] {
        for (number, (packet, _)) in packets(REMOTE, C1).into_iter().enumerate() {
            let mut world = make();
            let packet = world.as_outside(packet);
            let outcome = world.outside_sends(&packet);
            if number != 0 {
                Expect::dropped(Reason::Unpublished).of(&outcome);
                continue;
            }
            let got = world.to_c1(packet.clone()).with(|p| p.ttl -= 1);
            assert_eq!(outcome.bytes, got.build(), "{packet:?}");
        }
    }
}

#[test]
fn interface_that_nobody_trusts_lets_nothing_in() {
    for (packet, _) in packets(REMOTE, C1) {
        let mut world = trusting("br1");
        let packet = world.as_outside(packet);
        Expect::dropped(Reason::DirectRouting).of(&world.outside_sends(&packet));
    }
    for (packet, _) in packets(D1, C1) {
        let mut world = trusting("up0");
        let packet = packet.link(mac(D1), world.machine.mac("br1").0);
        Expect::dropped(Reason::InterNetwork).of(&neighbour_sends(&mut world, &packet));
    }
}

#[test]
fn another_network_is_trusted_by_its_bridge() {
    let mut world = trusting("br1");
    let bridge = world.machine.mac("br1").0;
    let packet = Packet::tcp((D1, 5000), (C1, 80), SYN).link(mac(D1), bridge);
    let got = world.to_c1(packet.clone()).with(|p| p.ttl -= 1);
    assert_eq!(neighbour_sends(&mut world, &packet).bytes, got.build());
    let ping = Packet::ping(D1, C1, 1).link(mac(D1), bridge);
    Expect::dropped(Reason::Unpublished).of(&neighbour_sends(&mut world, &ping));
}

#[test]
fn what_is_let_in_directly_is_answered_as_it_is_and_what_the_container_begins_is_masqueraded() {
    let mut world = trusting("up0");
    let asked = world.as_outside(Packet::tcp((REMOTE, 5000), (C1, 80), SYN));
    world.outside_sends(&asked);
    let answer = world.as_c1(Packet::tcp((C1, 80), (REMOTE, 5000), SYN | ACK));
    let left = answer.clone().with(|p| p.ttl -= 1);
    assert_eq!(world.container_sends(&answer).bytes[14..], left.build()[14..]);
    let sent = world.as_c1(Packet::udp((C1, 4000), (REMOTE, 53)));
    assert_ne!(world.container_sends(&sent).bytes[14..], sent.with(|p| p.ttl -= 1).build()[14..]);
}

#[test]
fn port_that_is_let_in_directly_is_for_its_sources_only_and_a_cut_header_begins_nothing() {
    let mut world = trusting("up0");
    let packet = world.as_outside(Packet::tcp((REMOTE, 5000), (C1, 80), SYN));
    let mut cut = packet.build();
    cut.truncate(cut.len() - 10);
    let outcome = world.machine.run(names::FROM_UPLINK, "up0", &cut);
    assert!(outcome.change.flows.is_empty(), "{outcome:?}");
    world.publish_for(Addr::from(C1), (80, 80), proto::TCP, Some(&[]));
    Expect::dropped(Reason::SourceDenied).of(&world.outside_sends(&packet));
}

#[test]
fn fragments_for_a_container_that_is_reached_directly_are_put_in_order_and_others_are_not() {
    for beside in [port_flags::ROUTED, port_flags::UNPROTECTED, port_flags::DIRECT] {
        let mut world = world(beside);
        world.machine.put_sorter("c1");
        let up0 = world.machine.ifindex("up0");
        let fragment = Packet::new(REMOTE, C1, Carries::Other(proto::UDP))
            .with(|p| (p.fragment_offset, p.dont_fragment, p.payload) = (4, false, vec![7; 24]));
        let fragment = world.as_outside(fragment);
        let [to, from] = macs(up0);
        let handed_over = fragment.clone().link(from.0, to.0).build();
        Expect::redirected(Reason::Sorted).packet(handed_over).of(&world.outside_sends(&fragment));
        // Nobody answers for it, it has lived too long, or it lies.
        let unused = fragment.clone().with(|p| p.dst = UNUSED);
        Expect::dropped(Reason::DirectRouting).of(&world.outside_sends(&unused));
        let expired = fragment.clone().with(|p| p.ttl = 1);
        Expect::dropped(Reason::DirectRouting).of(&world.outside_sends(&expired));
        let lies = fragment.with(|p| p.lies.total_length = Some(9999));
        Expect::untouched().of(&world.outside_sends(&lies));
    }
}
