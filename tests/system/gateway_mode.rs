//! Gateway modes: how containers are reached at their own addresses, with real sockets in both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tests::capture::{Capture, RawSocket};
use tests::namespace::Namespace;
use tests::packet::{Packet, arp_request};
use tests::process::patient;
use tests::server::{Server, ask_tcp_at, ask_udp_at, assert_refused_at, assert_served, assert_served_at};
use tests::topology::{Bed, Container, Host, Neighbour};

use crate::isolation::{assert_counted, mac_of};

/// Networks of documentation prefixes: what the sniffers of the uplinks take for an address that may be known outside.
const PUBLIC: [&str; 3] = ["--ipv6", "--subnet=198.51.100.0/24", "--subnet=2001:db8:200::/64"];

fn host(bed: &Bed, mode: &str) -> Host {
    let host = bed.host("h1");
    host.up_once();
    let option = format!("gateway-mode={mode}");
    host.netdp(&[&["network", "create", "-o", &option][..], &PUBLIC, &["open"]].concat()).done();
    host
}

/// Somebody outside knows the way to the network.
fn teach(neighbour: &Neighbour, host: &Host) {
    neighbour.ns.sh(&format!("ip route add 198.51.100.0/24 via {}", host.address)).done();
    neighbour.ns.sh(&format!("ip -6 route add 2001:db8:200::/64 via {}", host.address6)).done();
}

fn addresses(container: &Container) -> [IpAddr; 2] {
    [container.address.into(), container.address6.unwrap().into()]
}

#[test]
fn routed_network_is_reached_at_published_ports_of_its_own_addresses() {
    let bed = Bed::new();
    let host = host(&bed, "routed");
    teach(&bed.outside, &host);
    let c1 = bed.container(&host, "c1", &["--network", "open", "-p", "8080:80", "-p", "8080:80/udp"]);
    let other = bed.container(&host, "other", &[]);
    let _servers = [Server::start_dual(&c1.ns, 80), Server::start_dual(&c1.ns, 81)];
    for address in addresses(&c1) {
        let seen = assert_served_at(&bed.outside.ns, SocketAddr::new(address, 80), "c1");
        let outside: IpAddr =
            if address.is_ipv4() { bed.outside.address.into() } else { bed.outside.address6.into() };
        assert_eq!(seen.to_canonical(), outside, "the client's address is kept");
        bed.outside.ns.sh(&format!("ping -n -q -c 1 -W 1 {address}")).done();
        assert_counted(&host, "unpublished", || {
            assert_refused_at(&bed.outside.ns, SocketAddr::new(address, 81));
        });
    }
    assert_served(&other.ns, (c1.address, 80), "c1");
    other.ns.sh(&format!("ping -n -q -c 1 -W 1 {}", c1.address)).done();
    assert_counted(&host, "unpublished", || {
        assert_refused_at(&other.ns, SocketAddr::new(c1.address.into(), 81));
    });
    // The port of the host is nobody's.
    assert_refused_at(&bed.outside.ns, SocketAddr::new(host.address.into(), 8080));
    assert_served(&host.ns, (c1.address, 81), "c1");
}

#[test]
fn an_endpoint_of_two_routed_networks_opens_its_port_in_each() {
    let bed = Bed::new();
    let host = host(&bed, "routed");
    teach(&bed.outside, &host);
    let beyond = ["network", "create", "-o", "gateway-mode=routed", "--subnet", "192.0.2.0/24", "beyond"];
    host.netdp(&beyond).done();
    bed.outside.ns.sh(&format!("ip route add 192.0.2.0/24 via {}", host.address)).done();
    let c1 = bed.container(&host, "c1", &["--network", "open", "-p", "8080:80"]);
    let _server = Server::start_dual(&c1.ns, 80);
    let path = c1.ns.path().to_str().unwrap();
    let further = ["attach", "--netns", path, "--name", "c1", "--network", "beyond", "--ip", "192.0.2.9"];
    host.netdp(&[&further[..], &["-p", "8080:80"]].concat()).done();
    for address in [c1.address, "192.0.2.9".parse().unwrap()] {
        let to = SocketAddr::new(address.into(), 80);
        assert_eq!(ask_tcp_at(&bed.outside.ns, to).unwrap().name, "c1", "{to}");
    }
}

