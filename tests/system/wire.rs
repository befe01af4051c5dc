//! What is on the wire: checksums, time to live, ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tests::capture::{Capture, Frame, Seen};
use tests::namespace::Namespace;
use tests::packet::Offloaded;
use tests::process::patient;
use tests::server::{Server, ask_tcp, ask_udp, assert_served};
use tests::topology::{Bed, Container, Host, UPLINK};

use crate::modules::sent;
use crate::ways::iperf;

struct Wire {
    host: Host,
    c1: Container,
    c2: Container,
    bed: Bed,
}

impl Wire {
    fn new() -> Self {
        let bed = Bed::new();
        let host = bed.host("h1");
        host.up_once();
        let ports = ["-p", "8080:80", "-p", "8080:80/udp", "-p", "5201:5201", "-p", "5201:5201/udp"];
        let c1 = bed.container(&host, "c1", &ports);
        let c2 = bed.container(&host, "c2", &[]);
        Self { host, c1, c2, bed }
    }

    /// Makes every end of every wire compute its checksums itself.
    fn without_offloads(self) -> Self {
        let off = |ns: &Namespace, interface: &str| {
            ns.sh(&format!("ethtool -K {interface} tx off rx off sg off tso off gso off gro off")).done();
        };
        off(&self.host.ns, UPLINK);
        off(&self.bed.outside.ns, "h1");
        off(&self.bed.outside.ns, "wan0");
        for container in [&self.c1, &self.c2] {
            off(&container.ns, "eth0");
        }
        self
    }

    /// Every end that traffic of netdp arrives at.
    fn captures(&self) -> Vec<(&'static str, Capture)> {
        vec![
            ("outside", Capture::start(&self.bed.outside.ns, "h1", &[])),
            ("uplink", Capture::start(&self.host.ns, UPLINK, &[])),
            ("c1", Capture::start(&self.c1.ns, "eth0", &[])),
            ("c2", Capture::start(&self.c2.ns, "eth0", &[])),
            ("lo", Capture::start(&self.host.ns, "lo", &[])),
        ]
    }

    fn traffic(&self) {
        let _servers = [Server::start(&self.c1.ns, 80), Server::start(&self.bed.outside.ns, 80)];
        let iperf_server = tests::process::Service::start(self.c1.ns.command("iperf3").args(["-s"]));
        tests::process::eventually("iperf3 listens", Duration::from_secs(5), || {
            self.c1.ns.out("ss -Hltn sport = :5201").contains("5201")
        });
        let (outside, host) = (&self.bed.outside, &self.host);
        let ways = [
            (&self.c2.ns, (self.c1.address, 80)),
            (&outside.ns, (host.address, 8080)),
            (&host.ns, (Ipv4Addr::LOCALHOST, 8080)),
            (&host.ns, (host.address, 8080)),
            (&self.c2.ns, (host.address, 8080)),
        ];
        for (from, to) in ways {
            assert_served(from, to, "c1");
            for options in ["-n 200K", "-n 200K -R", "-u -l 1400 -n 50K", "-u -l 1400 -n 50K -R"] {
                iperf(from, to.0, options);
            }
        }
        assert_served(&self.c1.ns, (outside.address, 80), "outside");
        self.c1.ns.sh(&format!("ping -n -q -c 3 -i 0.1 -W 1 {}", outside.address)).done();
        drop(iperf_server);
    }
}

/// Whether any frame had its transport checksum left to the device.
fn any_offloaded(seen: &Seen) -> bool {
    seen.frames.iter().any(|frame| frame.offloaded == Offloaded::Yes)
}

#[test]
fn checksums_are_right_at_every_end_with_offloads_on() {
    let wire = Wire::new();
    let captures = wire.captures();
    wire.traffic();
    for (place, capture) in captures {
        let seen = capture.seen();
        println!("{place}: {} frames", seen.total);
        seen.assert_checksums();
        assert!(any_offloaded(&seen), "{place}: no frame was offloaded, so the test says nothing");
    }
}

