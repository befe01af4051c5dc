//! Docker's tests of published ports (moby, `integration/networking/port_mapping_linux_test.go` and
//! `integration/network/bridge`), under their names and as behaviour, on real sockets of both protocols and families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use serde_json::json;
use tests::process::Ran;
use tests::server::{Server, assert_refused_at, assert_served_at};
use tests::topology::{Bed, Container, Host};

fn host_on(bed: &Bed) -> Host {
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["network", "create", "--ipv6", "dual"]).done();
    host
}

/// A container of the network with both families; a spec is published for TCP and for UDP.
fn container(bed: &Bed, host: &Host, name: &str, specs: &[&str]) -> Container {
    on(bed, host, name, "dual", specs)
}

fn on(bed: &Bed, host: &Host, name: &str, network: &str, specs: &[&str]) -> Container {
    let both = specs.iter().flat_map(|spec| [(*spec).to_owned(), format!("{spec}/udp")]);
    let words: Vec<String> = both.flat_map(|spec| ["-p".to_owned(), spec]).collect();
    let words: Vec<&str> =
        ["--network", network].into_iter().chain(words.iter().map(String::as_str)).collect();
    bed.container(host, name, &words)
}

/// Asks for ports for a container that is not there yet.
fn refused(bed: &Bed, host: &Host, name: &str, spec: &str) -> Ran {
    let ns = bed.namespace(name);
    let path = ns.path().to_str().unwrap();
    host.netdp(&["attach", "--netns", path, "--name", name, "--network", "dual", "-p", spec]).exits(1)
}

fn at(address: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

/// Addresses of the host, of both families.
fn own(host: &Host) -> [IpAddr; 2] {
    [host.address.into(), host.address6.into()]
}

#[test]
fn mix_any_with_specific_host_addrs() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let _c1 = container(&bed, &host, "c1", &["8080:80"]);
    for spec in
        ["127.0.0.1:8080:80", "203.0.113.10:8080:80", "[::1]:8080:80", "0.0.0.0:8080:80", "[::]:8080:80"]
    {
        refused(&bed, &host, "other", spec).says("failed: port is already allocated").done_failing();
    }
    let c2 = bed.container(
        &host,
        "c2",
        &["--network", "dual", "-p", "127.0.0.1:8080-8082:80", "-p", "127.0.0.1:9000:81"],
    );
    assert_eq!(
        c2.attached["NetworkSettings"]["Ports"]["80/tcp"],
        json!([{"HostIp": "127.0.0.1", "HostPort": "8081"}])
    );
    refused(&bed, &host, "other", "9000:80").says("Bind for 0.0.0.0:9000 failed").done_failing();
    // Another family, another address or another protocol is another port.
    let c3 = bed.container(
        &host,
        "c3",
        &["--network", "dual", "-p", "[::]:9000:80", "-p", "127.0.0.2:9000:81", "-p", "9000:82/udp"],
    );
    assert_eq!(host.netdp(&["port", "c3"]).ok().stdout.lines().count(), 4, "{}", c3.attached);
    crate::deep::assert_agree(&host);
}

#[test]
fn port_mapping_on_distinct_loopback_addrs() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let c1 = container(&bed, &host, "c1", &["127.0.0.1:8080:80"]);
    let c2 = container(&bed, &host, "c2", &["127.0.0.2:8080:80"]);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&c2.ns, 80)];
    for (last, name) in [(1, "c1"), (2, "c2")] {
        assert_served_at(&host.ns, at(Ipv4Addr::new(127, 0, 0, last), 8080), name);
    }
    assert_refused_at(&host.ns, at(Ipv4Addr::new(127, 0, 0, 3), 8080));
    assert_refused_at(&bed.outside.ns, at(host.address, 8080));
}

#[test]
fn published_port_already_in_use() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let listener = host.ns.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080))).unwrap();
    refused(&bed, &host, "c1", "8080:80")
        .says("Bind for 0.0.0.0:8080 failed: port is already allocated")
        .done_failing();
    assert_eq!(host.json(&["ps", "-a"]), json!([]), "nothing is left of it");
    drop(listener);
    let c1 = container(&bed, &host, "c1", &["8080:80"]);
    let _server = Server::start(&c1.ns, 80);
    assert_served_at(&bed.outside.ns, at(host.address, 8080), "c1");
}

#[test]
fn all_port_mappings_are_returned() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let words = [
        "-p",
        "8000:80",
        "-p",
        "8001:80",
        "-p",
        "127.0.0.1:8002:80",
        "-p",
        "[::1]:8003:80",
        "-p",
        "8000:80/udp",
        "--expose",
        "99",
    ];
    bed.container(&host, "c1", &[&["--network", "dual"], &words[..]].concat());
    let inspected = host.json(&["inspect", "c1"]);
    let binding = |address: &str, port: &str| json!({ "HostIp": address, "HostPort": port });
    let ports = &inspected["NetworkSettings"]["Ports"];
    for (address, port) in [
        ("0.0.0.0", "8000"),
        ("::", "8000"),
        ("0.0.0.0", "8001"),
        ("::", "8001"),
        ("127.0.0.1", "8002"),
        ("::1", "8003"),
    ] {
        assert!(
            ports["80/tcp"].as_array().unwrap().contains(&binding(address, port)),
            "{address}:{port} of {ports}"
        );
    }
    assert_eq!(ports["80/tcp"].as_array().unwrap().len(), 6);
    assert_eq!(ports["80/udp"], json!([binding("0.0.0.0", "8000"), binding("::", "8000")]));
    assert_eq!(inspected["Config"]["ExposedPorts"], json!({ "80/tcp": {}, "80/udp": {}, "99/tcp": {} }));
    let lines = host.netdp(&["port", "c1"]).ok().stdout;
    assert_eq!(lines.lines().count(), 8, "{lines}");
    assert!(lines.contains("80/tcp -> [::1]:8003\n"), "{lines}");
    host.netdp(&["port", "c1", "99"]).exits(1).says("no public port 99/tcp published for c1").done_failing();
}

