//! Endpoints that run join networks and leave them: what they were doing goes on.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tests::server::{
    Requests, Server, ask_stream, ask_tcp, ask_tcp_at, ask_udp, assert_served, assert_served_at, connect,
};
use tests::topology::{Bed, Host};

use crate::isolation::assert_counted;

fn host_with(bed: &Bed, networks: &[(&str, &[&str])]) -> Host {
    let host = bed.host("h1");
    host.up_once();
    for (name, options) in networks {
        host.netdp(&[&["network", "create"], *options, &[name]].concat()).done();
    }
    host
}

/// The names are such that each network that is joined takes the default route over.
#[test]
fn connections_outlive_moves_of_the_default_route() {
    let bed = Bed::new();
    let host = host_with(&bed, &[("a", &["--ipv6"]), ("b", &["--ipv6"]), ("c", &["--ipv6"])]);
    let c1 = bed.container(&host, "c1", &["--network", "c", "-p", "8080:80"]);
    let (_inside, _outside) = (Server::start_dual(&c1.ns, 80), Server::start_dual(&bed.outside.ns, 90));
    let client = bed.neighbour("n1");
    let requests = Requests::start(&client.ns, (host.address, 8080));
    let out = connect(&c1.ns, (bed.outside.address, 90)).unwrap();
    for round in 0..5 {
        for network in ["b", "a"] {
            host.netdp(&["network", "connect", network, "c1"]).done();
            assert!(c1.ns.sh("ip route show default").ok().stdout.lines().count() == 1);
            assert_eq!(ask_stream(&out).unwrap().name, "outside", "round {round}, {network}");
            for address in [IpAddr::V4(host.address), IpAddr::V6(host.address6)] {
                assert_eq!(ask_tcp_at(&client.ns, SocketAddr::new(address, 8080)).unwrap().name, "c1");
            }
            for address in [IpAddr::V4(bed.outside.address), IpAddr::V6(bed.outside.address6)] {
                assert_served_at(&c1.ns, SocketAddr::new(address, 90), "outside");
            }
        }
        for network in ["a", "b"] {
            host.netdp(&["network", "disconnect", network, "c1"]).done();
            assert_eq!(ask_stream(&out).unwrap().name, "outside", "round {round}, without {network}");
            assert_eq!(ask_tcp(&client.ns, (host.address, 8080)).unwrap().name, "c1");
        }
    }
    let tally = requests.finish();
    assert!(tally.failed.is_empty() && tally.answered > 0, "{tally:?}");
    // A second is what the loss of a SYN costs, and a busy machine may take as long without any.
    let again = client.ns.stack_counter("netstat", "TcpExt", "TCPSynRetrans");
    assert!(tally.slowest < Duration::from_secs(1) || again == 0, "{again} SYNs sent again, {tally:?}");
}

#[test]
fn networks_of_an_endpoint_are_reached_by_their_own_interfaces() {
    let bed = Bed::new();
    let host = host_with(&bed, &[("a", &[]), ("b", &[]), ("inner", &["--internal"])]);
    let others = ["a", "b", "inner"].map(|name| bed.container(&host, name, &["--network", name]));
    let _servers = others.each_ref().map(|other| Server::start(&other.ns, 80));
    let c1 = bed.container(&host, "c1", &["--network", "a"]);
    for network in ["b", "inner"] {
        host.netdp(&["network", "connect", network, "c1"]).done();
    }
    for other in &others {
        assert_served(&c1.ns, (other.address, 80), other.ns.name());
    }
    host.netdp(&["network", "disconnect", "a", "c1"]).done();
    assert_served(&c1.ns, (others[1].address, 80), "b");
    assert_served(&c1.ns, (others[2].address, 80), "inner");
}

/// The kernel has the right routes again, whatever was done to them while no netdp looked.
#[test]
fn default_routes_are_right_again_after_up() {
    let bed = Bed::new();
    let host = host_with(&bed, &[("a", &["--subnet", "10.51.0.0/24"]), ("b", &["--subnet", "10.52.0.0/24"])]);
    let c1 = bed.container(&host, "c1", &["--network", "a"]);
    host.netdp(&["network", "connect", "--gw-priority", "7", "b", "c1"]).done();
    let state = || c1.ns.sh("ip -o addr show eth0; ip -o addr show eth1; ip route; ip rule").ok().stdout;
    let before = state();
    assert!(before.contains("default via 10.52.0.1 dev eth1"), "{before}");
    c1.ns.sh("ip route replace default via 10.51.0.1 dev eth0; ip rule del priority 30001").done();
    host.up_once();
    assert_eq!(state(), before);
    host.down();
    host.up_once();
    let after = c1.ns.sh("ip route show default").ok().stdout;
    assert!(after.contains("via 10.52.0.1 dev eth1"), "{after}");
}