#[test]
fn routed_containers_publish_one_port_each_and_take_none_of_the_host() {
    let bed = Bed::new();
    let host = host(&bed, "routed");
    teach(&bed.outside, &host);
    let _holder = Server::start(&host.ns, 8080);
    let names = ["c1", "c2"];
    let both = names.map(|name| bed.container(&host, name, &["--network", "open", "-p", "8080:80"]));
    let _servers = both.each_ref().map(|container| Server::start_dual(&container.ns, 80));
    for (container, name) in both.iter().zip(names) {
        for address in addresses(container) {
            assert!(ask_tcp_at(&bed.outside.ns, SocketAddr::new(address, 80)).is_ok(), "{name} {address}");
        }
        assert_eq!(host.netdp(&["port", name]).ok().stdout, "80/tcp -> 0.0.0.0:\n80/tcp -> [::]:\n");
        let ports = &container.attached["NetworkSettings"]["Ports"]["80/tcp"];
        assert_eq!((&ports[0]["HostIp"], &ports[0]["HostPort"]), (&"0.0.0.0".into(), &"".into()));
    }
    let again =
        ["attach", "--netns", both[0].ns.path().to_str().unwrap(), "--name", "c1", "--network", "open"];
    host.netdp(&[&again[..], &["-p", "8080:80"]].concat()).done();
    let other = [&again[..], &["-p", "8080:81"]].concat();
    host.netdp(&other).exits(1).says("these published ports: 80/tcp, 80/tcp").done_failing();
    assert_served(&bed.outside.ns, (host.address, 8080), "h1");
    host.netdp(&["check", "--deep"]).done();
}

/// What comes of a datagram of three fragments and of an answer as long: the address that the other end saw, where both have
/// arrived whole.
fn in_fragments(from: &Namespace, to: SocketAddr, at: &UdpSocket) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let client = from.enter(|| UdpSocket::bind((any, 0))).unwrap();
    client.set_read_timeout(Some(patient(Duration::from_secs(2)))).unwrap();
    at.set_read_timeout(Some(patient(Duration::from_millis(600)))).unwrap();
    let [question, answer] =
        [3, 5].map(|step| (0..4000_u32).map(|n| (n * step % 251) as u8).collect::<Vec<u8>>());
    client.send_to(&question, to).unwrap();
    let mut got = [0; 5000];
    let (length, seen) = at.recv_from(&mut got).ok()?;
    assert!(got[..length] == question, "the datagram has arrived otherwise");
    at.send_to(&answer, seen).unwrap();
    let (length, answered) = client.recv_from(&mut got).unwrap();
    assert!(got[..length] == answer && answered == to, "so has its answer, from {answered}");
    Some(seen.ip().to_canonical())
}

#[test]
fn fragments_reach_a_routed_container_at_its_published_ports_only_and_so_do_their_answers() {
    let bed = Bed::new();
    let host = host(&bed, "routed");
    teach(&bed.outside, &host);
    let c1 = bed.container(&host, "c1", &["--network", "open", "-p", "8080:80/udp"]);
    let other = bed.container(&host, "other", &[]);
    let sockets =
        [80, 81].map(|port| c1.ns.enter(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))).unwrap());
    let own: [IpAddr; 2] = [bed.outside.address.into(), bed.outside.address6.into()];
    for (address, own) in addresses(&c1).into_iter().zip(own) {
        assert_eq!(in_fragments(&bed.outside.ns, SocketAddr::new(address, 80), &sockets[0]), Some(own));
        assert_counted(&host, "unpublished", || {
            let seen = in_fragments(&bed.outside.ns, SocketAddr::new(address, 81), &sockets[1]);
            assert_eq!(seen, None, "an unpublished port was reached");
        });
    }
    let to = |port| SocketAddr::new(c1.address.into(), port);
    assert_eq!(in_fragments(&other.ns, to(80), &sockets[0]), Some(other.address.into()));
    assert_counted(&host, "unpublished", || assert_eq!(in_fragments(&other.ns, to(81), &sockets[1]), None));
}

