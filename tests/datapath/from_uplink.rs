//! What the outside sends: published ports, and what is none of ours.

use netdp_common::timers::State;
use netdp_common::{Addr, Reason, proto};
use tests::expect::Expect;
use tests::packet::{ACK, Carries, FIN, RST, SYN};
use tests::server::Server;

use super::stations::{
    ANOTHER_HOST, BEYOND, C1, C2, D1, GATEWAY, HOST, LOCALHOST, MARTIANS, Packet, REMOTE, UNUSED, World,
};
use crate::fixture::{DNS, ROUTER_MAC, WEB, counted, in_state, said};

/// A packet to a published port as `C1` gets it.
fn delivered(world: &World, packet: &Packet, port: u16) -> Vec<u8> {
    let got = world.to_c1(packet.clone()).with(|p| {
        p.dst = C1;
        p.ttl -= 1;
        p.set_dport(port);
    });
    got.build()
}

/// An answer of `C1` as it leaves.
fn answered(packet: &Packet, port: u16) -> Vec<u8> {
    let sent = packet.clone().with(|p| {
        p.src = HOST;
        p.ttl -= 1;
        p.set_sport(port);
    });
    sent.build()
}

#[test]
fn first_packet_to_a_published_port_begins_a_flow_and_reaches_the_container() {
    let mut world = World::new();
    for (packet, protocol, ports, state) in [
        (Packet::tcp((REMOTE, 5000), (HOST, WEB.0), SYN), proto::TCP, WEB, State::TcpSynSent),
        (Packet::udp((REMOTE, 5000), (HOST, DNS.0)), proto::UDP, DNS, State::UdpUnreplied),
    ] {
        let packet = world.as_outside(packet);
        let [there, back] = world.published(protocol, 5000, ports, state);
        let outcome = world.outside_sends(&packet);
        Expect::redirected(Reason::Published)
            .packet(delivered(&world, &packet, ports.1))
            .flow(there.0, counted(there.1, &packet))
            .flow(back.0, back.1)
            .of(&outcome);
    }
}

#[test]
fn answer_of_the_container_leaves_with_the_published_port() {
    let mut world = World::new();
    let [there, back] = world.published(proto::TCP, 5000, WEB, State::TcpSynSent);
    let there = (there.0, said(there.1));
    world.seed([there, back]);
    let packet = world.as_c1(Packet::tcp((C1, WEB.1), (REMOTE, 5000), SYN | ACK));
    let outcome = world.container_sends(&packet);
    Expect::redirected(Reason::Reply)
        .packet(answered(&packet, WEB.0))
        .flow(back.0, counted(in_state(back.1, State::TcpSynRecv), &packet))
        .flow(there.0, in_state(there.1, State::TcpSynRecv))
        .of(&outcome);
}

#[test]
fn what_can_begin_no_connection_to_a_published_port_is_left_alone() {
    let mut world = World::new();
    for flags in [SYN | ACK, RST, FIN | ACK, 0] {
        let packet = world.as_outside(Packet::tcp((REMOTE, 5000), (HOST, WEB.0), flags));
        Expect::untouched().of(&world.outside_sends(&packet));
    }
}

#[test]
fn connection_to_a_published_port_is_picked_up_in_mid_stream() {
    let mut world = World::new();
    let packet = world.as_outside(Packet::tcp((REMOTE, 5000), (HOST, WEB.0), ACK));
    let [there, back] = world.published(proto::TCP, 5000, WEB, State::TcpPickedUp);
    Expect::redirected(Reason::Published)
        .packet(delivered(&world, &packet, WEB.1))
        .flow(there.0, counted(there.1, &packet))
        .flow(back.0, back.1)
        .of(&world.outside_sends(&packet));
}

#[test]
fn mid_stream_of_a_connection_that_the_host_has_from_that_port_is_left_alone() {
    let mut world = World::new();
    let _server = Server::start_dual(world.machine.ns(), WEB.0);
    let packet = world.as_outside(Packet::tcp((REMOTE, 5000), (HOST, WEB.0), ACK));
    Expect::untouched().of(&world.outside_sends(&packet));
}

#[test]
fn source_that_no_link_has_gets_no_flow() {
    let mut world = World::new();
    for source in MARTIANS {
        let packet = world.as_outside(Packet::tcp((source, 5000), (HOST, WEB.0), SYN));
        Expect::dropped(Reason::SpoofedIp).of(&world.outside_sends(&packet));
    }
}

#[test]
fn container_address_from_outside_does_not_reach_the_host_either() {
    let mut world = World::new();
    for flags in [SYN, ACK] {
        let packet = world.as_outside(Packet::tcp((C1, 5000), (HOST, 22), flags));
        Expect::dropped(Reason::SpoofedIp).of(&world.outside_sends(&packet));
    }
}

