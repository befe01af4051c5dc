//! RST, SYN and FIN that somebody made up, who knows the tuple and not the numbers (RFC 5961; `ReDAN`, NDSS 2025).

use netdp_common::timers::State;
use netdp_common::{Flow, FlowKey, Numbers, Reason, Zone, names, proto};
use tests::packet::{ACK, FIN, Packet, RST, SYN};
use tests::program::REDIRECT;

use crate::fixture::{C1, HOST, REMOTE, WEB, World, kept};

/// What the container and the outside have said.
const INSIDE: Numbers = Numbers { sent: 0x2000_0000, acked: 0xfffe_0000 };
const OUTSIDE: Numbers = Numbers { sent: 0xfffe_0000, acked: 0x2000_0000 };

/// Forged packets of each kind.
const ATTEMPTS: u32 = 25_000;

/// Not random, but as good: each value once, in an order that the programs know nothing of (Weyl).
fn scattered(n: u32) -> u32 {
    n.wrapping_mul(0x9e37_79b9)
}

/// A live connection of `C1`: that it has begun, or that goes to its published port.
fn live(world: &mut World, begun_inside: bool) -> [(FlowKey, Flow); 2] {
    let [there, back] = if begun_inside {
        world.masqueraded(proto::TCP, kept(40_000, 443), State::TcpEstablished)
    } else {
        world.published(proto::TCP, 40_000, WEB, State::TcpEstablished)
    };
    let numbered = |(key, flow): (FlowKey, Flow)| {
        let numbers = if key.zone == Zone::CONTAINER { INSIDE } else { OUTSIDE };
        (key, Flow { numbers, ..flow })
    };
    let entries = [numbered(there), numbered(back)];
    world.seed(entries);
    entries
}

/// A packet from the outside on that connection.
fn outside(world: &World, begun_inside: bool, flags: u8, seq: u32, ack: u32) -> Packet {
    let (from, to) = if begun_inside { (443, 40_000) } else { (40_000, WEB.0) };
    let packet = Packet::tcp((REMOTE, from), (HOST, to), flags);
    world.as_outside(packet.with(|p| p.set_numbers(seq, ack, 0)))
}

fn states(world: &World) -> Vec<State> {
    world.machine.flows().values().map(|flow| State::from_number(flow.state)).collect()
}

#[test]
fn hundred_thousand_made_up_packets_change_no_state_and_the_exact_reset_does() {
    for begun_inside in [true, false] {
        let mut world = World::new();
        live(&mut world, begun_inside);
        for n in 0..ATTEMPTS {
            for (kind, flags) in [RST, RST | ACK, SYN, FIN | ACK].into_iter().enumerate() {
                let (seq, ack) = (scattered(4 * n + u32::try_from(kind).unwrap()), scattered(!n));
                let packet = outside(&world, begun_inside, flags, seq, ack);
                let frame = packet.build();
                assert_eq!(world.machine.judge(names::FROM_UPLINK, "up0", &frame), REDIRECT, "it passes");
            }
        }
        assert_eq!(states(&world), [State::TcpEstablished; 2], "begun inside: {begun_inside}");
        let exact = outside(&world, begun_inside, RST, INSIDE.acked, 0);
        assert_eq!(world.outside_sends(&exact).verdict, REDIRECT);
        assert_eq!(states(&world), [State::TcpClose; 2]);
    }
}

#[test]
fn made_up_packet_is_translated_and_leaves_both_states_and_the_other_numbers() {
    let mut world = World::new();
    let [there, back] = live(&mut world, true);
    for flags in [RST, RST | ACK, SYN, SYN | ACK, FIN | ACK] {
        let packet = outside(&world, true, flags, INSIDE.acked.wrapping_add(1), INSIDE.sent.wrapping_add(1));
        let outcome = world.outside_sends(&packet);
        assert_eq!(outcome.verdict, REDIRECT);
        assert_eq!(outcome.change.counts.keys().copied().collect::<Vec<_>>(), [Reason::Reply.number()]);
        let flows = world.machine.flows();
        assert_eq!(flows[&there.0].numbers, INSIDE);
        assert_eq!(flows[&back.0].state, State::TcpEstablished.number());
    }
}

#[test]
fn header_that_lies_about_its_length_says_nothing() {
    for words in [0_u8, 4, 15] {
        let mut world = World::new();
        let [_, back] = live(&mut world, true);
        let mut frame = outside(&world, true, FIN | ACK, INSIDE.acked, INSIDE.sent).build();
        frame[46] = words << 4;
        world.machine.judge(names::FROM_UPLINK, "up0", &frame);
        assert_eq!(world.machine.flows()[&back.0].numbers, OUTSIDE, "{words} words");
        assert_eq!(states(&world), [State::TcpEstablished; 2]);
    }
}

#[test]
fn padding_of_a_short_frame_is_not_counted() {
    let mut world = World::new();
    let [_, back] = live(&mut world, true);
    let mut frame = outside(&world, true, ACK, OUTSIDE.sent, OUTSIDE.acked).build();
    frame.resize(60, 0);
    world.machine.judge(names::FROM_UPLINK, "up0", &frame);
    assert_eq!(world.machine.flows()[&back.0].numbers, OUTSIDE);
}

#[test]
fn challenge_ack_and_the_reset_that_follows_it_make_way_for_a_new_connection() {
    let mut world = World::new();
    let [there, back] = live(&mut world, true);
    let inside = |world: &World, flags, seq, ack| {
        world.as_c1(Packet::tcp((C1, 40_000), (REMOTE, 443), flags).with(|p| p.set_numbers(seq, ack, 0)))
    };
    let syn = inside(&world, SYN, 77_000, 0);
    world.container_sends(&syn);
    assert_eq!(states(&world), [State::TcpEstablished; 2]);
    let challenge = outside(&world, true, ACK, OUTSIDE.sent, OUTSIDE.acked);
    world.outside_sends(&challenge);
    assert_eq!(states(&world), [State::TcpEstablished; 2]);
    let reset = inside(&world, RST, OUTSIDE.acked, 0);
    world.container_sends(&reset);
    assert_eq!(states(&world), [State::TcpClose; 2]);
    world.container_sends(&syn);
    let flows = world.machine.flows();
    assert_eq!(states(&world), [State::TcpSynSent; 2]);
    assert_eq!(flows[&there.0].numbers, Numbers { sent: 77_001, acked: 0 });
    assert_eq!(flows[&back.0].numbers, Numbers::NONE);
}
