//! Containers that talk to the outside, and the replies.

use netdp_common::timers::State;
use netdp_common::{Flow, FlowKey, Numbers, Reason, Uplink, Zone, proto};
use tests::expect::Expect;
use tests::packet::{ACK, FIN, RST, SYN};
use tests::program::Outcome;
use tests::server::Server;

use super::stations::{BEYOND, C1, C2, HOST, ICMP, L4, Packet, REMOTE, TIME_EXCEEDED, World};
use crate::fixture::{Masquerade, counted, error, expired, in_state, kept, key, said};

/// The packet after masquerade: the MACs are the neighbour look-up's business.
fn translated(packet: &Packet, port: u16) -> Vec<u8> {
    let sent = packet.clone().with(|p| {
        p.src = HOST;
        p.ttl -= 1;
        p.set_sport(port);
    });
    sent.build()
}

/// A reply as it reaches `C1`.
fn delivered(world: &World, reply: &Packet, port: u16) -> Vec<u8> {
    let got = world.to_c1(reply.clone()).with(|p| {
        p.dst = C1;
        p.ttl -= 1;
        p.set_dport(port);
    });
    got.build()
}

/// The port that a run has chosen, from the entry of the replies that it made.
fn chosen(outcome: &Outcome) -> u16 {
    let mut replies = outcome.change.flows.keys().filter(|key: &&FlowKey| key.zone == Zone::UPLINK);
    let port = replies.next().map(|key| key.dport.get());
    port.unwrap_or_else(|| panic!("no flow was begun: {outcome:?}"))
}

#[test]
fn new_flow_keeps_its_port_and_a_second_packet_follows_it() {
    let mut world = World::new();
    for (packet, protocol, state) in [
        (Packet::tcp((C1, 40_000), (REMOTE, 443), SYN), proto::TCP, State::TcpSynSent),
        (Packet::udp((C1, 40_000), (REMOTE, 443)), proto::UDP, State::UdpUnreplied),
        (Packet::udp((C1, 777), (REMOTE, 443)), proto::UDP, State::UdpUnreplied),
    ] {
        let packet = world.as_c1(packet);
        let port = if packet.carries == Packet::udp((C1, 777), (REMOTE, 443)).carries { 777 } else { 40_000 };
        let [there, back] = world.masqueraded(protocol, kept(port, 443), state);
        let first = counted(there.1, &packet);
        let outcome = world.container_sends(&packet);
        let expect = Expect::redirected(Reason::Masqueraded).packet(translated(&packet, port));
        expect.clone().flow(there.0, first).flow(back.0, back.1).of(&outcome);
        let again = world.container_sends(&packet);
        expect.flow(there.0, counted(first, &packet)).of(&again);
    }
}

#[test]
fn echo_is_masqueraded_by_its_identifier() {
    let mut world = World::new();
    let packet = world.as_c1(Packet::ping(C1, REMOTE, 77));
    let [there, back] = world.masqueraded(ICMP, kept(77, 0), State::Icmp);
    let outcome = world.container_sends(&packet);
    Expect::redirected(Reason::Masqueraded)
        .packet(translated(&packet, 77))
        .flow(there.0, counted(there.1, &packet))
        .flow(back.0, back.1)
        .of(&outcome);
    let reply = world.as_outside(Packet::pong(REMOTE, HOST, 77));
    let outcome = world.outside_sends(&reply);
    Expect::redirected(Reason::Reply)
        .packet(delivered(&world, &reply, 77))
        .flow(back.0, counted(back.1, &reply))
        .of(&outcome);
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let mut world = World::new();
    let mut packet = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 53)));
    packet.carries = tests::packet::Carries::Udp { sport: 40_000, dport: 53, checksum: false };
    let outcome = world.container_sends(&packet);
    assert_eq!(outcome.bytes, translated(&packet, 40_000));
    assert_eq!(outcome.bytes[L4 + 6..L4 + 8], [0, 0]);
}

