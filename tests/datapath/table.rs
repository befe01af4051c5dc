//! The flow table when it is full, and flows when their time is over.

use std::collections::BTreeSet;

use netdp_common::timers::State;
use netdp_common::{Flow, FlowKey, Reason, names, proto};
use tests::expect::Expect;
use tests::packet::{Packet, SYN};
use tests::program::{FLOW_ENTRIES, NEXT, REDIRECT};

use crate::fixture::ipv4::PROHIBITED;
use crate::fixture::{
    C1, C2, DNS, GATEWAY, HOST, REMOTE, WEB, World, counted, error, expired, in_state, kept,
};

/// First source port of the flows that fill the table.
const FIRST: u16 = 20_000;

/// Fills the table to its last entry.
fn fill(world: &mut World, age: fn(Flow) -> Flow) -> Vec<(FlowKey, Flow)> {
    let mut all = Vec::new();
    for number in 0..u16::try_from(FLOW_ENTRIES / 2).unwrap() {
        let entries = world.masqueraded(proto::UDP, kept(FIRST + number, 53), State::UdpReplied);
        let entries = entries.map(|(key, flow)| (key, age(flow)));
        world.seed(entries);
        all.extend(entries);
    }
    all
}

fn sent(packet: &Packet) -> Vec<u8> {
    let sent = packet.clone().with(|p| {
        p.src = HOST;
        p.ttl -= 1;
    });
    sent.build()
}

#[test]
fn full_table_drops_the_new_and_touches_no_old() {
    let mut world = World::new();
    let all = fill(&mut world, |flow| flow);
    let packet = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 53)));
    Expect::redirected(Reason::FlowTableFull)
        .packet(error(&packet, GATEWAY, PROHIBITED))
        .swept()
        .of(&world.container_sends(&packet));
    let syn = world.as_outside(Packet::tcp((REMOTE, 5000), (HOST, WEB.0), SYN));
    let outcome = world.outside_sends(&syn);
    assert_eq!((outcome.verdict, outcome.change.flows.len()), (tests::program::DROP, 0));
    let old = world.as_c1(Packet::udp((C1, FIRST), (REMOTE, 53)));
    let outcome = world.container_sends(&old);
    Expect::redirected(Reason::Masqueraded)
        .packet(sent(&old))
        .flow(all[0].0, counted(all[0].1, &old))
        .of(&outcome);
    assert_eq!(world.machine.flows().len(), all.len());
}

#[test]
fn full_table_leaves_the_host_its_network() {
    let mut world = World::new();
    fill(&mut world, |flow| flow);
    for packet in [Packet::tcp((REMOTE, 5000), (HOST, 22), SYN), Packet::ping(REMOTE, HOST, 1)] {
        let packet = world.as_outside(packet);
        Expect::untouched().of(&world.outside_sends(&packet));
    }
}

#[test]
fn full_table_of_ended_flows_is_swept_and_takes_the_new() {
    let mut world = World::new();
    let all = fill(&mut world, expired);
    let packet = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 53)));
    let [there, back] = world.masqueraded(proto::UDP, kept(40_000, 53), State::UdpUnreplied);
    let outcome = world.container_sends(&packet);
    let mut expect = Expect::redirected(Reason::Masqueraded).packet(sent(&packet)).swept();
    for (key, _) in all {
        expect = expect.forgotten(key);
    }
    expect.flow(there.0, counted(there.1, &packet)).flow(back.0, back.1).of(&outcome);
}

#[test]
fn table_with_one_free_entry_takes_no_half_flow() {
    let mut world = World::new();
    let all = fill(&mut world, |flow| flow);
    let keys: BTreeSet<_> = all.iter().map(|(key, _)| *key).collect();
    world.machine.forget_flow(all[1].0);
    let packet = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 53)));
    let outcome = world.container_sends(&packet);
    Expect::redirected(Reason::FlowTableFull)
        .packet(error(&packet, GATEWAY, PROHIBITED))
        .swept()
        .of(&outcome);
    assert!(world.machine.flows().keys().all(|key| keys.contains(key)));
}

