//! A SYN that nobody asked for, to a port that a container has (RFC 5382 REQ-4).

use std::thread;
use std::time::{Duration, Instant};

use tests::packet::{ICMP, Packet, RST, SYN, TCP};

use crate::filtering::tcp_mapping;
use crate::lan::Lan;
use crate::wire::OTHER;

#[test]
fn unsolicited_syn_to_a_mapped_port_is_not_answered_for_six_seconds() {
    let lan = Lan::new();
    let (_c1, outside, seen) = tcp_mapping(&lan);
    let begin = Instant::now();
    outside.send(&Packet::tcp((OTHER, 4444), (lan.host.address, seen.port()), SYN));
    while begin.elapsed() < Duration::from_secs(6) {
        outside.refuses("answered", |ip| ip.dst == OTHER && [TCP, ICMP].contains(&ip.protocol));
        thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn syn_that_one_from_inside_follows_is_dropped_in_silence() {
    let lan = Lan::new();
    let (c1, outside, seen) = tcp_mapping(&lan);
    let to = (lan.host.address, seen.port());
    outside.send(&Packet::tcp((OTHER, 4444), to, SYN));
    c1.send(&Packet::tcp((lan.c1.address, 5000), (OTHER, 4444), SYN));
    outside.awaits("the SYN of the inside", |ip| ip.dst == OTHER && ip.flags() == SYN);
    outside.refuses("answered", |ip| ip.dst == OTHER && (ip.flags() & RST != 0 || ip.protocol == ICMP));
}
