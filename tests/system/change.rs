//! What containers and ports that come, go and change places do to the flows of before.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use tests::namespace::Namespace;
use tests::server::{Server, ask_datagram, ask_tcp, ask_udp, assert_refused, assert_served};
use tests::topology::{Bed, Container, Host, Neighbour, OUTSIDE};

const PORTS: [&str; 4] = ["-p", "8080:80", "-p", "8080:80/udp"];

/// A UDP socket of the outside that keeps its port, so that its packets stay one flow.
fn client(ns: &Namespace, to: (Ipv4Addr, u16)) -> UdpSocket {
    let socket = ns.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 7777))).unwrap();
    socket.connect(to).unwrap();
    socket
}

fn up_with(bed: &Bed, options: &[&str]) -> (Host, Container) {
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", options);
    (host, c1)
}

#[test]
fn flow_to_a_detached_container_ends_and_goes_to_its_successor() {
    let bed = Bed::new();
    let (host, c1) = up_with(&bed, &PORTS);
    let old = Server::start(&c1.ns, 80);
    let client = client(&bed.outside.ns, (host.address, 8080));
    assert_eq!(ask_datagram(&client).unwrap().name, "c1");
    host.netdp(&["detach", "c1"]).done();
    drop(old);
    let c2 = bed.container(&host, "c2", &PORTS);
    assert_eq!(c2.address, c1.address, "the lowest free address is the old one");
    let _server = Server::start(&c2.ns, 80);
    assert_eq!(ask_datagram(&client).unwrap().name, "c2");
    assert_served(&bed.outside.ns, (host.address, 8080), "c2");
}

#[test]
fn flow_of_a_detached_container_to_the_outside_does_not_belong_to_its_successor() {
    let bed = Bed::new();
    let (host, c1) = up_with(&bed, &[]);
    let _server = Server::start(&bed.outside.ns, 80);
    ask_udp(&c1.ns, 5000, (OUTSIDE, 80)).unwrap();
    host.netdp(&["detach", "c1"]).done();
    assert_eq!(host.json(&["flows"]).as_array().map(Vec::len), Some(0));
    let c2 = bed.container(&host, "c2", &[]);
    assert_eq!(c2.address, c1.address);
    ask_udp(&c2.ns, 5000, (OUTSIDE, 80)).unwrap();
}

#[test]
fn detached_container_reaches_nothing_and_its_port_nobody() {
    let bed = Bed::new();
    let (host, c1) = up_with(&bed, &PORTS);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&bed.outside.ns, 80)];
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    host.netdp(&["detach", "c1"]).done();
    assert_refused(&bed.outside.ns, (host.address, 8080));
    assert_refused(&host.ns, (Ipv4Addr::LOCALHOST, 8080));
    assert_refused(&c1.ns, (OUTSIDE, 80));
}

#[test]
fn other_containers_keep_their_flows_when_one_is_detached() {
    let bed = Bed::new();
    let (host, c1) = up_with(&bed, &PORTS);
    let c2 = bed.container(&host, "c2", &["-p", "9090:80", "-p", "9090:80/udp"]);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&bed.outside.ns, 80)];
    let open = tests::server::connect(&bed.outside.ns, (host.address, 8080)).unwrap();
    let out = tests::server::connect(&c1.ns, (OUTSIDE, 80)).unwrap();
    host.netdp(&["detach", "c2"]).done();
    drop(c2);
    assert_eq!(tests::server::ask_stream(&open).unwrap().name, "c1");
    assert_eq!(tests::server::ask_stream(&out).unwrap().name, "outside");
}

/// One more link of the host, to a neighbour that is reached by it alone.
fn second_uplink(bed: &Bed, host: &Host) -> Neighbour {
    let ns = bed.namespace("n2");
    let peer = ns.path().display().to_string();
    host.ns
        .sh(&format!(
            "ip link add up1 type veth peer name eth0 netns {peer} && \
             ip address add 198.51.100.10/24 dev up1 && ip address add 2001:db8:51::10/64 dev up1 nodad && \
             ip link set up1 up",
        ))
        .done();
    let address6 = "2001:db8:51::1".parse().unwrap();
    ns.sh(&format!(
        "ip address add 198.51.100.1/24 dev eth0 && ip address add {address6}/64 dev eth0 nodad && ip link set eth0 up"
    ))
    .done();
    Neighbour { ns, address: Ipv4Addr::new(198, 51, 100, 1), address6 }
}

#[test]
fn each_of_two_uplinks_has_its_own_address_and_its_own_replies() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let n2 = second_uplink(&bed, &host);
    host.netdp(&["up", "--once", "--uplink", "up0", "--uplink", "up1"]).done();
    let c1 = bed.container(&host, "c1", &PORTS);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&bed.outside.ns, 80), Server::start(&n2.ns, 80)];
    let second = Ipv4Addr::new(198, 51, 100, 10);
    assert_eq!(assert_served(&c1.ns, (OUTSIDE, 80), "outside"), IpAddr::from(host.address));
    assert_eq!(assert_served(&c1.ns, (n2.address, 80), "n2"), IpAddr::from(second));
    assert_eq!(assert_served(&bed.outside.ns, (host.address, 8080), "c1"), IpAddr::from(OUTSIDE));
    assert_eq!(assert_served(&n2.ns, (second, 8080), "c1"), IpAddr::from(n2.address));
}

#[test]
fn interface_that_is_no_uplink_is_no_way_in_or_out() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let n2 = second_uplink(&bed, &host);
    host.netdp(&["up", "--once", "--uplink", "up0"]).done();
    let c1 = bed.container(&host, "c1", &PORTS);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&n2.ns, 80)];
    assert_refused(&c1.ns, (n2.address, 80));
    assert!(ask_tcp(&n2.ns, (Ipv4Addr::new(198, 51, 100, 10), 8080)).is_err());
}
