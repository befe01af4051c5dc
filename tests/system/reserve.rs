//! A published port is refused to the host's other programs.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use tests::namespace::Namespace;
use tests::server::{Server, assert_served};
use tests::topology::{Bed, Host};

fn bind_tcp(ns: &Namespace, address: impl Into<SocketAddr>) -> Result<TcpListener, ErrorKind> {
    let address = address.into();
    ns.enter(|| TcpListener::bind(address)).map_err(|e| e.kind())
}

fn bind_udp(ns: &Namespace, address: impl Into<SocketAddr>) -> Result<UdpSocket, ErrorKind> {
    let address = address.into();
    ns.enter(|| UdpSocket::bind(address)).map_err(|e| e.kind())
}

fn host_with_port(bed: &Bed, spec: &str) -> (Host, tests::topology::Container) {
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &["-p", spec]);
    (host, c1)
}

#[test]
fn published_tcp_port_is_in_use_for_programs_of_the_host_only() {
    let bed = Bed::new();
    let (host, c1) = host_with_port(&bed, "8080:80");
    let taken = Some(ErrorKind::AddrInUse);
    assert_eq!(bind_tcp(&host.ns, (Ipv4Addr::UNSPECIFIED, 8080)).err(), taken);
    assert_eq!(bind_tcp(&host.ns, (Ipv4Addr::LOCALHOST, 8080)).err(), taken);
    assert_eq!(bind_tcp(&host.ns, (host.address, 8080)).err(), taken);
    assert_eq!(bind_tcp(&host.ns, (Ipv6Addr::UNSPECIFIED, 8080)).err(), taken, "a dual-stack socket");
    bind_udp(&host.ns, (Ipv4Addr::UNSPECIFIED, 8080)).unwrap();
    bind_tcp(&host.ns, (Ipv4Addr::UNSPECIFIED, 8081)).unwrap();
    bind_tcp(&host.ns, (Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    for elsewhere in [&c1.ns, &bed.outside.ns] {
        bind_tcp(elsewhere, (Ipv4Addr::UNSPECIFIED, 8080)).unwrap();
    }
}

#[test]
fn port_published_on_all_ipv6_addresses_is_in_use_for_ipv6_only() {
    let bed = Bed::new();
    let (host, _c1) = host_with_port(&bed, "[::]:8080:80");
    for address in [Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST, host.address6] {
        assert_eq!(bind_tcp(&host.ns, (address, 8080)).err(), Some(ErrorKind::AddrInUse), "{address}");
    }
    bind_tcp(&host.ns, (Ipv4Addr::UNSPECIFIED, 8080)).unwrap();
    bind_tcp(&host.ns, (Ipv6Addr::UNSPECIFIED, 8081)).unwrap();
}

#[test]
fn published_udp_port_is_in_use_for_udp_only() {
    let bed = Bed::new();
    let (host, _c1) = host_with_port(&bed, "5353:53/udp");
    assert_eq!(bind_udp(&host.ns, (Ipv4Addr::UNSPECIFIED, 5353)).err(), Some(ErrorKind::AddrInUse));
    bind_tcp(&host.ns, (Ipv4Addr::UNSPECIFIED, 5353)).unwrap();
}

#[test]
fn port_published_on_one_address_is_free_on_the_others() {
    let bed = Bed::new();
    let (host, _c1) = host_with_port(&bed, "203.0.113.10:8080:80");
    assert_eq!(host.address, Ipv4Addr::new(203, 0, 113, 10));
    assert_eq!(bind_tcp(&host.ns, (host.address, 8080)).err(), Some(ErrorKind::AddrInUse));
    bind_tcp(&host.ns, (Ipv4Addr::LOCALHOST, 8080)).unwrap();
}

#[test]
fn port_is_free_again_after_detach_and_after_down() {
    let bed = Bed::new();
    let (host, c1) = host_with_port(&bed, "8080:80");
    host.netdp(&["detach", "c1"]).done();
    bind_tcp(&host.ns, (Ipv4Addr::UNSPECIFIED, 8080)).unwrap();
    let path = c1.ns.path().to_str().unwrap();
    host.netdp(&["attach", "--netns", path, "--name", "c1", "-p", "8080:80"]).done();
    assert_eq!(bind_tcp(&host.ns, (Ipv4Addr::UNSPECIFIED, 8080)).err(), Some(ErrorKind::AddrInUse));
    host.down();
    bind_tcp(&host.ns, (Ipv4Addr::UNSPECIFIED, 8080)).unwrap();
}

#[test]
fn reservation_outlives_a_killed_controller() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let controller = host.up();
    let c1 = bed.container(&host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    controller.kill();
    assert_eq!(bind_tcp(&host.ns, (Ipv4Addr::UNSPECIFIED, 8080)).err(), Some(ErrorKind::AddrInUse));
    let _server = Server::start(&c1.ns, 80);
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
}

#[test]
fn two_hosts_on_one_machine_publish_the_same_port() {
    let bed = Bed::new();
    let hosts = [bed.host("h1"), bed.host("h2")];
    let containers = [("h1c", &hosts[0]), ("h2c", &hosts[1])].map(|(name, host)| {
        host.up_once();
        bed.container(host, name, &["-p", "8080:80", "-p", "8080:80/udp"])
    });
    let _servers = [Server::start(&containers[0].ns, 80), Server::start(&containers[1].ns, 80)];
    assert_served(&bed.outside.ns, (hosts[0].address, 8080), "h1c");
    assert_served(&bed.outside.ns, (hosts[1].address, 8080), "h2c");
    assert_served(&containers[0].ns, (hosts[1].address, 8080), "h2c");
    hosts[0].down();
    assert_eq!(bind_tcp(&hosts[1].ns, (Ipv4Addr::UNSPECIFIED, 8080)).err(), Some(ErrorKind::AddrInUse));
    bind_tcp(&hosts[0].ns, (Ipv4Addr::UNSPECIFIED, 8080)).unwrap();
}