#[test]
fn handshake_data_and_close_walk_through_the_states() {
    let mut world = World::new();
    let [there, back] = world.masqueraded(proto::TCP, kept(40_000, 443), State::TcpSynSent);
    let (mut out, mut home) = (Flow { numbers: Numbers { sent: 5001, acked: 0 }, ..there.1 }, back.1);
    world.seed([(there.0, out), back]);
    for (is_reply, flags, (seq, ack, len), state) in [
        (true, SYN | ACK, (9000, 5001, 0), State::TcpSynRecv),
        (false, ACK, (5001, 9001, 0), State::TcpEstablished),
        (true, ACK, (9001, 5001, 8), State::TcpEstablished),
        (true, FIN | ACK, (9009, 5001, 0), State::TcpFinReply),
        (false, FIN | ACK, (5001, 9010, 0), State::TcpLastAck),
        (true, ACK, (9010, 5002, 0), State::TcpTimeWait),
    ] {
        let numbered = |packet: Packet| packet.with(|p| p.set_numbers(seq, ack, len));
        let changed = out.state != state.number();
        (out, home) = (in_state(out, state), in_state(home, state));
        let (packet, outcome, expect);
        if is_reply {
            packet = world.as_outside(numbered(Packet::tcp((REMOTE, 443), (HOST, 40_000), flags)));
            outcome = world.outside_sends(&packet);
            home = counted(home, &packet);
            expect = Expect::redirected(Reason::Reply)
                .packet(delivered(&world, &packet, 40_000))
                .flow(back.0, home);
        } else {
            packet = world.as_c1(numbered(Packet::tcp((C1, 40_000), (REMOTE, 443), flags)));
            outcome = world.container_sends(&packet);
            out = counted(out, &packet);
            expect = Expect::redirected(Reason::Masqueraded)
                .packet(translated(&packet, 40_000))
                .flow(there.0, out);
        }
        let twin = if is_reply { (there.0, out) } else { (back.0, home) };
        if changed { expect.flow(twin.0, twin.1) } else { expect }.of(&outcome);
    }
}

#[test]
fn reset_closes_the_flow_for_both_directions() {
    let mut world = World::new();
    let [there, back] = world.masqueraded(proto::TCP, kept(40_000, 443), State::TcpEstablished);
    let there = (there.0, said(there.1));
    world.seed([there, back]);
    let packet = world.as_outside(Packet::tcp((REMOTE, 443), (HOST, 40_000), RST));
    let outcome = world.outside_sends(&packet);
    Expect::redirected(Reason::Reply)
        .packet(delivered(&world, &packet, 40_000))
        .flow(back.0, counted(in_state(back.1, State::TcpClose), &packet))
        .flow(there.0, in_state(there.1, State::TcpClose))
        .of(&outcome);
}

/// Sends from `C1` with a port that must not be kept, and gives the port that was chosen.
fn assert_moved(world: &mut World, packet: Packet, protocol: u8, inside: u16, state: State) -> u16 {
    let packet = world.as_c1(packet);
    let outcome = world.container_sends(&packet);
    let public = chosen(&outcome);
    assert_ne!(public, inside);
    let [there, back] = world.masqueraded(protocol, Masquerade { inside, public, remote: 443 }, state);
    Expect::redirected(Reason::Masqueraded)
        .packet(translated(&packet, public))
        .flow(there.0, counted(there.1, &packet))
        .flow(back.0, back.1)
        .of(&outcome);
    public
}

#[test]
fn port_that_another_container_has_taken_is_replaced_by_one_of_its_class() {
    for (port, class) in [(40_000, 1024..=u16::MAX), (700, 600..=1023), (99, 1..=511)] {
        let mut world = World::new();
        let [there, back] = world.masqueraded(proto::UDP, kept(port, 443), State::UdpReplied);
        let of_c2 = key((C2, port), (REMOTE, 443), proto::UDP, Zone::CONTAINER);
        world.seed([(of_c2, there.1), (back.0, Flow { dst: C2.into(), ..back.1 })]);
        let packet = Packet::udp((C1, port), (REMOTE, 443));
        let public = assert_moved(&mut world, packet, proto::UDP, port, State::UdpUnreplied);
        assert!(class.contains(&public), "{port} became {public}");
    }
}

#[test]
fn same_port_to_another_destination_is_free() {
    let mut world = World::new();
    let [there, back] = world.masqueraded(proto::UDP, kept(40_000, 443), State::UdpReplied);
    world.seed([there, back]);
    let packet = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 444)));
    assert_eq!(chosen(&world.container_sends(&packet)), 40_000);
}

#[test]
fn published_port_is_never_taken() {
    let mut world = World::new();
    let packet = Packet::tcp((C1, 8080), (REMOTE, 443), SYN);
    assert_moved(&mut world, packet, proto::TCP, 8080, State::TcpSynSent);
    let udp = world.as_c1(Packet::udp((C1, 8080), (REMOTE, 443)));
    assert_eq!(chosen(&world.container_sends(&udp)), 8080, "published for TCP only");
}

#[test]
fn port_of_a_host_socket_is_never_taken() {
    let mut world = World::new();
    let _server = Server::start_dual(world.machine.ns(), 6000);
    let tcp = Packet::tcp((C1, 6000), (REMOTE, 443), SYN);
    assert_moved(&mut world, tcp, proto::TCP, 6000, State::TcpSynSent);
    let udp = Packet::udp((C1, 6000), (REMOTE, 443));
    assert_moved(&mut world, udp, proto::UDP, 6000, State::UdpUnreplied);
}

