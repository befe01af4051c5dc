//! Properties of the pure packet logic that hold for every flow and every packet, not for chosen ones.

use core::net::Ipv4Addr;

use netdp_common::ipv4::Ipv4Header;
use netdp_common::timers::State;
use netdp_common::translate::{Delivery, NewFlow, candidate, mirror};
use netdp_common::{Addr, Backend, Exit, Flow, FlowKey, Link, Mac, Port, Zone, csum, proto};
use proptest::array::{uniform4, uniform6};
use proptest::prelude::*;

fn addr() -> impl Strategy<Value = Addr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Addr::from(Ipv4Addr::from_bits(bits))),
        uniform4(any::<u32>()).prop_map(Addr),
    ]
}

fn port() -> impl Strategy<Value = Port> {
    any::<u16>().prop_map(Port::new)
}

fn mac() -> impl Strategy<Value = Mac> {
    uniform6(any::<u8>()).prop_map(Mac)
}

fn key(zone: Zone) -> impl Strategy<Value = FlowKey> {
    let proto = prop_oneof![Just(proto::TCP), Just(proto::UDP), Just(proto::ICMP), any::<u8>()];
    (addr(), addr(), port(), port(), proto).prop_map(move |(src, dst, sport, dport, proto)| FlowKey {
        src,
        dst,
        sport,
        dport,
        proto,
        zone,
        pad: 0,
    })
}

fn link() -> impl Strategy<Value = Link> {
    (uniform4(addr()), mac(), mac(), any::<u32>()).prop_map(|(addrs, mac, gateway_mac, network)| {
        let [addr4, addr6, gateway4, gateway6] = addrs;
        let (snat4, snat6) = (Addr::UNSPECIFIED, Addr::UNSPECIFIED);
        Link {
            addr4,
            addr6,
            gateway4,
            gateway6,
            snat4,
            snat6,
            network,
            bridge: 3,
            flags: 0,
            mac,
            gateway_mac,
        }
    })
}

fn backend() -> impl Strategy<Value = Backend> {
    (addr(), addr(), any::<u32>(), port(), mac(), mac()).prop_map(
        |(addr, gateway, ifindex, port, mac, gateway_mac)| Backend {
            addr,
            gateway,
            ifindex,
            port,
            mac,
            gateway_mac,
            flags: 0,
        },
    )
}

/// A flow of either kind, with any source port that may have been chosen for it.
fn new_flow() -> impl Strategy<Value = NewFlow> {
    let masqueraded = (key(Zone::CONTAINER), link(), any::<u32>(), addr(), any::<u32>()).prop_map(
        |(key, link, veth, uplink, now)| {
            NewFlow::masquerade(key, (veth, &link), (9, uplink), State::UdpUnreplied, now)
        },
    );
    let published =
        (key(Zone::UPLINK), addr(), backend(), any::<u32>()).prop_map(|(key, src, backend, now)| {
            NewFlow::publish(key, src, &backend, Delivery::uplink(9), State::UdpUnreplied, now)
        });
    (prop_oneof![masqueraded, published], port()).prop_map(|(mut flow, chosen)| {
        flow.sport = chosen;
        flow
    })
}

/// The tuple of a packet of this direction once it is translated, where its receiver is.
fn translated(key: &FlowKey, flow: &Flow, zone: Zone) -> FlowKey {
    let Flow { src, dst, sport, dport, .. } = *flow;
    FlowKey { src, dst, sport, dport, proto: key.proto, zone, pad: 0 }
}

fn sum(words: &[u16]) -> u16 {
    let mut total: u64 = words.iter().map(|&word| u64::from(word)).sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !u16::try_from(total).unwrap_or(u16::MAX)
}

/// Zero has two forms in one's complement.
fn is_same(a: u16, b: u16) -> bool {
    a == b || (a ^ b == 0xffff && (a == 0 || b == 0))
}

fn words(addr: u32) -> [u16; 2] {
    let [a, b, c, d] = addr.to_ne_bytes();
    [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])]
}