#[test]
fn udp_for_a_socket_that_the_host_opened_from_the_port_is_left_alone() {
    let mut world = World::new();
    let _server = Server::start_dual(world.machine.ns(), DNS.0);
    let packet = world.as_outside(Packet::udp((REMOTE, 5000), (HOST, DNS.0)));
    Expect::untouched().of(&world.outside_sends(&packet));
}

#[test]
fn port_published_on_one_address_answers_there_only() {
    let mut world = World::new();
    world.machine.put_host_addr(ANOTHER_HOST);
    world.publish(Addr::from(ANOTHER_HOST), (9000, 90), proto::TCP);
    let there = world.as_outside(Packet::tcp((REMOTE, 5000), (ANOTHER_HOST, 9000), SYN));
    let outcome = world.outside_sends(&there);
    assert_eq!(outcome.bytes, delivered(&world, &there, 90));
    let elsewhere = world.as_outside(Packet::tcp((REMOTE, 5000), (HOST, 9000), SYN));
    Expect::untouched().of(&world.outside_sends(&elsewhere));
}

#[test]
fn unrelated_traffic_passes_byte_for_byte() {
    let mut world = World::new();
    for packet in [
        Packet::tcp((REMOTE, 5000), (HOST, 22), SYN),
        Packet::tcp((REMOTE, 5000), (HOST, DNS.0), SYN),
        Packet::udp((REMOTE, 5000), (HOST, WEB.0)),
        Packet::ping(REMOTE, HOST, 1),
        Packet::udp((REMOTE, 5000), (REMOTE, WEB.0)),
        Packet::new(REMOTE, HOST, Carries::Other(47)),
        Packet::udp((REMOTE, 5000), (HOST, DNS.0)).with(|p| p.more_fragments = true),
    ] {
        let packet = world.as_outside(packet);
        Expect::untouched().of(&world.outside_sends(&packet));
    }
}

#[test]
fn frame_for_another_station_is_left_alone() {
    let mut world = World::new();
    let packet = Packet::tcp((REMOTE, 5000), (HOST, WEB.0), SYN).link(ROUTER_MAC, [2, 9, 9, 9, 9, 9]);
    Expect::untouched().of(&world.outside_sends(&packet));
}

#[test]
fn container_addresses_are_not_reached_directly() {
    let mut world = World::new();
    for dst in [C1, C2, D1, UNUSED] {
        for packet in [
            Packet::tcp((REMOTE, 5000), (dst, 80), SYN),
            Packet::tcp((REMOTE, 5000), (dst, 80), ACK),
            Packet::udp((REMOTE, 5000), (dst, 53)),
            Packet::ping(REMOTE, dst, 1),
            Packet::udp((REMOTE, 5000), (dst, 53)).with(|p| p.fragment_offset = 8),
            Packet::new(REMOTE, dst, Carries::Other(132)),
        ] {
            let packet = world.as_outside(packet);
            Expect::dropped(Reason::DirectRouting).of(&world.outside_sends(&packet));
        }
    }
}

#[test]
fn gateway_address_is_the_hosts_own() {
    let mut world = World::new();
    let packet = world.as_outside(Packet::ping(REMOTE, GATEWAY, 1));
    Expect::untouched().of(&world.outside_sends(&packet));
}

#[test]
fn outside_that_claims_a_container_address_gets_no_flow() {
    let mut world = World::new();
    for src in [C1, C2, D1] {
        let packet = world.as_outside(Packet::tcp((src, 5000), (HOST, WEB.0), SYN));
        Expect::dropped(Reason::SpoofedIp).of(&world.outside_sends(&packet));
    }
}

#[test]
fn outside_does_not_reach_loopback_publication() {
    let mut world = World::new();
    let packet = world.as_outside(Packet::tcp((REMOTE, 5000), (LOCALHOST, WEB.0), SYN));
    Expect::dropped(Reason::LoopbackFromWire).of(&world.outside_sends(&packet));
    // What concerns no container is the stack's to refuse.
    let other = world.as_outside(Packet::tcp((REMOTE, 5000), (LOCALHOST, 22), SYN));
    Expect::untouched().of(&world.outside_sends(&other));
    let mut cut = packet.build();
    cut.truncate(cut.len() - 10);
    let outcome = world.machine.run(netdp_common::names::FROM_UPLINK, "up0", &cut);
    assert!(outcome.change.flows.is_empty(), "{outcome:?}");
}

#[test]
fn denied_source_is_dropped_before_a_flow_is_looked_for() {
    let mut world = World::new();
    let entries = world.published(proto::TCP, 5000, WEB, State::TcpEstablished);
    world.seed(entries);
    let packet = world.as_outside(Packet::tcp((REMOTE, 5000), (HOST, WEB.0), ACK));
    world.machine.put_denied(REMOTE.into(), 96 + 24);
    Expect::dropped(Reason::Denied).of(&world.outside_sends(&packet));
    let other = world.as_outside(Packet::tcp((BEYOND, 5000), (HOST, 22), SYN));
    Expect::untouched().of(&world.outside_sends(&other));
}