#[test]
fn port_mapped_hairpin() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let c1 = container(&bed, &host, "c1", &["8080:80"]);
    let c2 = container(&bed, &host, "c2", &[]);
    let _server = Server::start_dual(&c1.ns, 80);
    // Its neighbour, and itself, by the host's own addresses.
    for from in [&c2.ns, &c1.ns] {
        for address in own(&host) {
            assert_served_at(from, at(address, 8080), "c1");
        }
    }
}

#[test]
fn access_published_port_from_host() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let c1 = container(&bed, &host, "c1", &["8080:80"]);
    let _server = Server::start_dual(&c1.ns, 80);
    let loopback =
        [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv4Addr::new(127, 9, 9, 9).into(), Ipv6Addr::LOCALHOST.into()];
    for address in loopback.into_iter().chain(own(&host)) {
        assert_served_at(&host.ns, at(address, 8080), "c1");
    }
    assert_served_at(&host.ns, at(c1.address, 80), "c1");
}

#[test]
fn access_published_port_from_remote_host() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let c1 = container(&bed, &host, "c1", &["8080:80"]);
    let far = bed.neighbour("far");
    let _server = Server::start_dual(&c1.ns, 80);
    for address in own(&host) {
        let seen = assert_served_at(&far.ns, at(address, 8080), "c1").to_canonical();
        assert!(
            [IpAddr::from(far.address), far.address6.into()].contains(&seen),
            "its address is kept: {seen}"
        );
    }
}

#[test]
fn access_published_port_from_ctr() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let c1 = container(&bed, &host, "c1", &["8080:80"]);
    let c2 = container(&bed, &host, "c2", &[]);
    let _server = Server::start_dual(&c1.ns, 80);
    let joined = &c2.attached["NetworkSettings"]["Networks"]["dual"];
    for key in ["Gateway", "IPv6Gateway"] {
        let gateway: IpAddr = joined[key].as_str().unwrap().parse().unwrap();
        assert_served_at(&c2.ns, at(gateway, 8080), "c1");
    }
    assert_served_at(&c2.ns, at(c1.address, 80), "c1");
    assert_refused_at(&c2.ns, at(host.address, 8081));
}

#[test]
fn access_published_port_from_another_network() {
    let bed = Bed::new();
    let host = host_on(&bed);
    host.netdp(&["network", "create", "--ipv6", "another"]).done();
    let c1 = container(&bed, &host, "c1", &["8080:80"]);
    let c2 = on(&bed, &host, "c2", "another", &[]);
    let _server = Server::start_dual(&c1.ns, 80);
    for address in own(&host) {
        assert_served_at(&c2.ns, at(address, 8080), "c1");
    }
    assert_refused_at(&c2.ns, at(c1.address, 80));
    assert_refused_at(&c2.ns, at(c1.address6.unwrap(), 80));
}

#[test]
fn access_port_published_on_loopback_address() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let c1 = container(&bed, &host, "c1", &["127.0.0.1:8080:80", "[::1]:8080:80"]);
    let c2 = container(&bed, &host, "c2", &[]);
    let _server = Server::start_dual(&c1.ns, 80);
    assert_served_at(&host.ns, at(Ipv4Addr::LOCALHOST, 8080), "c1");
    assert_served_at(&host.ns, at(Ipv6Addr::LOCALHOST, 8080), "c1");
    // A neighbour on the wire who sends to 127.0.0.1 by way of the host.
    bed.outside.ns.set_sysctl("net/ipv4/conf/all/route_localnet", "1");
    bed.outside.ns.set_sysctl("net/ipv4/conf/wan0/route_localnet", "1");
    let way =
        format!("ip address del 127.0.0.1/8 dev lo; ip route add 127.0.0.1/32 via {} dev wan0", host.address);
    bed.outside.ns.sh(&way).done();
    assert_refused_at(&bed.outside.ns, at(Ipv4Addr::LOCALHOST, 8080));
    for address in own(&host) {
        assert_refused_at(&bed.outside.ns, at(address, 8080));
        assert_refused_at(&c2.ns, at(address, 8080));
    }
}

#[test]
fn port_mapping_restore() {
    let bed = Bed::new();
    let host = host_on(&bed);
    let c1 = container(&bed, &host, "c1", &["80", "8000-8009:81"]);
    let _server = Server::start_dual(&c1.ns, 80);
    let ports = || host.json(&["port", "c1"]);
    let before = ports();
    let number: u16 = before["80/tcp"][0]["HostPort"].as_str().unwrap().parse().unwrap();
    let controller = host.up();
    controller.kill();
    host.up_once();
    assert_eq!(ports(), before, "after a crash");
    host.down();
    assert_refused_at(&bed.outside.ns, at(host.address, number));
    host.up_once();
    assert_eq!(ports(), before, "after down and up");
    let tcp = tests::server::ask_tcp_at(&bed.outside.ns, at(host.address, number)).unwrap();
    assert_eq!(tcp.name, "c1");
    crate::deep::assert_agree(&host);
}