#[test]
fn ended_flow_begins_anew_with_the_next_packet() {
    let mut world = World::new();
    let [there, back] = world.masqueraded(proto::UDP, kept(40_000, 53), State::UdpReplied);
    let used = |flow| Flow { packets: 9, bytes: 999, ..expired(flow) };
    world.seed([(there.0, used(there.1)), (back.0, used(back.1))]);
    let packet = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 53)));
    let outcome = world.container_sends(&packet);
    Expect::redirected(Reason::Masqueraded)
        .packet(sent(&packet))
        .flow(there.0, counted(in_state(there.1, State::UdpUnreplied), &packet))
        .flow(back.0, in_state(back.1, State::UdpUnreplied))
        .of(&outcome);
}

#[test]
fn ended_flow_does_not_let_a_late_reply_in() {
    let mut world = World::new();
    let [there, back] = world.masqueraded(proto::UDP, kept(40_000, 53), State::UdpReplied);
    world.seed([(there.0, expired(there.1)), (back.0, expired(back.1))]);
    let packet = world.as_outside(Packet::udp((REMOTE, 53), (HOST, 40_000)));
    let outcome = world.outside_sends(&packet);
    Expect::untouched().forgotten(there.0).forgotten(back.0).of(&outcome);
}

#[test]
fn flow_lives_as_long_as_either_direction_does() {
    let mut world = World::new();
    let [there, back] = world.masqueraded(proto::UDP, kept(40_000, 53), State::UdpReplied);
    world.seed([(there.0, expired(there.1)), back]);
    let packet = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 53)));
    let outcome = world.container_sends(&packet);
    Expect::redirected(Reason::Masqueraded)
        .packet(sent(&packet))
        .flow(there.0, counted(there.1, &packet))
        .of(&outcome);
}

#[test]
fn every_state_ends_after_its_own_time() {
    for &state in State::ALL.iter().filter(|state| !matches!(state, State::Icmp)) {
        let protocol = if state.number() < 16 { proto::TCP } else { proto::UDP };
        let mut world = World::new();
        let [there, back] = world.masqueraded(protocol, kept(40_000, 443), state);
        let nearly = |flow: Flow| Flow { seen: expired(flow).seen.wrapping_add(30), ..flow };
        let reply = |world: &World| match protocol {
            proto::TCP => world.as_outside(Packet::tcp((REMOTE, 443), (HOST, 40_000), tests::packet::ACK)),
            _ => world.as_outside(Packet::udp((REMOTE, 443), (HOST, 40_000))),
        };
        world.seed([(there.0, nearly(there.1)), (back.0, nearly(back.1))]);
        let packet = reply(&world);
        assert_eq!(world.outside_sends(&packet).verdict, REDIRECT, "{} lives", state.name());
        world.seed([(there.0, expired(there.1)), (back.0, expired(back.1))]);
        assert_eq!(world.outside_sends(&packet).verdict, NEXT, "{} has ended", state.name());
    }
}

#[test]
fn timer_that_is_set_holds_for_the_flows_that_are_there() {
    for (state, protocol) in [(State::UdpReplied, proto::UDP), (State::TcpEstablished, proto::TCP)] {
        let mut world = World::new();
        let [there, back] = world.masqueraded(protocol, kept(40_000, 443), state);
        let seen = tests::program::now_ticks().wrapping_sub(20);
        let entries = [there, back].map(|(key, flow)| (key, Flow { seen, ..flow }));
        let packet = match protocol {
            proto::TCP => Packet::tcp((REMOTE, 443), (HOST, 40_000), tests::packet::ACK),
            _ => Packet::udp((REMOTE, 443), (HOST, 40_000)),
        };
        let packet = world.as_outside(packet);
        for (row, verdict) in [(0, REDIRECT), (100, REDIRECT), (10, NEXT)] {
            world.seed(entries);
            world.machine.put_timer(state, row);
            assert_eq!(world.outside_sends(&packet).verdict, verdict, "{} of {row} ticks", state.name());
        }
    }
}