#[test]
fn checksums_are_right_at_every_end_with_offloads_off() {
    let wire = Wire::new().without_offloads();
    let captures = wire.captures();
    wire.traffic();
    for (place, capture) in captures {
        let seen = capture.seen();
        println!("{place}: {} frames", seen.total);
        seen.assert_checksums();
        // `lo` always leaves the sum open, and with it whatever the host itself sends to `c1`.
        let always = ["lo", "c1"].contains(&place);
        assert!(always || !any_offloaded(&seen), "{place}: a frame was offloaded");
    }
}

/// Times to live of the IPv4 frames that arrive from this address.
fn ttls(capture: &Capture, from: Ipv4Addr) -> Vec<u8> {
    let is_from = |frame: &&Frame| {
        !frame.outgoing && frame.bytes[12..14] == [8, 0] && frame.bytes[26..30] == from.octets()
    };
    capture.seen().frames.iter().filter(is_from).map(|frame| frame.bytes[22]).collect()
}

fn assert_ttl(capture: &Capture, from: Ipv4Addr, ttl: u8, what: &str) {
    let found = ttls(capture, from);
    assert!(!found.is_empty() && found.iter().all(|&t| t == ttl), "{what}: {found:?}, not all {ttl}");
}

#[test]
fn ttl_falls_by_one_across_the_host_and_by_none_within_a_network() {
    let wire = Wire::new();
    let (outside, host) = (&wire.bed.outside, &wire.host);
    let _servers = [Server::start(&wire.c1.ns, 80), Server::start(&outside.ns, 80)];
    let at_outside = Capture::start(&outside.ns, "h1", &[]);
    let at_c1 = Capture::start(&wire.c1.ns, "eth0", &[]);
    assert_served(&wire.c1.ns, (outside.address, 80), "outside");
    assert_ttl(&at_outside, host.address, 63, "masqueraded");
    assert_ttl(&at_c1, outside.address, 63, "reply from outside");
    assert_served(&outside.ns, (host.address, 8080), "c1");
    assert_ttl(&at_c1, outside.address, 63, "published");
    assert_ttl(&at_outside, host.address, 63, "reply of published");
    assert_served(&wire.c2.ns, (wire.c1.address, 80), "c1");
    assert_ttl(&at_c1, wire.c2.address, 64, "container to container");
}

#[test]
fn source_ports_are_kept_when_they_are_free() {
    let wire = Wire::new();
    let outside = &wire.bed.outside;
    let _servers = [Server::start(&wire.c1.ns, 80), Server::start(&outside.ns, 80)];
    for port in [777, 5000, 40_000, 65_535] {
        let answer = ask_udp(&wire.c1.ns, port, (outside.address, 80)).unwrap();
        assert_eq!((answer.seen.ip(), answer.seen.port()), (IpAddr::from(wire.host.address), port));
    }
    for (from, to) in [(&wire.c1.ns, (outside.address, 80)), (&outside.ns, (wire.host.address, 8080))] {
        let answer = ask_tcp(from, to).unwrap();
        assert_eq!(answer.seen.port(), answer.local.port());
    }
}

#[test]
fn two_containers_with_the_same_source_port_both_get_out() {
    let wire = Wire::new();
    let outside = &wire.bed.outside;
    let _server = Server::start(&outside.ns, 80);
    let first = ask_udp(&wire.c1.ns, 5000, (outside.address, 80)).unwrap();
    let second = ask_udp(&wire.c2.ns, 5000, (outside.address, 80)).unwrap();
    assert_eq!(first.seen.port(), 5000);
    assert_ne!(second.seen.port(), 5000, "the port is taken");
    let again = ask_udp(&wire.c1.ns, 5000, (outside.address, 80)).unwrap();
    assert_eq!(again.seen.port(), 5000, "a second flow does not move the first");
}