#[test]
fn routed_network_keeps_its_addresses_when_it_sends() {
    let bed = Bed::new();
    let host = host(&bed, "routed");
    teach(&bed.outside, &host);
    let c1 = bed.container(&host, "c1", &["--network", "open"]);
    let _server = Server::start_dual(&bed.outside.ns, 80);
    for (to, own) in [bed.outside.address.into(), bed.outside.address6.into()].into_iter().zip(addresses(&c1))
    {
        let tcp = ask_tcp_at(&c1.ns, SocketAddr::new(to, 80)).unwrap();
        let udp = ask_udp_at(&c1.ns, 0, SocketAddr::new(to, 80)).unwrap();
        assert_eq!([tcp.seen.ip().to_canonical(), udp.seen.ip().to_canonical()], [own, own]);
    }
}

#[test]
fn unprotected_network_is_reached_at_every_port_and_masquerades() {
    let bed = Bed::new();
    let host = host(&bed, "nat-unprotected");
    teach(&bed.outside, &host);
    let c1 = bed.container(&host, "c1", &["--network", "open", "-p", "8080:80"]);
    let _servers = [Server::start_dual(&c1.ns, 80), Server::start_dual(&bed.outside.ns, 80)];
    for address in addresses(&c1) {
        assert_served_at(&bed.outside.ns, SocketAddr::new(address, 80), "c1");
        bed.outside.ns.sh(&format!("ping -n -q -c 1 -W 1 {address}")).done();
    }
    assert!(ask_tcp_at(&bed.outside.ns, SocketAddr::new(host.address.into(), 8080)).is_ok());
    let seen = ask_tcp_at(&c1.ns, SocketAddr::new(bed.outside.address.into(), 80)).unwrap();
    assert_eq!(seen.seen.ip().to_canonical(), IpAddr::from(host.address));
}

#[test]
fn one_family_is_routed_and_the_other_translated() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let option = "com.docker.network.bridge.gateway_mode_ipv6=routed";
    host.netdp(&[&["network", "create", "-o", option][..], &PUBLIC, &["mixed"]].concat()).done();
    teach(&bed.outside, &host);
    let c1 = bed.container(&host, "c1", &["--network", "mixed", "-p", "8080:80"]);
    let _server = Server::start_dual(&c1.ns, 80);
    let [v4, v6] = addresses(&c1);
    assert_refused_at(&bed.outside.ns, SocketAddr::new(v4, 80));
    assert!(ask_tcp_at(&bed.outside.ns, SocketAddr::new(v6, 80)).is_ok());
    assert!(ask_tcp_at(&bed.outside.ns, SocketAddr::new(host.address.into(), 8080)).is_ok());
    assert!(ask_tcp_at(&bed.outside.ns, SocketAddr::new(host.address6.into(), 8080)).is_err());
    let shown = host.netdp(&["port", "c1"]).ok().stdout;
    assert_eq!(shown, "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:\n");
    // Of the host's ports it is the IPv4 one that somebody has.
    let c2 = bed.namespace("c2");
    let attach = ["attach", "--netns", c2.path().to_str().unwrap(), "--name", "c2", "--network", "mixed"];
    let refused = host.netdp(&[&attach[..], &["-p", "8080:80"]].concat()).exits(1);
    assert!(refused.stderr.contains("Bind for 0.0.0.0:8080 failed"), "{refused}");
    host.netdp(&[&attach[..], &["-p", "[::]:8080:80"]].concat()).done();
}

