//! Bridges on a LAN (`-o parent`) whose addresses a DHCP server of that LAN gives: what the programs know of an address follows
//! its lease.
//!
//! ```text
//!   c1, c2 ── bridge ── eth1 of h1 ══ eth0 of `router`, which is the server too
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dhcproto::v4::MessageType;
use serde_json::{Value, json};
use tests::dhcp_server::{DhcpServer, answer};
use tests::dnsmasq;
use tests::namespace::Namespace;
use tests::process::{Ran, Service, eventually};
use tests::server::{Server, ask_tcp, assert_refused, assert_served};
use tests::topology::{Bed, Container, Host};

use crate::isolation::assert_counted;

const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 1);
const RANGE: &str = "--dhcp-range=192.168.50.100,192.168.50.120,255.255.255.0,120";

struct Street {
    // Before the bed, which holds what they are in.
    router: Namespace,
    leases: PathBuf,
    controller: Option<Service>,
    host: Host,
    bed: Bed,
}

impl Street {
    fn new() -> Self {
        let bed = Bed::new();
        let (host, router) = (bed.host("h1"), bed.namespace("router"));
        host.ns
            .sh(&format!("ip link add eth1 type veth peer name eth0 netns {}", router.path().display()))
            .done();
        router.sh(&format!("ip address add {ROUTER}/24 dev eth0 && ip link set eth0 up")).done();
        host.ns.sh("ip link set eth1 up").done();
        let (leases, controller) = (bed.file("leases"), Some(host.up()));
        Self { router, leases, controller, host, bed }
    }

    fn serve(&self, options: &[&str]) -> Service {
        dnsmasq::serve((&self.router, "eth0"), &self.leases, options)
    }

    fn create(&self) {
        let command = ["network", "create", "-o", "parent=eth1", "--ipam-driver", "dhcp", "lan"];
        self.host.netdp(&command).done();
    }

    fn attach(&self, name: &str, options: &[&str]) -> Container {
        self.bed.container(&self.host, name, &[&["--network", "lan"], options].concat())
    }

    /// The controller.
    fn stops(&mut self) -> Ran {
        self.controller.take().unwrap().terminate(Duration::from_secs(10))
    }

    /// As if nobody had looked at them for an hour.
    fn ends_all_leases(&self) {
        let database = rusqlite::Connection::open(self.host.state_dir().join("netdp.db")).unwrap();
        let ended = database.execute("UPDATE leases SET lease = json_set(lease, '$.since', 1)", []).unwrap();
        assert!(ended > 0);
    }

    fn agrees(&self) {
        assert_eq!(self.host.json(&["check", "--deep"])["differences"], json!([]));
    }

    /// Not even by a MAC that it knows already.
    fn is_not_heard_as(&self, container: &Container, address: Ipv4Addr) {
        container.ns.sh(&format!("ip address replace {address}/24 dev eth0")).done();
        let ping = format!("ping -c 1 -W 1 -I {address} {ROUTER}");
        container.ns.sh("ip neigh flush dev eth0").done();
        assert_counted(&self.host, "invalid_source_arp", || container.ns.sh(&ping).exits(1).done_failing());
        let link: Value = self.router.sh("ip -j link show dev eth0").json();
        let mac = link[0]["address"].as_str().unwrap();
        let knows = format!("ip neigh replace {ROUTER} lladdr {mac} dev eth0 nud permanent");
        container.ns.sh(&knows).done();
        assert_counted(&self.host, "invalid_source_ip", || container.ns.sh(&ping).exits(1).done_failing());
        container
            .ns
            .sh(&format!("ip neigh del {ROUTER} dev eth0 && ip address del {address}/24 dev eth0"))
            .done();
    }

    fn address(&self, name: &str) -> Value {
        self.host.json(&["inspect", name])["NetworkSettings"]["Networks"]["lan"]["IPAddress"].clone()
    }
}

