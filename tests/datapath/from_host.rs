//! Processes of the host that talk to a published port on a local address.

use netdp_common::timers::State;
use netdp_common::{Exit, Flow, FlowKey, Mac, Reason, Zone, flow_flags, proto};
use tests::expect::Expect;
use tests::packet::{ACK, SYN};
use tests::server::Server;

use super::stations::{C1, GATEWAY, HOST, Ip, LOCALHOST, Packet, World};
use crate::fixture::{DNS, WEB, counted, in_state, key, said};

/// Both entries of a flow from a process of the host, before its first packet is counted.
fn local(world: &World, to: Ip, protocol: u8, ports: (u16, u16), state: State) -> [(FlowKey, Flow); 2] {
    let there = key((to, 5000), (to, ports.0), protocol, Zone::HOST);
    let back = key((C1, ports.1), (GATEWAY, 5000), protocol, Zone::CONTAINER);
    let reply = Flow {
        exit: Exit::LOOPBACK,
        ifindex: world.machine.ifindex("lo"),
        flags: flow_flags::REPLY,
        twin_zone: Zone::HOST,
        mac: Mac([0; 6]),
        gateway_mac: Mac([0; 6]),
        ..world.entry((to, ports.0), (to, 5000), state)
    };
    [(there, world.entry((GATEWAY, 5000), (C1, ports.1), state)), (back, reply)]
}

/// The packet as `C1` gets it: from its gateway, no router between.
fn delivered(world: &World, packet: &Packet, port: u16) -> Vec<u8> {
    let got = world.to_c1(packet.clone()).with(|p| {
        p.src = GATEWAY;
        p.dst = C1;
        p.set_dport(port);
    });
    got.build()
}

#[test]
fn published_port_on_a_local_address_leads_to_the_container() {
    for to in [LOCALHOST, HOST, GATEWAY] {
        let mut world = World::new();
        for (packet, protocol, ports, state) in [
            (Packet::tcp((to, 5000), (to, WEB.0), SYN), proto::TCP, WEB, State::TcpSynSent),
            (Packet::udp((to, 5000), (to, DNS.0)), proto::UDP, DNS, State::UdpUnreplied),
        ] {
            let [there, back] = local(&world, to, protocol, ports, state);
            let outcome = world.host_sends(&packet);
            Expect::redirected(Reason::Published)
                .packet(delivered(&world, &packet, ports.1))
                .flow(there.0, counted(there.1, &packet))
                .flow(back.0, back.1)
                .of(&outcome);
        }
    }
}

#[test]
fn answer_comes_back_to_the_address_that_was_asked() {
    let mut world = World::new();
    let [there, back] = local(&world, LOCALHOST, proto::TCP, WEB, State::TcpSynSent);
    let there = (there.0, said(there.1));
    world.seed([there, back]);
    let packet = world.as_c1(Packet::tcp((C1, WEB.1), (GATEWAY, 5000), SYN | ACK));
    let outcome = world.container_sends(&packet);
    // `lo` has the address of all zeros, and a frame for another station is not accepted.
    let received = packet.clone().link([0; 6], [0; 6]).with(|p| {
        (p.src, p.dst) = (LOCALHOST, LOCALHOST);
        p.set_sport(WEB.0);
    });
    Expect::redirected(Reason::Reply)
        .packet(received.build())
        .flow(back.0, counted(in_state(back.1, State::TcpSynRecv), &packet))
        .flow(there.0, in_state(there.1, State::TcpSynRecv))
        .of(&outcome);
}

#[test]
fn unpublished_ports_and_mid_stream_packets_pass() {
    let mut world = World::new();
    let local = LOCALHOST;
    for packet in [
        Packet::tcp((local, 5000), (local, 22), SYN),
        Packet::udp((local, 5000), (local, 53)),
        Packet::udp((local, 5000), (local, WEB.0)),
        Packet::tcp((local, 5000), (local, WEB.0), ACK),
        Packet::ping(local, local, 1),
        Packet::udp((local, 5000), (local, DNS.0)).with(|p| p.more_fragments = true),
        Packet::tcp((local, 5000), (local, WEB.0), SYN).with(|p| p.lies.version = Some(5)),
    ] {
        Expect::untouched().of(&world.host_sends(&packet));
    }
}

#[test]
fn socket_of_the_host_itself_comes_first_for_udp() {
    let mut world = World::new();
    let _server = Server::start_dual(world.machine.ns(), DNS.0);
    let packet = Packet::udp((LOCALHOST, 5000), (LOCALHOST, DNS.0));
    Expect::untouched().of(&world.host_sends(&packet));
}
