//! The prefilter of the uplinks, of both families: what passes, what is refused and why, and frames that lie.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netdp_common::{Reason, names, prefilter::flags, subnet};
use tests::expect::Expect;
use tests::packet::{ACK, Carries, Packet, SYN, arp_request};
use tests::program::Outcome;

use crate::fixture::{C1, GATEWAY, HOST, REMOTE, ROUTER_MAC, World};

const ICMPV6: u8 = 58;
/// Somebody outside.
const REMOTE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
/// The host's address.
const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x10);
/// In a container subnet.
const C6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x17, 0, 0, 0, 0, 0, 2);

/// An IPv6 frame, described.
#[derive(Clone)]
struct V6 {
    to_mac: [u8; 6],
    src: Ipv6Addr,
    dst: Ipv6Addr,
    hop_limit: u8,
    version: u8,
    /// Extension headers: kind, and all of their bytes but the first.
    extensions: Vec<(u8, Vec<u8>)>,
    next: u8,
    payload: Vec<u8>,
    /// Instead of the true one.
    payload_len: Option<u16>,
}

impl V6 {
    fn udp(src: Ipv6Addr, dst: Ipv6Addr) -> Self {
        let payload = [&5000_u16.to_be_bytes()[..], &53_u16.to_be_bytes(), &[0, 8, 0, 0]].concat();
        Self {
            to_mac: [2; 6],
            src,
            dst,
            hop_limit: 64,
            version: 6,
            extensions: Vec::new(),
            next: 17,
            payload,
            payload_len: None,
        }
    }

    fn icmp(src: Ipv6Addr, dst: Ipv6Addr, kind: u8, hop_limit: u8) -> Self {
        Self {
            next: ICMPV6,
            payload: [vec![kind, 0, 0, 0], vec![0; 20]].concat(),
            hop_limit,
            ..Self::udp(src, dst)
        }
    }

    fn behind(mut self, kind: u8, rest: &[u8]) -> Self {
        self.extensions.push((kind, rest.to_vec()));
        self
    }

    fn build(&self) -> Vec<u8> {
        let kinds: Vec<u8> = self.extensions.iter().map(|(kind, _)| *kind).chain([self.next]).collect();
        let mut behind: Vec<u8> = Vec::new();
        for ((_, rest), next) in self.extensions.iter().zip(&kinds[1..]) {
            behind.push(*next);
            behind.extend(rest);
        }
        behind.extend(&self.payload);
        let length = self.payload_len.unwrap_or(u16::try_from(behind.len()).unwrap());
        let mut frame = [&self.to_mac[..], &ROUTER_MAC, &[0x86, 0xdd, self.version << 4, 0, 0, 0]].concat();
        frame.extend(length.to_be_bytes());
        frame.extend([kinds[0], self.hop_limit]);
        frame.extend(self.src.octets());
        frame.extend(self.dst.octets());
        frame.extend(behind);
        frame
    }
}

/// The frame with a tag of a VLAN, or a priority tag of VLAN 0.
fn tagged(frame: &[u8], kind: u16, vlan: u16) -> Vec<u8> {
    [&frame[..12], &kind.to_be_bytes(), &vlan.to_be_bytes(), &frame[12..]].concat()
}

impl World {
    /// With addresses of the second family.
    fn dual() -> Self {
        let mut world = Self::new();
        world.machine.put_subnet_of("fd00:17::".parse().unwrap(), 64, 1);
        world.machine.put_host_addr(HOST6);
        world.machine.put_host_addr(Ipv6Addr::LOCALHOST);
        world
    }

    fn arrives(&mut self, frame: &[u8]) -> Outcome {
        self.machine.run(names::PREFILTER, "up0", frame)
    }

    fn passes(&mut self, frame: &[u8]) {
        Expect::untouched().of(&self.arrives(frame));
    }

    fn refuses(&mut self, reason: Reason, frame: &[u8]) {
        Expect::dropped(reason).of(&self.arrives(frame));
    }
}

fn v4(src: Ipv4Addr, dst: Ipv4Addr) -> Packet {
    Packet::udp((src, 5000), (dst, 53)).link(ROUTER_MAC, [2; 6])
}