fn addresses(container: &Container) -> Vec<Ipv4Addr> {
    let links: Value = container.ns.sh("ip -4 -j address show dev eth0").json();
    let entries = links[0]["addr_info"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| entry["local"].as_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn container_has_the_address_that_the_server_lends_and_is_heard_with_no_other() {
    let street = Street::new();
    let _server = street.serve(&[RANGE, "--dhcp-option=26,1400"]);
    street.create();
    let inspected = street.host.json(&["network", "inspect", "lan"]);
    assert_eq!(
        (&inspected[0]["Driver"], &inspected[0]["IPAM"]["Driver"]),
        (&json!("bridge"), &json!("dhcp"))
    );
    let (c1, c2) = (street.attach("c1", &["-p", "8080:80", "-p", "8080:80/udp"]), street.attach("c2", &[]));
    let lent = [("c1", &c1), ("c2", &c2)].map(|(name, it)| (name.to_owned(), it.address.to_string()));
    assert_eq!(BTreeSet::from_iter(dnsmasq::lent(&street.leases)), lent.into());
    let shown = c1.ns.sh("ip -4 address show dev eth0 && ip -4 route show default").ok().stdout;
    assert!(c1.ns.sh("ip link show dev eth0").ok().stdout.contains("mtu 1400"));
    assert!(shown.contains("valid_lft 1") && shown.contains("default via 192.168.50.1 "), "{shown}");
    let _servers = [Server::start(&c1.ns, 80), Server::start(&c2.ns, 80), Server::start(&street.router, 80)];
    assert_eq!(assert_served(&c1.ns, (ROUTER, 80), "router"), c1.address);
    assert_eq!(assert_served(&street.router, (c1.address, 80), "c1"), ROUTER);
    assert_served(&c1.ns, (c2.address, 80), "c2");
    assert_served(&street.bed.outside.ns, (street.host.address, 8080), "c1");
    street.agrees();
    assert_counted(&street.host, "dhcp_server", || {
        c2.ns.sh(&format!("bash -c 'echo release > /dev/udp/{ROUTER}/67'")).done();
    });
    street.is_not_heard_as(&c2, Ipv4Addr::new(192, 168, 50, 66));
    street.host.netdp(&["network", "rm", "-f", "lan"]).done();
    eventually("leases are given back", Duration::from_secs(5), || dnsmasq::lent(&street.leases).is_empty());
}

#[test]
fn published_port_and_guard_follow_the_address_when_the_server_has_another_one() {
    let mut street = Street::new();
    let renewal = "--dhcp-option=58,4";
    let server = street.serve(&[RANGE, renewal]);
    street.create();
    let c1 = street.attach("c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let _inside = Server::start(&c1.ns, 80);
    assert_served(&street.bed.outside.ns, (street.host.address, 8080), "c1");
    drop(server);
    fs::remove_file(&street.leases).unwrap();
    let _server = street.serve(&["--dhcp-range=192.168.50.150,192.168.50.160,255.255.255.0,120", renewal]);
    let has_moved = || addresses(&c1).first().is_some_and(|address| address.octets()[3] >= 150);
    eventually("it has one of the new addresses", Duration::from_secs(30), has_moved);
    let is = addresses(&c1)[0];
    eventually("inspect says so", Duration::from_secs(5), || street.address("c1") == is.to_string().as_str());
    eventually("the programs know it", Duration::from_secs(5), || {
        street.host.json(&["check", "--deep"])["differences"] == json!([])
    });
    assert_served(&street.router, (is, 80), "c1");
    assert_served(&street.bed.outside.ns, (street.host.address, 8080), "c1");
    street.is_not_heard_as(&c1, c1.address);
    street.stops().says("its server has taken it back").done();
}

#[test]
fn who_has_no_lease_any_more_sends_nothing_and_is_not_published_until_it_has_another() {
    const GIVEN: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 70);
    let street = Street::new();
    let silent = Arc::new(AtomicBool::new(false));
    let is_silent = Arc::clone(&silent);
    let _server = DhcpServer::start(&street.router, "eth0", move |message| {
        let kind = match message.opts().msg_type() {
            _ if is_silent.load(Ordering::Relaxed) => None,
            Some(MessageType::Discover) => Some(MessageType::Offer),
            Some(MessageType::Request) => Some(MessageType::Ack),
            _ => None,
        };
        kind.map(|kind| answer(message, kind, ROUTER, (GIVEN, 4))).into_iter().collect()
    });
    street.create();
    let c1 = street.attach("c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let _inside = Server::start(&c1.ns, 80);
    silent.store(true, Ordering::Relaxed);
    eventually("the kernel takes it away", Duration::from_secs(15), || addresses(&c1).is_empty());
    eventually("nobody says that it has it", Duration::from_secs(15), || street.address("c1") == "");
    street.agrees();
    assert_refused(&street.bed.outside.ns, (street.host.address, 8080));
    street.is_not_heard_as(&c1, GIVEN);
    silent.store(false, Ordering::Relaxed);
    eventually("it has one again", Duration::from_secs(45), || {
        street.address("c1") == GIVEN.to_string().as_str()
    });
    eventually("it is published again", Duration::from_secs(5), || {
        ask_tcp(&street.bed.outside.ns, (street.host.address, 8080)).is_ok()
    });
}

/// Without a controller too: what nobody renews is the server's again, and another container's next.
#[test]
fn address_of_a_lease_that_is_over_goes_to_the_next_container() {
    let mut street = Street::new();
    let one = "--dhcp-range=192.168.50.100,192.168.50.100,255.255.255.0,120";
    let server = street.serve(&[one]);
    street.create();
    street.stops().done();
    let c1 = street.attach("c1", &[]);
    street.ends_all_leases();
    drop(server);
    fs::remove_file(&street.leases).unwrap();
    let _server = street.serve(&[one]);
    let c2 = street.attach("c2", &[]);
    assert_eq!((c2.address, street.address("c1")), (c1.address, json!("")));
    c1.ns.sh("ip address flush dev eth0").done();
    street.is_not_heard_as(&c1, c2.address);
    let _inside = Server::start(&c2.ns, 80);
    assert_served(&street.router, (c2.address, 80), "c2");
}

#[test]
fn address_of_another_bridge_is_not_taken_and_its_subnet_is_not_given() {
    let street = Street::new();
    let _server = street.serve(&[RANGE]);
    street.create();
    let create = ["network", "create", "--subnet", "192.168.0.0/16", "other"];
    street.host.netdp(&create).done();
    let ns = street.bed.namespace("c1");
    let attach = ["attach", "--netns", ns.path().to_str().unwrap(), "--name", "c1", "--network", "lan"];
    let refused = street.host.netdp(&attach).exits(1);
    refused.says("which network other (192.168.0.0/16) has").done_failing();
    assert!(dnsmasq::lent(&street.leases).is_empty());
    assert_eq!(street.host.json(&["ps", "-a"]), json!([]));
    street.host.netdp(&["network", "rm", "other"]).done();
    street.host.netdp(&attach).done();
    street.host.netdp(&create).exits(1).says("endpoint c1 of lan").done_failing();
    street.agrees();
}

/// Two LANs with the same addresses are two to everybody but the programs, which tell flows by addresses.
#[test]
fn two_lans_with_the_same_addresses_do_not_give_one_to_two_containers() {
    let street = Street::new();
    let _server = street.serve(&[RANGE]);
    street.create();
    let c1 = street.attach("c1", &[]);
    let further = street.bed.namespace("further");
    street
        .host
        .ns
        .sh(&format!(
            "ip link add eth2 type veth peer name eth0 netns {} && ip link set eth2 up",
            further.path().display()
        ))
        .done();
    further.sh(&format!("ip address add {ROUTER}/24 dev eth0 && ip link set eth0 up")).done();
    let options = [&*format!("--dhcp-range={0},{0},255.255.255.0,120", c1.address)];
    let _further = dnsmasq::serve((&further, "eth0"), &street.bed.file("further-leases"), &options);
    let create = ["network", "create", "-o", "parent=eth2", "--ipam-driver", "dhcp", "lan2"];
    street.host.netdp(&create).done();
    let ns = street.bed.namespace("c2");
    street
        .host
        .netdp(&["attach", "--netns", ns.path().to_str().unwrap(), "--name", "c2", "--network", "lan2"])
        .exits(1)
        .says("which endpoint c1 of lan has")
        .done_failing();
    street.agrees();
}

#[test]
fn declared_endpoint_without_a_lease_keeps_its_port_and_does_not_keep_the_controller_from_starting() {
    let mut street = Street::new();
    let server = street.serve(&[RANGE]);
    let ns = street.bed.namespace("c1");
    let config = street.bed.file("netdp.toml");
    let text = format!(
        "[network.lan]\nipam-driver = \"dhcp\"\noptions = {{ parent = \"eth1\" }}\n\
         [endpoint.c1]\nnetns = \"{}\"\nnetwork = \"lan\"\npublish = [\"{}:8080:80\", \"8081:80\"]\n",
        ns.path().display(),
        street.host.address
    );
    fs::write(&config, text).unwrap();
    let up = ["up", "--once", "--config", config.to_str().unwrap()];
    street.stops().done();
    street.host.netdp(&up).done();
    let _inside = Server::start(&ns, 80);
    let answers = |port| ask_tcp(&street.bed.outside.ns, (street.host.address, port)).is_ok();
    assert!(answers(8080) && answers(8081));
    drop(server);
    street.ends_all_leases();
    ns.sh("ip address flush dev eth0").done();
    for _ in 0..2 {
        street.host.netdp(&up).ok().says("no DHCP server answered").done();
    }
    assert_eq!(street.address("c1"), "");
    assert!(!answers(8080) && !answers(8081));
    street.agrees();
    let _server = street.serve(&[RANGE]);
    street.host.netdp(&up).done();
    assert!(answers(8080) && answers(8081));
    street.agrees();
}

#[test]
fn port_of_a_network_that_is_left_goes_on_to_one_that_waits_for_a_lease() {
    let mut street = Street::new();
    let server = street.serve(&[RANGE]);
    street.create();
    street.stops();
    let c1 = street.bed.container(&street.host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let _inside = Server::start(&c1.ns, 80);
    street.host.netdp(&["network", "connect", "lan", "c1"]).done();
    drop(server);
    street.ends_all_leases();
    c1.ns.sh("ip address flush dev eth1").done();
    street.host.netdp(&["up", "--once"]).ok().says("no DHCP server answered").done();
    street.host.netdp(&["network", "disconnect", "bridge", "c1"]).done();
    assert_refused(&street.bed.outside.ns, (street.host.address, 8080));
    let _server = street.serve(&[RANGE]);
    street.host.netdp(&["up", "--once"]).done();
    assert_served(&street.bed.outside.ns, (street.host.address, 8080), "c1");
    street.agrees();
}

/// Of a LAN whose addresses are known outside: others leave no uplink.
#[test]
fn published_port_is_reached_at_the_lent_address_by_an_interface_that_is_trusted() {
    let street = Street::new();
    street.router.sh("ip address flush dev eth0 && ip address add 198.51.100.1/24 dev eth0").done();
    let _server = street.serve(&["--dhcp-range=198.51.100.100,198.51.100.120,255.255.255.0,120"]);
    let create = ["network", "create", "-o", "parent=eth1", "-o", "trusted-interfaces=up0", "--ipam-driver"];
    street.host.netdp(&[&create[..], &["dhcp", "lan"]].concat()).done();
    let c1 = street.attach("c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let _servers = [Server::start(&c1.ns, 80), Server::start(&c1.ns, 81)];
    let outside = &street.bed.outside.ns;
    outside.sh(&format!("ip route add 198.51.100.0/24 via {}", street.host.address)).done();
    assert_served(outside, (c1.address, 80), "c1");
    assert_refused(outside, (c1.address, 81));
}
