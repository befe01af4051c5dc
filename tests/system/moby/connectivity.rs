//! Who reaches whom, after moby's `bridge_linux_test.go`.

use std::net::{IpAddr, SocketAddr};

use tests::server::{Server, assert_refused_at, assert_served, assert_served_at};
use tests::topology::{Bed, Container, Host, link_local_of};

use super::{host_on, ping, ping_in_vain};

/// The addresses of a container, those of its link left out.
fn addresses(container: &Container) -> Vec<IpAddr> {
    let v4 = Some(container.address).filter(|address| !address.is_unspecified());
    v4.map(IpAddr::V4).into_iter().chain(container.address6.map(IpAddr::V6)).collect()
}

fn network(host: &Host, name: &str, options: &[&str]) {
    host.netdp(&[&["network", "create"], options, &[name]].concat()).done();
}

#[test]
fn bridge_icc() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let kinds: [(&str, &[&str]); 4] = [
        ("v4", &[]),
        ("both", &["--ipv6"]),
        ("inner", &["--internal", "--ipv6"]),
        ("ula", &["--ipv6", "--subnet", "fdf1:a844:380c:b200::/64"]),
    ];
    for (name, options) in kinds {
        network(&host, name, options);
    }
    for name in ["bridge", "v4", "both", "inner", "ula"] {
        let pair = ["1", "2"].map(|n| bed.container(&host, &format!("{name}{n}"), &["--network", name]));
        let _server = Server::start_dual(&pair[1].ns, 80);
        for address in addresses(&pair[1]) {
            assert!(ping(&pair[0].ns, address), "{name}: {address}");
            assert_served_at(&pair[0].ns, SocketAddr::new(address, 80), pair[1].ns.name());
        }
        if pair[1].address6.is_some() {
            assert!(
                ping(&pair[0].ns, link_local_of(&pair[1].ns, "eth0")),
                "{name}: by its link-local address"
            );
        }
    }
}

#[test]
fn bridge_inc() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let kinds: [(&str, &[&str]); 4] = [
        ("a", &["--ipv6"]),
        ("b", &["--ipv6"]),
        ("c", &["--ipv6", "--internal"]),
        ("d", &["--ipv6", "--internal"]),
    ];
    let containers = kinds.map(|(name, options)| {
        network(&host, name, options);
        let container = bed.container(&host, &format!("c{name}"), &["--network", name]);
        let server = Server::start_dual(&container.ns, 80);
        (container, server)
    });
    for (from, _) in &containers {
        for (to, _) in containers.iter().filter(|(to, _)| to.ns.name() != from.ns.name()) {
            for address in addresses(to) {
                assert!(
                    ping_in_vain(&from.ns, address),
                    "{} reached {address} of {}",
                    from.ns.name(),
                    to.ns.name()
                );
                assert_refused_at(&from.ns, SocketAddr::new(address, 80));
            }
        }
    }
}

#[test]
fn access_to_published_port() {
    let bed = Bed::new();
    let host = host_on(&bed);
    network(&host, "one", &["--ipv6"]);
    network(&host, "two", &["--ipv6"]);
    let server = bed.container(&host, "server", &["--network", "one", "-p", "1780:80", "-p", "1780:80/udp"]);
    let _server = Server::start_dual(&server.ns, 80);
    let clients =
        ["one", "two"].map(|name| bed.container(&host, &format!("in-{name}"), &["--network", name]));
    for client in &clients {
        assert_served_at(&client.ns, SocketAddr::new(host.address.into(), 1780), "server");
        assert_served_at(&client.ns, SocketAddr::new(host.address6.into(), 1780), "server");
    }
}

#[test]
fn internal_nw_connectivity() {
    let bed = Bed::new();
    let host = host_on(&bed);
    network(&host, "inner", &["--internal", "--ipv6", "--subnet", "172.31.99.0/24"]);
    let _outside = Server::start_dual(&bed.outside.ns, 80);
    let c1 = bed.container(&host, "c1", &["--network", "inner"]);
    let other = bed.container(&host, "c2", &[]);
    assert!(ping(&c1.ns, [172, 31, 99, 1]), "the gateway is the host's own address in the network");
    assert!(ping(&host.ns, c1.address), "the host reaches it");
    for closed in [bed.outside.address.into(), IpAddr::from(bed.outside.address6), other.address.into()] {
        assert!(ping_in_vain(&c1.ns, closed), "{closed} was reached");
    }
    assert!(
        c1.ns.out("ip route show default").is_empty() && c1.ns.out("ip -6 route show default").is_empty()
    );
    // Not for want of a route either.
    c1.ns.sh("ip route add default via 172.31.99.1").done();
    for closed in [bed.outside.address.into(), IpAddr::from(bed.outside.address6), other.address.into()] {
        assert!(ping_in_vain(&c1.ns, closed), "{closed} was reached by a route of the container's own");
    }
    assert_refused_at(&c1.ns, SocketAddr::new(bed.outside.address.into(), 80));
}

#[test]
fn inter_network_direct_routing() {
    let bed = Bed::new();
    let host = host_on(&bed);
    host.ns.set_sysctl("net/ipv4/ip_forward", "1");
    network(&host, "one", &[]);
    network(&host, "two", &[]);
    let server = bed.container(&host, "server", &["--network", "one", "-p", "8080:80", "-p", "8080:80/udp"]);
    let client = bed.container(&host, "client", &["--network", "two"]);
    let _server = Server::start(&server.ns, 80);
    // A published port is reached by the host's address, and never by the container's own.
    assert_refused_at(&client.ns, SocketAddr::new(server.address.into(), 80));
    assert_refused_at(&client.ns, SocketAddr::new(server.address.into(), 8080));
    assert_served(&client.ns, (host.address, 8080), "server");
}