#[test]
fn port_that_the_host_listens_on_or_publishes_is_never_a_masquerade_port() {
    let wire = Wire::new();
    let outside = &wire.bed.outside;
    let _servers = [Server::start(&outside.ns, 80), Server::start(&wire.host.ns, 6000)];
    for taken in [6000, 8080] {
        let answer = ask_udp(&wire.c2.ns, taken, (outside.address, 80)).unwrap();
        assert_ne!(answer.seen.port(), taken);
    }
    assert_served(&outside.ns, (wire.host.address, 6000), "h1");
}

#[test]
fn tcpdump_finds_no_bad_checksum_on_the_wire() {
    let wire = Wire::new().without_offloads();
    let file = wire.bed.file("wire.pcap");
    let line = format!("exec tcpdump -i h1 -U -s 0 -w {} ip", file.display());
    let dump = tests::process::Service::start(wire.bed.outside.ns.command("sh").args(["-c", &line]));
    tests::process::eventually("tcpdump writes", Duration::from_secs(5), || {
        std::fs::metadata(&file).is_ok_and(|meta| meta.len() >= 24)
    });
    wire.traffic();
    dump.terminate(Duration::from_secs(5));
    let text = wire.bed.outside.ns.out(&format!("tcpdump -r {} -n -vv 2>/dev/null", file.display()));
    let is_bad =
        |line: &&str| ["(incorrect", "bad cksum", "bad udp cksum"].iter().any(|words| line.contains(words));
    let bad: Vec<_> = text.lines().filter(is_bad).collect();
    assert!(text.lines().count() > 100 && bad.is_empty(), "{} bad, first {:?}", bad.len(), bad.first());
}

/// What an application leaves to the kernel to cut (udp(7), `UDP_SEGMENT`), as those of QUIC do.
#[test]
fn udp_segments_that_fill_the_wire_arrive_one_by_one() {
    const COUNT: usize = 4;
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["network", "create", "--ipv6", "six"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "six"]);
    let addresses: [IpAddr; 2] = [bed.outside.address.into(), bed.outside.address6.into()];
    for (address, length) in addresses.into_iter().zip([1472_u16, 1452]) {
        let bind = |ns: &Namespace, port| {
            let any: IpAddr =
                if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let socket = ns.enter(|| UdpSocket::bind((any, port))).unwrap();
            socket.set_read_timeout(Some(patient(Duration::from_secs(3)))).unwrap();
            socket
        };
        let (server, client) = (bind(&bed.outside.ns, 4433), bind(&c1.ns, 4433));
        setsockopt(&client, sockopt::UdpGsoSegment, &i32::from(length)).unwrap();
        let length = usize::from(length);
        client.send_to(&vec![7; COUNT * length], (address, 4433)).unwrap();
        let mut got = [0; 2000];
        for number in 0..COUNT {
            let (received, _) =
                server.recv_from(&mut got).unwrap_or_else(|e| panic!("{address}, {number}: {e}"));
            assert_eq!(received, length, "{address}, {number}");
        }
    }
}

/// A classifier writes into the same field of a frame by which the programs know what they have translated.
#[test]
fn container_that_marks_its_frames_as_translated_is_not_believed() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.ns.sh(&format!("ip link set {UPLINK} mtu 1400")).done();
    host.ns.set_sysctl("net/ipv4/ip_forward", "1");
    host.up_once();
    host.netdp(&["network", "create", "-o", "mtu=1500", "wide"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "wide"]);
    let marks = "tc filter add dev eth0 egress protocol all u32 match u32 0 0 classid 1:6e64";
    c1.ns.sh(&format!("tc qdisc add dev eth0 clsact && {marks}")).done();
    let wire = Capture::start(&host.ns, UPLINK, &[]);
    // Without "don't fragment" the second is cut by the host's stack, and what comes of that passes the last program only.
    for length in [56, 1422] {
        let _ = c1.ns.sh(&format!("ping -M dont -n -q -c 1 -W 1 -s {length} {}", bed.outside.address));
    }
    let left = sent(&wire, None);
    assert!(!left.is_empty() && left.iter().all(|(from, _)| *from != c1.address), "{left:?}");
}