#[test]
fn full_table_makes_room_by_connections_that_are_over_and_keeps_the_others() {
    let mut world = World::new();
    let over = [State::TcpTimeWait, State::TcpClose];
    for number in 0..u16::try_from(FLOW_ENTRIES / 2).unwrap() {
        let state = if number < 2 { over[usize::from(number)] } else { State::TcpLastAck };
        let seen = tests::program::now_ticks().wrapping_sub(3);
        let entries = world.masqueraded(proto::TCP, kept(FIRST + number, 443), state);
        world.seed(entries.map(|(key, flow)| (key, Flow { seen, ..flow })));
    }
    let packet = world.as_c1(Packet::tcp((C1, 40_000), (REMOTE, 443), SYN));
    let outcome = world.container_sends(&packet);
    assert_eq!(outcome.verdict, REDIRECT);
    assert!(outcome.change.swept);
    let gone = outcome.change.flows.values().filter(|flow| flow.is_none()).count();
    assert_eq!(gone, 4, "both entries of the two that were over");
}

#[test]
fn port_of_a_connection_that_is_over_is_taken_and_that_of_another_is_not() {
    let silent = |age: u32| tests::program::now_ticks().wrapping_sub(age);
    for (state, age, kept_port) in [
        (State::TcpTimeWait, 3, true),
        (State::TcpClose, 3, true),
        (State::TcpTimeWait, 0, false),
        (State::TcpLastAck, 3, false),
        (State::TcpEstablished, 3, false),
    ] {
        let mut world = World::new();
        let [there, back] = world.masqueraded(proto::TCP, kept(40_000, 443), state);
        let of_c2 = crate::fixture::key((C2, 40_000), (REMOTE, 443), proto::TCP, there.0.zone);
        // A program that is loaded takes a second, which is a tick more.
        world.machine.loaded(names::FROM_CONTAINER);
        let seen = silent(age);
        let old = Flow { dst: C2.into(), seen, ..back.1 };
        world.seed([(of_c2, Flow { seen, ..there.1 }), (back.0, old)]);
        let packet = world.as_c1(Packet::tcp((C1, 40_000), (REMOTE, 443), SYN));
        let outcome = world.container_sends(&packet);
        let port = u16::from_be_bytes([outcome.bytes[34], outcome.bytes[35]]);
        assert_eq!(port == 40_000, kept_port, "{} after {age} ticks", state.name());
    }
}

#[test]
fn lost_twin_is_written_anew() {
    let mut world = World::new();
    let [there, back] = world.masqueraded(proto::UDP, kept(40_000, 53), State::UdpReplied);
    // The first packet of a tick looks for the twin.
    let last_tick = tests::program::now_ticks().wrapping_sub(1);
    world.machine.put_flow(there.0, Flow { seen: last_tick, packets: 5, ..there.1 });
    let packet = world.as_c1(Packet::udp((C1, 40_000), (REMOTE, 53)));
    let change = world.container_sends(&packet).change.flows;
    assert_eq!(change[&there.0].map(|flow| flow.packets), Some(6), "it is the flow of before: {change:?}");
    assert!(change[&back.0].is_some(), "with its twin: {change:?}");
    let reply = world.as_outside(Packet::udp((REMOTE, 53), (HOST, 40_000)));
    let outcome = world.outside_sends(&reply);
    assert_eq!(outcome.verdict, REDIRECT, "the reply finds its way: {:?}", back.0);
}

#[test]
fn published_flow_gets_another_port_when_its_reply_belongs_to_another() {
    let mut world = World::new();
    let [there, back] = world.published(proto::UDP, 5000, DNS, State::UdpReplied);
    let other = crate::fixture::key((REMOTE, 5000), (HOST, 9999), proto::UDP, there.0.zone);
    world.seed([(other, there.1), (back.0, Flow { sport: netdp_common::Port::new(9999), ..back.1 })]);
    let packet = world.as_outside(Packet::udp((REMOTE, 5000), (HOST, DNS.0)));
    let outcome = world.outside_sends(&packet);
    let sport = u16::from_be_bytes([outcome.bytes[34], outcome.bytes[35]]);
    assert!(sport >= 1024 && sport != 5000, "{sport}");
    let got = world.to_c1(packet).with(|p| {
        p.dst = C1;
        p.ttl -= 1;
        p.set_sport(sport);
        p.set_dport(DNS.1);
    });
    assert_eq!((outcome.verdict, outcome.bytes), (REDIRECT, got.build()));
    assert_eq!(outcome.change.flows.len(), 2, "one entry per direction, and the other flow's are untouched");
}