#[test]
fn what_people_send_passes_as_it_came() {
    let mut world = World::dual();
    for packet in [
        v4(REMOTE, HOST),
        Packet::tcp((REMOTE, 5000), (HOST, 8080), SYN),
        Packet::tcp((REMOTE, 5000), (C1, 80), ACK),
        Packet::ping(REMOTE, HOST, 1),
        Packet::new(REMOTE, HOST, Carries::Other(47)),
        v4(REMOTE, HOST).with(|p| p.more_fragments = true),
        v4(REMOTE, HOST).with(|p| (p.fragment_offset, p.payload) = (90, vec![0; 3])),
        v4(REMOTE, HOST).with(|p| p.options = vec![7, 7, 4, 0, 0, 0, 0, 1]),
        v4(REMOTE, HOST).with(|p| p.options = vec![148, 4, 0, 0]),
        v4(REMOTE, HOST).with(|p| p.options = vec![1; 40]),
        v4(REMOTE, HOST).with(|p| p.options = vec![0, 131, 0, 0]),
        v4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST),
    ] {
        world.passes(&packet.build());
    }
    for packet in [
        V6::udp(REMOTE6, HOST6),
        V6::icmp(REMOTE6, HOST6, 128, 64),
        V6::udp(REMOTE6, HOST6).behind(0, &[0, 1, 4, 0, 0, 0, 0]),
        V6::udp(REMOTE6, HOST6).behind(44, &[0, 0, 1, 0, 0, 0, 9]),
        V6::udp(REMOTE6, HOST6).behind(44, &[0, 0xff, 0xf8, 0, 0, 0, 9]),
        V6::udp(REMOTE6, HOST6)
            .behind(43, &[2, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        V6 { next: 59, payload: Vec::new(), ..V6::udp(REMOTE6, HOST6) },
        V6::icmp(Ipv6Addr::UNSPECIFIED, "ff02::1:ff00:10".parse().unwrap(), 135, 255),
    ] {
        world.passes(&packet.build());
    }
}

#[test]
fn what_is_not_ip_is_none_of_its_business() {
    let mut world = World::dual();
    world.machine.put_denied(Ipv4Addr::UNSPECIFIED.into(), 96);
    world.passes(&arp_request(ROUTER_MAC, REMOTE, HOST));
    world.passes(&arp_request(ROUTER_MAC, HOST, HOST));
    world.passes(&arp_request(ROUTER_MAC, HOST, HOST)[..20]);
    for kind in [0x88cc_u16, 0x8847, 0x0026] {
        world.passes(&[&[2; 12][..], &kind.to_be_bytes(), &[0; 46]].concat());
    }
    world.passes(&[2; 14]);
}

#[test]
fn frame_cut_off_at_any_byte_is_malformed() {
    let mut world = World::dual();
    let whole = v4(REMOTE, HOST).with(|p| p.options = vec![1; 8]).build();
    let six =
        V6::udp(REMOTE6, HOST6).behind(0, &[0, 1, 4, 0, 0, 0, 0]).behind(60, &[0, 1, 4, 0, 0, 0, 0]).build();
    for frame in [whole, six] {
        for length in 14..frame.len() {
            let outcome = world.arrives(&frame[..length]);
            println!("{length} of {}", frame.len());
            Expect::dropped(Reason::Malformed).of(&outcome);
        }
        world.passes(&frame);
        world.passes(&[&frame[..], &[0; 18]].concat());
    }
}

#[test]
fn header_that_lies_about_itself_is_malformed() {
    let mut world = World::dual();
    let honest = v4(REMOTE, HOST);
    for packet in [
        honest.clone().with(|p| p.lies.version = Some(6)),
        honest.clone().with(|p| p.lies.version = Some(0)),
        honest.clone().with(|p| p.lies.header_words = Some(0)),
        honest.clone().with(|p| p.lies.header_words = Some(4)),
        honest.clone().with(|p| p.lies.header_words = Some(15)),
        honest.clone().with(|p| p.lies.total_length = Some(0)),
        honest.clone().with(|p| p.lies.total_length = Some(19)),
        honest.clone().with(|p| p.lies.total_length = Some(27)),
        honest.clone().with(|p| p.lies.total_length = Some(45)),
        honest.clone().with(|p| p.lies.total_length = Some(u16::MAX)),
        Packet::tcp((REMOTE, 5000), (HOST, 80), SYN).with(|p| p.lies.total_length = Some(39)),
        Packet::ping(REMOTE, HOST, 1).with(|p| p.lies.total_length = Some(27)),
    ] {
        world.refuses(Reason::Malformed, &packet.build());
    }
    let honest = V6::udp(REMOTE6, HOST6);
    for packet in [
        V6 { version: 4, ..honest.clone() },
        V6 { version: 7, ..honest.clone() },
        V6 { payload_len: Some(7), ..honest.clone() },
        V6 { payload_len: Some(9), ..honest.clone() },
        V6 { payload_len: Some(u16::MAX), ..honest.clone() },
        V6 { next: 6, ..honest.clone() },
        honest.clone().behind(0, &[3, 1, 4, 0, 0, 0, 0]),
        honest.clone().behind(60, &[255, 1, 4, 0, 0, 0, 0]),
    ] {
        world.refuses(Reason::Malformed, &packet.build());
    }
}

#[test]
fn options_past_the_end_of_their_header_are_malformed() {
    let mut world = World::dual();
    for options in [
        vec![7, 0, 0, 0],
        vec![7, 1, 0, 0],
        vec![7, 5, 0, 0],
        vec![1, 1, 1, 7],
        vec![1, 1, 68, 3],
        [&[1; 36][..], &[148, 5, 0, 0]].concat(),
    ] {
        world.refuses(Reason::Malformed, &v4(REMOTE, HOST).with(|p| p.options = options).build());
    }
}

#[test]
fn loopback_does_not_come_by_wire() {
    let mut world = World::dual();
    let (four, six) = (Ipv4Addr::new(127, 8, 8, 8), Ipv6Addr::LOCALHOST);
    for (src, dst) in [(four, HOST), (REMOTE, four), (Ipv4Addr::LOCALHOST, HOST)] {
        world.refuses(Reason::LoopbackFromWire, &v4(src, dst).build());
    }
    let mapped = |v4: Ipv4Addr| v4.to_ipv6_mapped();
    for (src, dst) in [
        (six, HOST6),
        (REMOTE6, six),
        (mapped(four), HOST6),
        (mapped(REMOTE), HOST6),
        (REMOTE6, mapped(HOST)),
    ] {
        world.refuses(Reason::LoopbackFromWire, &V6::udp(src, dst).build());
    }
    world.refuses(Reason::LoopbackFromWire, &V6::icmp(six, HOST6, 135, 255).build());
}

#[test]
fn containers_and_the_host_do_not_speak_from_outside() {
    let mut world = World::dual();
    for src in [C1, GATEWAY, Ipv4Addr::new(172, 18, 255, 255)] {
        world.refuses(Reason::ContainerFromWire, &v4(src, HOST).build());
    }
    world.refuses(Reason::ContainerFromWire, &V6::udp(C6, HOST6).build());
    // On a LAN it is a machine like others, and comes by the LAN's router.
    world.machine.put_subnet_of(C1.into(), 128, 1 | subnet::ON_LAN);
    world.passes(&v4(C1, HOST).build());
    world.refuses(Reason::ContainerFromWire, &v4(GATEWAY, HOST).build());
    world.refuses(Reason::HostFromWire, &v4(HOST, HOST).build());
    world.refuses(Reason::HostFromWire, &V6::udp(HOST6, HOST6).build());
    world.passes(&v4(REMOTE, C1).build());
}

#[test]
fn own_address_that_may_be_meant_well_passes() {
    let mut world = World::dual();
    let link_local: Ipv6Addr = "fe80::1".parse().unwrap();
    world.machine.put_host_addr(link_local);
    world.machine.put_host_addr(Ipv4Addr::new(169, 254, 3, 3));
    // Another host defends the address; a second interface hears what the first one sends to many; a router elsewhere
    // has the same address of its link.
    world.passes(&V6::icmp(HOST6, "ff02::1".parse().unwrap(), 136, 255).build());
    world.passes(&v4(HOST, Ipv4Addr::new(224, 0, 0, 251)).link(ROUTER_MAC, [1, 0, 0x5e, 0, 0, 0xfb]).build());
    world.passes(&v4(HOST, Ipv4Addr::BROADCAST).link(ROUTER_MAC, [0xff; 6]).build());
    world.passes(&V6::udp(link_local, HOST6).build());
    world.passes(&v4(Ipv4Addr::new(169, 254, 3, 3), HOST).build());
    // An echo is not neighbour discovery, and neither is a solicitation that a router has passed on.
    world.refuses(Reason::HostFromWire, &V6::icmp(HOST6, HOST6, 128, 255).build());
    world.refuses(Reason::HostFromWire, &V6::icmp(HOST6, HOST6, 135, 254).build());
    world.machine.put_wire(flags::ACCEPT_LOCAL);
    world.passes(&v4(HOST, HOST).build());
    world.passes(&V6::udp(HOST6, HOST6).build());
    world.refuses(Reason::ContainerFromWire, &v4(C1, HOST).build());
}

/// Of an uplink without prefilter.
#[test]
fn list_holds_at_the_hook_behind_it_too_and_lets_neighbour_discovery_through() {
    let mut world = World::dual();
    let to_mac = world.machine.mac("up0").0;
    let to_host = |packet: V6| V6 { to_mac, ..packet }.build();
    let from_link = [135, 136].map(|kind| to_host(V6::icmp(REMOTE6, HOST6, kind, 255)));
    let for_many =
        V6 { to_mac: [0x33, 0x33, 0, 0, 0, 0xfb], ..V6::udp(REMOTE6, "ff02::fb".parse().unwrap()) };
    let refused = [
        to_host(V6::udp(REMOTE6, HOST6)),
        to_host(V6::icmp(REMOTE6, HOST6, 128, 255)),
        to_host(V6::icmp(REMOTE6, HOST6, 135, 254)),
        for_many.build(),
        v4(REMOTE, Ipv4Addr::BROADCAST).link(ROUTER_MAC, [0xff; 6]).build(),
    ];
    let cut = refused[0][..54].to_vec();
    for frame in refused.iter().chain(&from_link) {
        Expect::untouched().of(&world.machine.run(names::FROM_UPLINK, "up0", frame));
    }
    world.machine.put_denied(REMOTE6.into(), 64);
    world.machine.put_denied(REMOTE.into(), 96 + 24);
    for frame in &refused {
        Expect::dropped(Reason::Denied).of(&world.machine.run(names::FROM_UPLINK, "up0", frame));
    }
    for frame in from_link.iter().chain([&cut]) {
        Expect::untouched().of(&world.machine.run(names::FROM_UPLINK, "up0", frame));
    }
}

#[test]
fn source_routes_are_refused_wherever_they_stand() {
    let mut world = World::dual();
    for kind in [131, 137] {
        let route = [kind, 7, 4, 10, 0, 0, 1];
        for options in [
            [&route[..], &[0]].concat(),
            [&[1][..], &route].concat(),
            [&[148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0][..], &route, &[0, 0]].concat(),
            [&[1; 33][..], &route].concat(),
            vec![1, 1, 1, kind],
        ] {
            let packet = v4(REMOTE, HOST).with(|p| p.options = options);
            world.refuses(Reason::SourceRouted, &packet.build());
        }
    }
    let hop: Vec<u8> = [&[2, 0, 1, 0, 0, 0, 0][..], &REMOTE6.octets()].concat();
    let six = V6::udp(REMOTE6, HOST6);
    world.refuses(Reason::SourceRouted, &six.clone().behind(43, &hop).build());
    let options = [0, 1, 4, 0, 0, 0, 0];
    world.refuses(
        Reason::SourceRouted,
        &six.clone().behind(0, &options).behind(60, &options).behind(43, &hop).build(),
    );
    world.refuses(Reason::SourceRouted, &six.behind(43, &hop).behind(44, &[0, 0, 9, 0, 0, 0, 9]).build());
}

#[test]
fn chain_of_extension_headers_is_walked_so_far_and_then_passes() {
    let mut world = World::dual();
    let options = [0, 1, 4, 0, 0, 0, 0];
    let hop: Vec<u8> = [&[2, 0, 1, 0, 0, 0, 0][..], &REMOTE6.octets()].concat();
    let long = (0..6).fold(V6::udp(REMOTE6, HOST6), |packet, _| packet.behind(60, &options));
    world.passes(&long.behind(43, &hop).build());
    let wide: Vec<u8> = [&[63][..], &[0; 510]].concat();
    world.passes(&V6::udp(REMOTE6, HOST6).behind(60, &wide).behind(43, &hop).build());
}

#[test]
fn deny_list_is_of_one_family_and_of_whole_prefixes() {
    let mut world = World::dual();
    let four: IpAddr = "198.51.100.0".parse().unwrap();
    let six: IpAddr = "2001:db8::".parse().unwrap();
    world.passes(&v4(REMOTE, HOST).build());
    world.machine.put_denied(four, 96 + 25);
    world.machine.put_denied(six, 64);
    for (last, denied) in [(0, true), (7, true), (127, true), (128, false), (255, false)] {
        let frame = v4(Ipv4Addr::new(198, 51, 100, last), HOST).build();
        if denied { world.refuses(Reason::Denied, &frame) } else { world.passes(&frame) }
    }
    world.refuses(Reason::Denied, &V6::udp(REMOTE6, HOST6).build());
    world.passes(&V6::udp("2001:db8:0:2::7".parse().unwrap(), HOST6).build());
    // Neighbour discovery of a denied station passes: without it the host would lose its routers.
    world.passes(&V6::icmp(REMOTE6, HOST6, 135, 255).build());
    world.refuses(Reason::Denied, &V6::icmp(REMOTE6, HOST6, 128, 255).build());
    // What is sent to a denied prefix is not what is refused.
    world.passes(&v4(Ipv4Addr::new(192, 0, 2, 9), REMOTE).build());
}

#[test]
fn all_of_one_family_leaves_the_other() {
    let mut world = World::dual();
    world.machine.put_denied(Ipv6Addr::UNSPECIFIED.into(), 0);
    world.refuses(Reason::Denied, &V6::udp(REMOTE6, HOST6).build());
    world.passes(&v4(REMOTE, HOST).build());
    world.machine.put_denied(Ipv4Addr::UNSPECIFIED.into(), 96);
    world.refuses(Reason::Denied, &v4(REMOTE, HOST).build());
}

#[test]
fn priority_tag_hides_nothing_and_a_vlan_is_its_own_interfaces() {
    let mut world = World::dual();
    world.machine.put_denied(REMOTE.into(), 128);
    let frame = v4(REMOTE, HOST).build();
    let priority = tagged(&frame, 0x8100, 0xe000);
    world.refuses(Reason::Denied, &priority);
    world.refuses(Reason::Denied, &tagged(&priority, 0x88a8, 0));
    world.refuses(Reason::Malformed, &tagged(&priority, 0x88a8, 0)[..40]);
    world.passes(&tagged(&frame, 0x8100, 7));
    world.passes(&tagged(&priority, 0x88a8, 7));
    world.passes(&tagged(&tagged(&priority, 0x88a8, 0), 0x8100, 0));
    world.passes(&priority[..15]);
}

#[test]
fn event_of_a_drop_says_who_and_where() {
    let mut world = World::dual();
    world.machine.put_denied(REMOTE6.into(), 128);
    let frame = V6::udp(REMOTE6, HOST6).build();
    let outcome = world.arrives(&frame);
    let [event] = outcome.change.events[..] else { panic!("{:?}", outcome.change.events) };
    assert_eq!(event.reason, Reason::Denied.number());
    assert_eq!(event.ifindex, world.machine.ifindex("up0"));
    assert_eq!(usize::try_from(event.len).unwrap(), frame.len());
    assert_eq!((event.key.src, event.key.dst, event.key.proto), (REMOTE6.into(), HOST6.into(), 17));
}