/// A second link of the host, to somebody who knows the way to the network.
fn side(bed: &Bed, host: &Host) -> Namespace {
    let side = bed.namespace("side");
    let path = side.path().display();
    host.ns.sh(&format!("ip link add side0 type veth peer name eth0 netns {path}")).done();
    let own = "192.0.2.1/24 dev side0 && ip address add 2001:db8:78::1/64 dev side0 nodad";
    host.ns.sh(&format!("ip address add {own} && ip link set side0 up")).done();
    let own = "192.0.2.2/24 dev eth0 && ip address add 2001:db8:78::2/64 dev eth0 nodad";
    side.sh(&format!("ip address add {own} && ip link set eth0 up")).done();
    side.sh("ip route add default via 192.0.2.1 && ip -6 route add default via 2001:db8:78::1").done();
    side
}

#[test]
fn trusted_interface_reaches_published_ports_at_containers_own_addresses_and_no_other_does() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let side = side(&bed, &host);
    host.netdp(&["up", "--once", "--uplink", "up0", "--uplink", "side0"]).done();
    let trusted = "com.docker.network.bridge.trusted_host_interfaces=side0:absent0";
    let made = host.netdp(&[&["network", "create", "-o", trusted][..], &PUBLIC, &["near"]].concat()).ok();
    assert!(made.stderr.contains("absent0") && !made.stderr.contains("side0 "), "{}", made.stderr);
    teach(&bed.outside, &host);
    let ports = ["-p", "8080:80", "-p", "8080:80/udp", "-p", "127.0.0.1:8081:81", "-p", "[::1]:8081:81"];
    let c1 = bed.container(&host, "c1", &[&["--network", "near"], &ports[..]].concat());
    let other = bed.container(&host, "other", &[]);
    let _servers = [80, 81, 82].map(|port| Server::start_dual(&c1.ns, port));
    for address in addresses(&c1) {
        let seen = assert_served_at(&side, SocketAddr::new(address, 80), "c1").to_canonical();
        assert!(["192.0.2.2", "2001:db8:78::2"].map(|own| own.parse().unwrap()).contains(&seen), "{seen}");
        // Neither what is published on loopback, nor what is not published, nor a ping.
        for port in [81, 82] {
            assert_counted(&host, "unpublished", || assert_refused_at(&side, SocketAddr::new(address, port)));
        }
        side.sh(&format!("ping -n -q -c 1 -W 1 {address}")).exits(1).done_failing();
        for port in [80, 82] {
            assert_counted(&host, "direct_routing", || {
                assert_refused_at(&bed.outside.ns, SocketAddr::new(address, port));
            });
        }
    }
    assert_counted(&host, "inter_network", || {
        assert_refused_at(&other.ns, SocketAddr::new(c1.address.into(), 80));
    });
    for own in ["192.0.2.1", "2001:db8:78::1"] {
        assert_served_at(&side, SocketAddr::new(own.parse().unwrap(), 8080), "c1");
    }
    let verdict = |interface: &str| {
        let traced = host.json(&["trace", "outside", "c1", "tcp:80", "-i", interface]);
        (traced["rule"]["name"].as_str().unwrap().to_owned(), traced["verdict"].as_str().unwrap().to_owned())
    };
    assert_eq!(verdict("side0"), ("direct_port".to_owned(), "pass".to_owned()));
    assert_eq!(verdict("up0"), ("direct_routing".to_owned(), "drop".to_owned()));
    host.netdp(&["trace", "outside", "c1", "-i", "absent0"]).exits(1).says("side0, up0").done_failing();
    crate::deep::assert_agree(&host);
}

