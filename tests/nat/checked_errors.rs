//! What an ICMP error must be before it is believed, and all of it that is put back (RFC 5508 REQ-3 and 4).

use tests::packet::Packet;

use crate::errors::{KINDS, Pair, about, head, quote};
use crate::wire::{REMOTE, ROUTER, Station, icmp};

#[test]
fn error_with_a_wrong_icmp_checksum_is_dropped() {
    let pair = Pair::new();
    let seen = pair.udp(5000);
    let mut wrong = about(&seen, (3, 3), 64);
    wrong.payload[3] ^= 1;
    pair.outside.send(&wrong);
    pair.c1.refuses("a wrong checksum", |ip| ip.kind() == Some((3, 3)));
    pair.delivered(&about(&seen, (3, 3), 64), (3, 3));
}

#[test]
fn error_with_a_wrong_inner_ip_checksum_is_dropped() {
    let pair = Pair::new();
    let seen = pair.udp(5000);
    let mut inside = quote(&seen, 64);
    inside[10] ^= 1;
    pair.outside.send(&icmp(ROUTER, seen.src, head((3, 3)), &inside));
    pair.c1.refuses("a wrong inner checksum", |ip| ip.kind() == Some((3, 3)));
    pair.delivered(&about(&seen, (3, 3), 64), (3, 3));
}

#[test]
fn inner_transport_checksum_is_put_back_with_the_ports() {
    let pair = Pair::new();
    // Another container has the port, so that not only the address is another one outside.
    let rival = Station::container(&pair.lan, &pair.lan.c2);
    rival.send(
        &Packet::udp((pair.lan.c2.address, 5000), (REMOTE, 53)).with(|p| p.payload = b"rival".to_vec()),
    );
    pair.outside.awaits("the rival", |ip| ip.has(b"rival"));
    for (sent, seen) in pair.flows() {
        for kind in KINDS {
            let error = pair.delivered(&about(&seen, kind, 64), kind);
            assert_eq!(error.inner().body, sent.build()[34..], "{kind:?}");
        }
    }
}
