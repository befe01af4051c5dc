//! Containers that talk to a published port by the host's address.

use netdp_common::timers::State;
use netdp_common::{Flow, FlowKey, Mac, Reason, Zone, flow_flags, names, proto};
use tests::expect::Expect;
use tests::packet::{ACK, SYN};
use tests::server::Server;

use super::stations::{C1, C2, D1, HOST, Ip, Packet, World};
use crate::fixture::{WEB, counted, mac, said};

/// Both entries of a flow from a container at `interface` to the published port, before its first packet.
fn hairpin(world: &World, client: Ip, interface: &str, bridge: &str) -> [(FlowKey, Flow); 2] {
    let state = State::TcpSynSent;
    let there = crate::fixture::key((client, 5000), (HOST, WEB.0), proto::TCP, Zone::CONTAINER);
    let back = crate::fixture::key((C1, WEB.1), (HOST, 5000), proto::TCP, Zone::CONTAINER);
    let reply = Flow {
        ifindex: world.machine.ifindex(interface),
        flags: flow_flags::REPLY,
        mac: Mac(mac(client)),
        gateway_mac: world.machine.mac(bridge),
        ..world.entry((HOST, WEB.0), (client, 5000), state)
    };
    [(there, world.entry((HOST, 5000), (C1, WEB.1), state)), (back, reply)]
}

#[test]
fn container_of_any_network_and_the_target_itself_reach_the_published_port() {
    for (client, interface, bridge) in [(C2, "c2", "br0"), (C1, "c1", "br0"), (D1, "d1", "br1")] {
        let mut world = World::new();
        let packet =
            Packet::tcp((client, 5000), (HOST, WEB.0), SYN).link(mac(client), world.machine.mac(bridge).0);
        let [there, back] = hairpin(&world, client, interface, bridge);
        let outcome = world.machine.run(names::FROM_CONTAINER, interface, &packet.build());
        let received = world.to_c1(packet.clone()).with(|p| {
            (p.src, p.dst) = (HOST, C1);
            p.ttl -= 1;
            p.set_dport(WEB.1);
        });
        Expect::redirected(Reason::Published)
            .packet(received.build())
            .flow(there.0, counted(there.1, &packet))
            .flow(back.0, back.1)
            .of(&outcome);
    }
}

#[test]
fn answer_comes_from_the_address_that_was_asked() {
    let mut world = World::new();
    let [there, back] = hairpin(&world, C2, "c2", "br0");
    let entries = [(there.0, said(there.1)), back];
    world.seed(entries);
    let packet = world.as_c1(Packet::tcp((C1, WEB.1), (HOST, 5000), SYN | ACK));
    let outcome = world.container_sends(&packet);
    let received = packet.clone().link(world.bridge_mac(), mac(C2)).with(|p| {
        (p.src, p.dst) = (HOST, C2);
        p.ttl -= 1;
        p.set_sport(WEB.0);
    });
    let [there, back] = entries;
    let state = State::TcpSynRecv.number();
    Expect::redirected(Reason::Reply)
        .packet(received.build())
        .flow(back.0, counted(Flow { state, ..back.1 }, &packet))
        .flow(there.0, Flow { state, ..there.1 })
        .of(&outcome);
}

#[test]
fn answer_to_a_connection_of_the_host_is_the_hosts() {
    let mut world = World::new();
    let _server = Server::start_dual(world.machine.ns(), WEB.0);
    for flags in [ACK, SYN | ACK] {
        let packet = world.as_c1(Packet::tcp((C1, 5000), (HOST, WEB.0), flags));
        Expect::slow_path().of(&world.container_sends(&packet));
    }
}

#[test]
fn internal_network_does_not_reach_a_published_port() {
    let mut world = World::with_flags(netdp_common::link_flags::INTERNAL);
    let packet = world.as_c1(Packet::tcp((C1, 5000), (HOST, WEB.0), SYN));
    Expect::dropped(Reason::InternalNetwork).of(&world.container_sends(&packet));
}