#[test]
fn direct_routing_that_the_file_allows_reaches_published_ports_from_everywhere() {
    let bed = Bed::new();
    let (host, file) = (bed.host("h1"), bed.file("daemon.json"));
    let up = |allows: bool| {
        std::fs::write(&file, format!("{{\"allow-direct-routing\": {allows}}}")).unwrap();
        host.netdp(&["up", "--once", "-c", file.to_str().unwrap()]).done();
    };
    up(false);
    host.netdp(&[&["network", "create"][..], &PUBLIC, &["open"]].concat()).done();
    host.netdp(&["network", "create", "--internal", "--subnet=192.0.2.0/24", "inner"]).done();
    teach(&bed.outside, &host);
    let c1 = bed.container(&host, "c1", &["--network", "open", "-p", "8080:80", "-p", "8080:80/udp"]);
    let inner = bed.container(&host, "inner1", &["--network", "inner"]);
    let other = bed.container(&host, "other", &[]);
    let _servers = [80, 81].map(|port| Server::start_dual(&c1.ns, port));
    let _inner = Server::start(&inner.ns, 80);
    bed.outside.ns.sh(&format!("ip route add 192.0.2.0/24 via {}", host.address)).done();
    let all = addresses(&c1).map(|address| SocketAddr::new(address, 80));
    for allows in [false, true, false] {
        up(allows);
        for to in all {
            if allows {
                assert_served_at(&bed.outside.ns, to, "c1");
            } else {
                assert_counted(&host, "direct_routing", || assert_refused_at(&bed.outside.ns, to));
            }
        }
        let from_other = ask_tcp_at(&other.ns, all[0]);
        assert_eq!(from_other.is_ok(), allows, "{from_other:?}");
        assert_refused_at(&bed.outside.ns, SocketAddr::new(c1.address.into(), 81));
        assert_refused_at(&inner.ns, all[0]);
        assert_counted(&host, "direct_routing", || {
            assert_refused_at(&bed.outside.ns, SocketAddr::new(inner.address.into(), 80));
        });
        crate::deep::assert_agree(&host);
    }
}

#[test]
fn isolated_network_has_no_host_in_it() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let refused = host.netdp(&["network", "create", "-o", "gateway-mode=isolated", "alone"]).exits(1);
    assert!(refused.stderr.contains("--internal"), "{}", refused.stderr);
    let options =
        ["network", "create", "--internal", "-o", "gateway-mode=isolated", "-o", "bridge-name=alone0"];
    host.netdp(&[&options[..], &["alone"]].concat()).done();
    let c1 = bed.container(&host, "c1", &["--network", "alone"]);
    let c2 = bed.container(&host, "c2", &["--network", "alone"]);
    let _server = Server::start(&c1.ns, 80);
    let shown = host.ns.sh("ip -o address show dev alone0").ok().stdout;
    assert_eq!(shown, "", "the bridge has an address");
    assert_served(&c2.ns, (c1.address, 80), "c1");
    assert!(ask_tcp_at(&host.ns, SocketAddr::new(c1.address.into(), 80)).is_err());
}

#[test]
fn point_to_point() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let subnets = ["--ipv6", "--subnet=192.168.3.6/31", "--subnet=fd00:3::6/127"];
    let isolated = ["network", "create", "--internal", "-o", "gateway-mode=isolated"];
    host.netdp(&[&isolated[..], &subnets, &["link"]].concat()).done();
    let shown = &host.json(&["network", "inspect", "link"])[0];
    assert_eq!(shown["IPAM"]["Config"][0]["Gateway"], serde_json::Value::Null, "{shown}");
    let [c1, c2] = ["c1", "c2"].map(|name| bed.container(&host, name, &["--network", "link"]));
    assert_eq!([&c1, &c2].map(|it| it.address.to_string()), ["192.168.3.6", "192.168.3.7"]);
    assert_eq!([&c1, &c2].map(|it| it.address6.unwrap().to_string()), ["fd00:3::6", "fd00:3::7"]);
    assert_eq!(c1.attached["NetworkSettings"]["Networks"]["link"]["Gateway"], "");
    let _servers = [Server::start_dual(&c1.ns, 80), Server::start_dual(&c2.ns, 80)];
    for (from, to) in [(&c1, &c2), (&c2, &c1)] {
        for address in addresses(to) {
            from.ns.sh(&format!("ping -n -q -c 1 -W 1 {address}")).done();
            assert!(ask_tcp_at(&from.ns, SocketAddr::new(address, 80)).is_ok(), "{address}");
            assert!(ask_udp_at(&from.ns, 0, SocketAddr::new(address, 80)).is_ok(), "{address}");
            assert!(ask_tcp_at(&host.ns, SocketAddr::new(address, 80)).is_err(), "{address}");
        }
    }
    let c3 = bed.namespace("c3");
    let attach = ["attach", "--netns", c3.path().to_str().unwrap(), "--name", "c3", "--network", "link"];
    host.netdp(&attach).exits(1).says("no free address left in 192.168.3.6/31").done_failing();
    host.netdp(&["check", "--deep"]).done();
    for too_small in ["192.168.4.0/32", "fd00:4::/128"] {
        let create = ["network", "create", "--ipv6", "--subnet", too_small, "x"];
        host.netdp(&create).exits(1).says("invalid subnet").done_failing();
    }
}

