//! Published ports that are for some sources only, from several neighbours, from containers and from the host itself.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::Value;
use tests::capture::{Capture, Frame};
use tests::server::{Server, assert_refused, assert_refused_at, assert_served, assert_served_at};
use tests::topology::{Bed, Container, Host, Neighbour};

/// TCP and UDP port 8080 of the host for these sources, in the options of `netdp attach`.
fn ports_from(sources: &str) -> [String; 4] {
    let spec = |protocol: &str| format!("published=8080,target=80,protocol={protocol}{sources}");
    ["-p".to_owned(), spec("tcp"), "-p".to_owned(), spec("udp")]
}

fn attach(bed: &Bed, host: &Host, name: &str, sources: &str) -> Container {
    let ports = ports_from(sources);
    bed.container(host, name, &ports.each_ref().map(String::as_str))
}

struct Street {
    host: Host,
    one: Neighbour,
    two: Neighbour,
    bed: Bed,
}

/// A host that is up, and two neighbours beside the outside.
fn street() -> Street {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let (one, two) = (bed.neighbour("n1"), bed.neighbour("n2"));
    Street { host, one, two, bed }
}

fn denied(host: &Host) -> u64 {
    let drops = host.json(&["drops"]);
    let row = |row: &&Value| row["reason"] == "source_denied";
    drops.as_array().unwrap().iter().find(row).map_or(0, |row| row["packets"].as_u64().unwrap())
}

#[test]
fn neighbours_that_are_listed_are_served_and_others_are_dropped_before_the_container() {
    let street = street();
    let Street { host, one, two, bed } = &street;
    let sources = format!(",from={}/32,from=203.0.113.0/29,from=fd00::/8", one.address);
    let c1 = attach(bed, host, "c1", &sources);
    let _server = Server::start(&c1.ns, 80);
    for listed in [&one.ns, &bed.outside.ns] {
        assert_served(listed, (host.address, 8080), "c1");
    }
    let (inside, outside) = (Capture::start(&c1.ns, "eth0", &[]), Capture::start(&two.ns, "eth0", &[]));
    let before = denied(host);
    assert_refused(&two.ns, (host.address, 8080));
    assert!(denied(host) >= before + 2, "a TCP and a UDP packet are counted");
    let from_two = |frame: &Frame| frame.ipv4().is_some_and(|(_, src, _)| src == two.address);
    assert!(!inside.seen().frames.iter().any(from_two), "the container saw a packet of a refused source");
    let answers = outside.seen();
    let answer = |frame: &Frame| frame.ipv4().is_some_and(|(_, src, _)| src == host.address);
    assert!(!answers.frames.iter().any(answer), "a refused source is not answered: {answers:?}");
    let flows = host.json(&["flows"]).to_string();
    assert!(!flows.contains(&two.address.to_string()), "{flows}");
}

#[test]
fn host_reaches_the_port_and_containers_are_judged_by_their_own_address() {
    let street = street();
    let Street { host, one, bed, .. } = &street;
    host.netdp(&["network", "create", "--subnet", "10.77.0.0/24", "other"]).done();
    let c1 = attach(bed, host, "c1", ",from=10.77.0.0/24,from=192.0.2.0/24");
    let _server = Server::start(&c1.ns, 80);
    for address in [Ipv4Addr::LOCALHOST, host.address] {
        assert_served(&host.ns, (address, 8080), "c1");
    }
    let listed = bed.container(host, "c2", &["--network", "other"]);
    assert_served(&listed.ns, (host.address, 8080), "c1");
    let unlisted = bed.container(host, "c3", &[]);
    assert_refused(&unlisted.ns, (host.address, 8080));
    assert_refused(&one.ns, (host.address, 8080));
}

#[test]
fn each_family_of_a_port_is_for_its_own_prefixes() {
    let street = street();
    let Street { host, one, two, bed } = &street;
    let subnets = ["--ipv6", "--subnet", "10.6.0.0/16", "--subnet", "fd00:6::/64", "six"];
    host.netdp(&[&["network", "create"][..], &subnets].concat()).done();
    let ports = ports_from(&format!(",from={},from={}", one.address, two.address6));
    let options = [&["--network", "six"][..], &ports.each_ref().map(String::as_str)].concat();
    let c1 = bed.container(host, "c1", &options);
    let _server = Server::start_dual(&c1.ns, 80);
    let (four, six) = (SocketAddr::from((host.address, 8080)), SocketAddr::from((host.address6, 8080)));
    assert_served_at(&one.ns, four, "c1");
    assert_served_at(&two.ns, six, "c1");
    let before = denied(host);
    assert_refused_at(&one.ns, six);
    assert_refused_at(&two.ns, four);
    assert!(denied(host) >= before + 4, "a TCP and a UDP packet of each family are counted");
    for own in [four, six, (Ipv4Addr::LOCALHOST, 8080).into(), (Ipv6Addr::LOCALHOST, 8080).into()] {
        assert_served_at(&host.ns, own, "c1");
    }
    let c2 = bed.container(host, "c2", &["--network", "six"]);
    assert_refused_at(&c2.ns, six);
}

#[test]
fn list_of_one_address_of_the_host_does_not_fall_through_to_another_endpoint() {
    let street = street();
    let Street { host, one, two, bed } = &street;
    host.ns.sh("ip address add 203.0.113.99/24 dev up0").done();
    host.up_once();
    let spec = format!(",host-ip=203.0.113.99,from={}", one.address);
    let c1 = attach(bed, host, "c1", &spec);
    let c2 = attach(bed, host, "c2", &format!(",host-ip={}", host.address));
    let _servers = [Server::start(&c1.ns, 80), Server::start(&c2.ns, 80)];
    let special = Ipv4Addr::new(203, 0, 113, 99);
    assert_served(&one.ns, (special, 8080), "c1");
    assert_refused(&two.ns, (special, 8080));
    assert_served(&two.ns, (host.address, 8080), "c2");
}

#[test]
fn list_that_is_changed_holds_at_once_for_flows_that_run_too() {
    let street = street();
    let Street { host, one, two, bed } = &street;
    let open = attach(bed, host, "c1", "");
    let server = Server::start(&open.ns, 80);
    let client = two.ns.enter(|| std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 7777))).unwrap();
    client.connect((host.address, 8080)).unwrap();
    assert_eq!(tests::server::ask_datagram(&client).unwrap().name, "c1");
    let stream = tests::server::connect(&two.ns, (host.address, 8080)).unwrap();
    assert_eq!(tests::server::ask_stream(&stream).unwrap().name, "c1");
    host.netdp(&["detach", "c1"]).done();
    drop(server);
    let path = open.ns.path().to_str().unwrap();
    let ports = ports_from(&format!(",from={}", one.address));
    let attach = [&["attach", "--netns", path, "--name", "c1"], &ports.each_ref().map(String::as_str)[..]];
    host.netdp(&attach.concat()).done();
    let _server = Server::start(&open.ns, 80);
    client.send(b"who\n").unwrap();
    client.set_read_timeout(Some(std::time::Duration::from_millis(400))).unwrap();
    assert!(client.recv(&mut [0; 64]).is_err(), "a source that is refused now is answered in its old flow");
    assert!(tests::server::ask_stream(&stream).is_err());
    assert_refused(&two.ns, (host.address, 8080));
    assert_served(&one.ns, (host.address, 8080), "c1");
    host.up_once();
    assert_refused(&two.ns, (host.address, 8080));
    assert_served(&one.ns, (host.address, 8080), "c1");
}