proptest! {
    #[test]
    fn either_direction_leads_to_the_other(new in new_flow()) {
        let (key, reply_key) = (new.key, new.reply_key());
        prop_assert_eq!(new.original().twin_key(&key), reply_key);
        prop_assert_eq!(new.reply().twin_key(&reply_key), key);
    }

    #[test]
    fn reply_to_a_translated_packet_comes_back_as_a_reply_to_the_one_that_was_sent(new in new_flow()) {
        let sent = translated(&new.key, &new.original(), Zone::HOST);
        let answer = sent.reversed(new.reply_zone);
        prop_assert_eq!(answer, new.reply_key());
        let received = translated(&answer, &new.reply(), new.key.zone);
        prop_assert_eq!(received, new.key.reversed(new.key.zone));
    }

    #[test]
    fn a_tuple_turned_round_twice_is_the_tuple(key in key(Zone::CONTAINER)) {
        prop_assert_eq!(key.reversed(Zone::UPLINK).reversed(Zone::CONTAINER), key);
    }

    #[test]
    fn a_lost_direction_is_written_as_it_was(new in new_flow()) {
        prop_assert_eq!(mirror(&new.key, &new.original(), new.back), new.reply());
        prop_assert_eq!(mirror(&new.reply_key(), &new.reply(), new.there), new.original());
    }

    #[test]
    fn no_address_of_a_container_is_the_source_of_what_leaves(
        key in key(Zone::CONTAINER), link in link(), uplink in addr(), now in any::<u32>(),
    ) {
        let flow = NewFlow::masquerade(key, (5, &link), (9, uplink), State::UdpUnreplied, now).original();
        prop_assert_eq!((flow.exit, flow.src), (Exit::UPLINK, uplink));
    }

    #[test]
    fn a_chosen_port_is_of_the_class_of_the_original(original in any::<u16>(), n in 0_u32..64, random in any::<u32>()) {
        for proto in [proto::TCP, proto::UDP] {
            let port = candidate(proto, Port::new(original), n, random).get();
            let band = match original {
                _ if n == 0 => original..=original,
                0..=511 => 1..=511,
                512..=1023 => 600..=1023,
                _ => 1024..=u16::MAX,
            };
            prop_assert!(band.contains(&port), "{} of {:?}", port, band);
        }
        prop_assert!(n > 0 || candidate(proto::ICMP, Port::new(original), n, random).get() == original);
    }

    #[test]
    fn a_header_checksum_after_any_rewrite_is_the_full_sum(
        header in proptest::collection::vec(any::<u16>(), 10..=30), src in any::<u32>(), dst in any::<u32>(), ttl in any::<u16>(),
    ) {
        let mut header = header;
        header[5] = 0;
        let mut check = sum(&header);
        for (at, to) in [(6, src), (8, dst)] {
            let [a, b] = words(to);
            let from = u32::from_ne_bytes({
                let ([c, d], [e, f]) = (header[at].to_ne_bytes(), header[at + 1].to_ne_bytes());
                [c, d, e, f]
            });
            check = csum::replace32(check, from, to);
            (header[at], header[at + 1]) = (a, b);
        }
        check = csum::replace16(check, header[4], ttl);
        header[4] = ttl;
        prop_assert!(is_same(check, sum(&header)), "{:04x}, in full {:04x}", check, sum(&header));
    }

    #[test]
    fn a_transport_checksum_after_any_rewrite_is_the_full_sum(
        segment in proptest::collection::vec(any::<u16>(), 4..=700), from in (any::<u32>(), any::<u32>()),
        to in (any::<u32>(), any::<u32>()), ports in any::<u32>(),
    ) {
        // The kernel's part, as `bpf_l4_csum_replace` does it with size 0 and size 4 (net/core/filter.c).
        let by_diff = |check: u16, diff: u32| !fold(csum::add(u32::from(!check), diff));
        let full = |addrs: (u32, u32), segment: &[u16]| sum(&[&words(addrs.0)[..], &words(addrs.1), segment].concat());
        let mut segment = segment;
        let mut check = full(from, &segment);
        check = by_diff(check, csum::add(csum::diff32(from.0, to.0), csum::diff32(from.1, to.1)));
        let [sport, dport] = words(ports);
        let old = u32::from(segment[0]) | u32::from(segment[1]) << 16;
        check = by_diff(check, csum::diff32(old, u32::from(sport) | u32::from(dport) << 16));
        (segment[0], segment[1]) = (sport, dport);
        prop_assert!(is_same(check, full(to, &segment)));
    }

    #[test]
    fn a_believed_header_lies_within_the_packet(bytes in uniform4(any::<u8>()), total in any::<u16>(), have in 20_u32..2000) {
        let [version_ihl, tos, ttl, proto] = bytes;
        let header = Ipv4Header {
            version_ihl, tos, total_len_be: total, id_be: 0, fragment_be: 0, ttl, proto, check: 0, src_be: 0, dst_be: 0,
        };
        if let Ok(len) = header.header_len(have) {
            let total = u32::from(u16::from_be(total));
            prop_assert!((20..=have).contains(&len) && len.is_multiple_of(4) && version_ihl >> 4 == 4);
            prop_assert!(total == 0 || (len..=have).contains(&total));
        }
    }
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    let twice = (once & 0xffff) + (once >> 16);
    u16::try_from(twice).unwrap_or(u16::MAX)
}