/// Of two addresses one may be the bridge's, as in Docker.
#[test]
fn one_container_on_a_subnet_of_two_addresses_reaches_the_outside() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let subnets = ["--ipv6", "--subnet=192.168.3.6/31", "--subnet=fd00:3::6/127"];
    host.netdp(&[&["network", "create"][..], &subnets, &["small"]].concat()).done();
    let c1 = bed.container(&host, "c1", &["--network", "small", "-p", "8080:80", "-p", "8080:80/udp"]);
    assert_eq!(addresses(&c1).map(|it| it.to_string()), ["192.168.3.7", "fd00:3::7"]);
    let _servers = [Server::start_dual(&c1.ns, 80), Server::start_dual(&bed.outside.ns, 80)];
    for to in [IpAddr::from(bed.outside.address), bed.outside.address6.into()] {
        assert!(ask_tcp_at(&c1.ns, SocketAddr::new(to, 80)).is_ok(), "{to}");
    }
    for at in [IpAddr::from(host.address), host.address6.into()] {
        assert_served_at(&bed.outside.ns, SocketAddr::new(at, 8080), "c1");
    }
}

#[test]
fn icc_off_is_off_below_ip_too() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["network", "create", "--ipv6", "-o", "icc=false", "-o", "bridge-name=closed0", "closed"])
        .done();
    let c1 = bed.container(&host, "c1", &["--network", "closed"]);
    let c2 = bed.container(&host, "c2", &["--network", "closed"]);
    let at_c1 = Capture::start(&c1.ns, "eth0", &[]);
    let (own, victim) = (mac_of(&c2.ns, "eth0"), mac_of(&c1.ns, "eth0"));
    let socket = RawSocket::open(&c2.ns, "eth0", &[]);
    assert_counted(&host, "icc_disabled", || socket.send(&arp_request(own, c2.address, c1.address)));
    // A frame of a protocol that nobody knows (IEEE 802, local experiments), to its MAC and to all.
    for to in [victim, [0xff; 6]] {
        let mut frame = Packet::ping(c2.address, c1.address, 1).link(own, to).build();
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        socket.send(&frame);
    }
    c2.ns.sh(&format!("ping -n -q -c 1 -W 1 {}", c1.address6.unwrap())).exits(1).done_failing();
    c2.ns.sh(&format!("ping -n -q -c 1 -W 1 {}", crate::ways::gateway(&c2))).done();
    let seen = at_c1.seen();
    let arrived: Vec<_> = seen.frames.iter().filter(|frame| frame.bytes[6..12] == own).collect();
    assert!(arrived.is_empty(), "{arrived:?}");
    let ports = host.ns.sh("bridge -d link show master closed0").ok().stdout;
    assert_eq!(ports.matches("isolated on").count(), 2, "{ports}");
}
