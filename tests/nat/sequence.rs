//! Segments and errors are believed by their sequence numbers (S12, S13, RFC 7857 section 2.2, RFC 5961).

use std::thread;
use std::time::Duration;

use tests::packet::{ACK, Carries, Packet, RST, SYN, TCP};

use crate::lan::{Lan, REMOTES};
use crate::tcp::{assert_carries, connection};
use crate::wire::{Ip, REMOTE, ROUTER, Sender, Station, icmp};

/// Longer than any time after a reset that is shorter than that of RFC 7857.
const AFTER_RESET: Duration = Duration::from_secs(15);
/// Sequence numbers that are tried, spread over all that there are.
const TRIES: u32 = 2000;

/// Segments with these flags from both sides of a connection, with numbers all over the space, and the connection is
/// still there after a while.
fn assert_survives(forged: &[u8]) {
    let lan = Lan::new();
    let (inside, outside, peer) = connection(&lan);
    assert_carries(&inside, &outside, b"before");
    let senders = [Sender::outside(&lan), Sender::container(&lan, &lan.c1)];
    let ends =
        [((REMOTES[0], 80), (lan.host.address, peer.port())), ((lan.c1.address, 5000), (REMOTES[0], 80))];
    for (n, flags) in (0..TRIES).flat_map(|n| forged.iter().map(move |flags| (n, *flags))) {
        let seq = n.wrapping_mul(u32::MAX / TRIES) | 1;
        for (sender, (from, to)) in senders.iter().zip(ends) {
            let carries = Carries::Tcp { sport: from.1, dport: to.1, flags, seq, ack: seq };
            let forged = Packet::new(from.0, to.0, carries).with(|p| p.payload.clear());
            sender.send(&sender.frame(&forged));
        }
    }
    thread::sleep(AFTER_RESET);
    // The outside first: nothing of the inside may have renewed the flow.
    assert_carries(&outside, &inside, b"after");
    assert_carries(&inside, &outside, b"after");
}

#[test]
fn forged_resets_with_wrong_numbers_end_no_connection() {
    assert_survives(&[RST, RST | ACK]);
}

#[test]
fn forged_syns_end_no_connection() {
    assert_survives(&[SYN, SYN | ACK]);
}

/// An established connection by hand: what the outside saw of its SYN.
fn established(lan: &Lan, c1: &Station, outside: &Station) -> Ip {
    let segment = |from, to, flags, seq, ack| {
        let (sport, dport) = (5000, 80);
        let (sport, dport) = if flags == SYN | ACK { (dport, sport) } else { (sport, dport) };
        Packet::new(from, to, Carries::Tcp { sport, dport, flags, seq, ack }).with(|p| p.payload.clear())
    };
    let own = lan.c1.address;
    c1.send(&segment(own, REMOTE, SYN, 1000, 0));
    let syn = outside.awaits("the SYN", |ip| ip.flags() == SYN && ip.dst == REMOTE);
    outside.send(&segment(REMOTE, lan.host.address, SYN | ACK, 9000, 1001));
    c1.awaits("the SYN+ACK", |ip| ip.flags() == SYN | ACK);
    c1.send(&segment(own, REMOTE, ACK, 1001, 9001));
    outside.awaits("the ACK", |ip| ip.flags() == ACK && ip.dst == REMOTE);
    syn
}

#[test]
fn session_is_kept_after_a_reset_for_what_is_still_on_its_way() {
    let lan = Lan::new();
    let (c1, outside) = (Station::container(&lan, &lan.c1), Station::outside(&lan));
    established(&lan, &c1, &outside);
    let from_outside = |flags, seq, text: &[u8]| {
        let carries = Carries::Tcp { sport: 80, dport: 5000, flags, seq, ack: 1001 };
        Packet::new(REMOTE, lan.host.address, carries).with(|p| p.payload = text.to_vec())
    };
    outside.send(&from_outside(RST, 9001, b""));
    c1.awaits("the reset", |ip| ip.flags() == RST && ip.src == REMOTE);
    thread::sleep(AFTER_RESET);
    outside.send(&from_outside(ACK, 9001, b"late"));
    c1.awaits("a late segment", |ip| ip.protocol == TCP && ip.has(b"late"));
}

#[test]
fn error_about_bytes_that_were_never_sent_does_not_reach_the_container() {
    let lan = Lan::new();
    let (c1, outside) = (Station::container(&lan, &lan.c1), Station::outside(&lan));
    let syn = established(&lan, &c1, &outside);
    let about = |seq: u32| {
        let carries = Carries::Tcp { sport: syn.sport(), dport: 80, flags: ACK, seq, ack: 9001 };
        let inside = Packet::new(lan.host.address, REMOTE, carries).build()[14..42].to_vec();
        icmp(ROUTER, lan.host.address, [3, 4, 0, 0, 0, 0, 5, 0], &inside)
    };
    for seq in [0, 500_000, 0x8000_0000, 0xffff_0000] {
        outside.send(&about(seq));
    }
    c1.refuses("a forged error", |ip| ip.kind() == Some((3, 4)));
    outside.send(&about(1001));
    c1.awaits("a right error", |ip| ip.kind() == Some((3, 4)));
}