#[test]
fn flow_that_ended_gives_its_port_to_the_next() {
    let mut world = World::new();
    let [there, back] = world.masqueraded(proto::UDP, kept(40_000, 443), State::UdpReplied);
    let of_c2 = key((C2, 40_000), (REMOTE, 443), proto::UDP, Zone::CONTAINER);
    let old = Flow { dst: C2.into(), ..expired(back.1) };
    world.seed([(of_c2, expired(there.1)), (back.0, old)]);
    let packet = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 443)));
    let outcome = world.container_sends(&packet);
    let fresh = |flow| in_state(flow, State::UdpUnreplied);
    Expect::redirected(Reason::Masqueraded)
        .packet(translated(&packet, 40_000))
        .flow(there.0, counted(fresh(there.1), &packet))
        .flow(back.0, fresh(back.1))
        .forgotten(of_c2)
        .of(&outcome);
}

#[test]
fn tcp_in_mid_stream_is_picked_up_but_a_stray_reset_or_answer_is_not() {
    let mut world = World::new();
    let packet = world.as_c1(Packet::tcp((C1, 40_000), (REMOTE, 443), ACK));
    let [there, back] = world.masqueraded(proto::TCP, kept(40_000, 443), State::TcpPickedUp);
    let outcome = world.container_sends(&packet);
    Expect::redirected(Reason::Masqueraded)
        .packet(translated(&packet, 40_000))
        .flow(there.0, counted(there.1, &packet))
        .flow(back.0, back.1)
        .of(&outcome);
    for flags in [RST, RST | ACK, SYN | ACK, FIN | ACK] {
        let packet = world.as_c1(Packet::tcp((C1, 41_000), (REMOTE, 443), flags));
        Expect::dropped(Reason::CtInvalid).of(&world.container_sends(&packet));
    }
    for flags in [0, FIN, SYN | FIN, SYN | RST, FIN | RST | ACK, 0x3f] {
        let packet = world.as_c1(Packet::tcp((C1, 41_000), (REMOTE, 443), flags));
        Expect::dropped(Reason::Malformed).of(&world.container_sends(&packet));
    }
}

#[test]
fn answer_to_no_query_begins_nothing() {
    let mut world = World::new();
    let packet = world.as_c1(Packet::pong(C1, REMOTE, 77));
    Expect::dropped(Reason::CtInvalid).of(&world.container_sends(&packet));
}

#[test]
fn without_a_route_or_an_uplink_nothing_leaves() {
    let mut world = World::new();
    let packet = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 53)));
    let uplink = world.machine.ifindex("up0");
    let none = netdp_common::Addr::UNSPECIFIED;
    let unaddressed = Uplink { addr4: none, addr6: none, ifindex: uplink, pad: 0 };
    world.machine.put_uplink(uplink, unaddressed);
    Expect::dropped(Reason::NoUplink).of(&world.container_sends(&packet));
    world.machine.ns().sh("ip route del default; ip route del 2001:db8:7::/48").done();
    Expect::slow_path().of(&world.container_sends(&packet));
}

#[test]
fn route_over_an_interface_that_is_no_uplink_is_refused() {
    let mut world = World::new();
    world.machine.ns().sh("ip address add 192.0.2.1/24 dev d1-peer").done();
    world.machine.ns().sh("ip address add 2001:db8:9::1/64 dev d1-peer nodad").done();
    let packet = world.as_c1(Packet::udp((C1, 40_000), (BEYOND, 53)));
    Expect::dropped(Reason::NoUplink).of(&world.container_sends(&packet));
}

#[test]
fn reply_to_nobody_is_the_hosts() {
    let mut world = World::new();
    for packet in [
        Packet::tcp((REMOTE, 443), (HOST, 40_000), SYN | ACK),
        Packet::udp((REMOTE, 53), (HOST, 40_000)),
        Packet::pong(REMOTE, HOST, 7),
    ] {
        let packet = world.as_outside(packet);
        Expect::untouched().of(&world.outside_sends(&packet));
    }
}

#[test]
fn reply_with_an_expired_ttl_is_answered() {
    let mut world = World::new();
    let [there, back] = world.masqueraded(proto::UDP, kept(40_000, 53), State::UdpReplied);
    world.seed([there, back]);
    let packet = world.as_outside(Packet::udp((REMOTE, 53), (HOST, 40_000)).with(|p| p.ttl = 1));
    let outcome = world.outside_sends(&packet);
    Expect::redirected(Reason::Answered)
        .packet(error(&packet, HOST, TIME_EXCEEDED))
        .flow(back.0, counted(back.1, &packet))
        .of(&outcome);
}