#[test]
fn endpoint_stays_without_networks_and_joins_again() {
    let bed = Bed::new();
    let host = host_with(&bed, &[("blue", &[])]);
    let c1 = bed.container(&host, "c1", &["-p", "8080:80"]);
    let id = &c1.attached["Id"];
    host.netdp(&["network", "connect", "blue", "c1"]).done();
    let again = host.netdp(&["network", "connect", "blue", "c1"]);
    again.exits(1).says("endpoint with name c1 already exists in network blue").done_failing();
    for network in ["bridge", "blue"] {
        host.netdp(&["network", "disconnect", network, "c1"]).done();
    }
    let twice = host.netdp(&["network", "disconnect", "blue", "c1"]);
    twice.exits(1).says("endpoint c1 is not attached to network blue").done_failing();
    let shown = host.json(&["inspect", "c1"]);
    assert_eq!((&shown["Id"], shown["State"]["Status"].as_str()), (id, Some("running")));
    assert!(host.netdp(&["ps"]).ok().stdout.contains("c1"));
    // Its port is free.
    let c2 = bed.container(&host, "c2", &["-p", "8080:80"]);
    let _server = Server::start(&c2.ns, 80);
    assert_eq!(ask_tcp(&bed.outside.ns, (host.address, 8080)).unwrap().name, "c2");
    host.netdp(&["network", "connect", "blue", "c1"]).done();
    let _inside = Server::start(&c1.ns, 80);
    host.netdp(&["network", "connect", "blue", "c2"]).done();
    let shown = host.json(&["inspect", "c1"]);
    let address = shown["NetworkSettings"]["Networks"]["blue"]["IPAddress"].as_str().unwrap();
    assert_served(&c2.ns, (address.parse().unwrap(), 80), "c1");
    host.netdp(&["detach", "c1"]).done();
    host.netdp(&["inspect", "c1"]).exits(1).says("no such").done_failing();
}

/// As in Docker the ports are the endpoint's: they go on by its next way out when their network is left.
#[test]
fn published_ports_outlive_the_network_that_they_were_published_by() {
    let bed = Bed::new();
    let host = host_with(&bed, &[("a", &["--ipv6"]), ("b", &["--ipv6"]), ("inner", &["--internal"])]);
    let published =
        ["-p", "8080:80", "-p", "8080:80/udp", "-p", "published=8081,target=80,from=192.0.2.0/24"];
    let c1 = bed.container(&host, "c1", &[&["--network", "a"][..], &published].concat());
    let _inside = Server::start_dual(&c1.ns, 80);
    let client = bed.neighbour("n1");
    let ports = || host.netdp(&["port", "c1"]).ok().stdout;
    let (before, agreed) = (ports(), || host.netdp(&["check", "--deep"]).done());
    let assert_published = || {
        for address in [IpAddr::V4(host.address), IpAddr::V6(host.address6)] {
            assert_served_at(&client.ns, SocketAddr::new(address, 8080), "c1");
        }
        assert_eq!(ask_udp(&client.ns, 4000, (host.address, 8080)).unwrap().name, "c1");
        assert_counted(&host, "source_denied", || {
            assert!(ask_tcp(&client.ns, (host.address, 8081)).is_err());
        });
        assert_eq!(ports(), before);
        agreed();
    };
    assert_published();
    host.netdp(&["network", "connect", "b", "c1"]).done();
    host.netdp(&["network", "disconnect", "a", "c1"]).done();
    assert_published();
    let taken = host.netdp(&["run", "--name", "c2", "-p", "8080:80", "--", "true"]);
    taken.exits(1).says("port is already allocated").done_failing();
    // The command that published them joins the network again, and what is published stays where it is.
    let attach = ["attach", "--netns", c1.ns.path().to_str().unwrap(), "--name", "c1", "--network", "a"];
    for _ in 0..2 {
        host.netdp(&[&attach[..], &published].concat()).done();
        assert_published();
    }
    host.netdp(&["detach", "--network", "b", "c1"]).done();
    assert_published();
    host.up_once();
    assert_published();
    host.netdp(&["network", "connect", "inner", "c1"]).done();
    host.netdp(&["network", "disconnect", "a", "c1"]).done();
    assert_eq!(ports(), "", "an internal network publishes nothing");
    agreed();
    let c2 = bed.container(&host, "c2", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let _server = Server::start(&c2.ns, 80);
    assert_served(&client.ns, (host.address, 8080), "c2");
}
