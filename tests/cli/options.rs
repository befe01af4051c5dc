//! What the options of `network create` and `attach` do.

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use tests::server::{Server, assert_refused, assert_served};
use tests::topology::{Bed, Host, address_of};

fn up(bed: &Bed) -> Host {
    let host = bed.host("h1");
    host.up_once();
    host
}

/// Names of the networks that there are.
fn networks(host: &Host) -> Vec<String> {
    let listed = host.json(&["network", "ls"]);
    listed.as_array().unwrap().iter().map(|network| network["Name"].as_str().unwrap().to_owned()).collect()
}

/// Host ports that `netdp inspect` shows for a port inside.
fn host_ports(attached: &Value, inside: &str) -> Vec<u16> {
    let bindings = attached["NetworkSettings"]["Ports"][inside].as_array().unwrap();
    bindings.iter().map(|binding| binding["HostPort"].as_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn addresses_are_the_lowest_free_of_the_range_and_spare_the_auxiliary_ones() {
    let bed = Bed::new();
    let host = up(&bed);
    let subnet =
        ["network", "create", "--subnet", "10.5.0.0/24", "--ip-range", "10.5.0.128/29", "--aux-address"];
    host.netdp(&[&subnet[..], &["printer=10.5.0.130", "blue"]].concat()).done();
    let join = ["--network", "blue"];
    let containers: Vec<_> = ["c1", "c2", "c3"].map(|name| bed.container(&host, name, &join)).into();
    let addresses: Vec<_> = containers.iter().map(|container| container.address.octets()[3]).collect();
    assert_eq!(addresses, [128, 129, 131]);
    host.netdp(&["detach", "c2"]).done();
    assert_eq!(bed.container(&host, "c4", &join).address, Ipv4Addr::new(10, 5, 0, 129));
}

#[test]
fn mtu_of_a_network_is_that_of_its_interfaces() {
    let bed = Bed::new();
    let host = up(&bed);
    host.netdp(&["network", "create", "-o", "mtu=1400", "-o", "bridge-name=br-blue", "blue"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "blue"]);
    assert!(c1.ns.out("ip link show eth0").contains("mtu 1400"));
    assert!(host.ns.out("ip link show br-blue").contains("mtu 1400"));
}

#[test]
fn mtu_of_the_uplink_is_taken_over() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.ns.sh("ip link set up0 mtu 1300").done();
    host.up_once();
    let c1 = bed.container(&host, "c1", &[]);
    assert!(c1.ns.out("ip link show eth0").contains("mtu 1300"));
}

#[test]
fn host_binding_of_a_network_is_the_address_of_its_ports() {
    let bed = Bed::new();
    let host = up(&bed);
    let option = "com.docker.network.bridge.host_binding_ipv4=127.0.0.1";
    host.netdp(&["network", "create", "-o", option, "blue"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "blue", "-p", "8080:80", "-p", "8080:80/udp"]);
    let _server = Server::start(&c1.ns, 80);
    assert_served(&host.ns, (Ipv4Addr::LOCALHOST, 8080), "c1");
    assert_refused(&bed.outside.ns, (host.address, 8080));
    assert!(host.netdp(&["port", "c1"]).ok().stdout.contains("80/tcp -> 127.0.0.1:8080"));
}

#[test]
fn port_without_a_host_port_gets_one_that_works() {
    let bed = Bed::new();
    let host = up(&bed);
    let c1 = bed.container(&host, "c1", &["-p", "80", "-p", "127.0.0.1::81"]);
    let public = host_ports(&c1.attached, "80/tcp");
    assert_eq!(public.len(), 1);
    assert!(public[0] >= 1024, "{public:?}");
    let _server = Server::start(&c1.ns, 80);
    let answer = tests::server::ask_tcp(&bed.outside.ns, (host.address, public[0])).unwrap();
    assert_eq!(answer.name, "c1");
    assert_eq!(c1.attached["NetworkSettings"]["Ports"]["81/tcp"][0]["HostIp"], "127.0.0.1");
}

#[test]
fn range_for_one_port_gives_the_first_that_is_free() {
    let bed = Bed::new();
    let host = up(&bed);
    let _other = host.ns.enter(|| std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8000))).unwrap();
    let containers = ["c1", "c2"].map(|name| bed.container(&host, name, &["-p", "8000-8002:80"]));
    let ports = containers.each_ref().map(|container| host_ports(&container.attached, "80/tcp"));
    assert_eq!(ports, [[8001], [8002]]);
    let c3 = bed.namespace("c3");
    let attach = ["attach", "--netns", c3.path().to_str().unwrap(), "--name", "c3", "-p", "8000-8002:80"];
    crate::bad_input::assert_refused(&host, &attach, 1, "8000-8002:80");
}

#[test]
fn exposed_ports_are_published_when_asked_for() {
    let bed = Bed::new();
    let host = up(&bed);
    let c1 = bed.container(&host, "c1", &["--expose", "80", "--expose", "53/udp", "-P"]);
    let (tcp, udp) = (host_ports(&c1.attached, "80/tcp"), host_ports(&c1.attached, "53/udp"));
    assert_eq!((tcp.len(), udp.len()), (1, 1));
    let c2 = bed.container(&host, "c2", &["--expose", "80"]);
    assert_eq!(c2.attached["NetworkSettings"]["Ports"], json!({ "80/tcp": null }));
}

#[test]
fn prune_and_forced_rm_take_networks_away() {
    let bed = Bed::new();
    let host = up(&bed);
    for name in ["used", "unused", "also"] {
        host.netdp(&["network", "create", name]).done();
    }
    let c1 = bed.container(&host, "c1", &["--network", "used"]);
    host.netdp(&["network", "prune", "-f"]).done();
    assert_eq!(networks(&host), ["bridge", "host", "none", "used"]);
    host.netdp(&["network", "rm", "-f", "used", "never-there"]).done();
    assert_eq!(networks(&host), ["bridge", "host", "none"]);
    assert_eq!(c1.ns.out("ip -o link show | grep -vc ' lo:' || true").trim(), "0");
}

#[test]
fn networks_are_listed_by_filter_and_quietly() {
    let bed = Bed::new();
    let host = up(&bed);
    host.netdp(&["network", "create", "--label", "team=a", "blue"]).done();
    host.netdp(&["network", "create", "--label", "team=b", "green"]).done();
    let names = |filter: &str| {
        let listed = host.json(&["network", "ls", "-f", filter]);
        let name = |network: &Value| network["Name"].as_str().unwrap().to_owned();
        listed.as_array().unwrap().iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(names("label=team"), ["blue", "green"]);
    assert_eq!(names("label=team=b"), ["green"]);
    assert_eq!(names("driver=null"), ["none"]);
    assert_eq!(names("name=gre"), ["green"]);
    let quiet = host.netdp(&["network", "ls", "-q"]).ok().stdout;
    assert!(quiet.lines().count() == 5 && quiet.lines().all(|line| line.len() == 12), "{quiet}");
    crate::bad_input::assert_refused(&host, &["network", "ls", "-f", "colour=red"], 1, "colour");
}

#[test]
fn endpoint_whose_namespace_began_anew_is_attached_again_under_its_name() {
    let bed = Bed::new();
    let host = up(&bed);
    let options = ["-p", "8080:80", "-p", "8080:80/udp"];
    let old = bed.container(&host, "c1", &options);
    drop(old);
    let new = bed.container(&host, "c1", &options);
    let _server = Server::start(&new.ns, 80);
    assert_served(&bed.outside.ns, (host.address, 8080), "c1");
    assert_eq!(address_of(&new.ns, "eth0"), new.address);
}
