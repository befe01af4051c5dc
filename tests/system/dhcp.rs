//! Networks on a LAN whose addresses a DHCP server gives: dnsmasq in the namespace outside.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::dnsmasq;
use tests::process::{Ran, Service, eventually, measured};
use tests::server::{Server, assert_served};
use tests::topology::{Bed, Container, Host, OUTSIDE};

/// What dnsmasq gives, and for how long at least.
/// What follows at once, on a machine that has much else to do.
const SOON: Duration = Duration::from_secs(10);

const RANGE: &str = "203.0.113.100,203.0.113.120,255.255.255.0,120";

/// A host with a network `lan`, and the server's files.
struct Street {
    /// Before the bed, in whose namespace it is.
    server: Option<Service>,
    leases: PathBuf,
    host: Host,
    bed: Bed,
}

impl Street {
    fn new(options: &[&str]) -> Self {
        let bed = Bed::new();
        let host = bed.host("h1");
        let leases = bed.file("leases");
        let mut street = Self { server: None, leases, host, bed };
        street.serve(options);
        street
    }

    /// Starts the server, or another one that knows the same leases.
    fn serve(&mut self, options: &[&str]) {
        self.server = None;
        let range = format!("--dhcp-range={RANGE}");
        let own = Some(&*range).filter(|_| options.iter().all(|it| !it.starts_with("--dhcp-range")));
        let options: Vec<&str> = own.into_iter().chain(options.iter().copied()).collect();
        self.server = Some(dnsmasq::serve((&self.bed.outside.ns, "wan0"), &self.leases, &options));
    }

    fn create(&self) {
        self.host
            .netdp(&[
                "network",
                "create",
                "-d",
                "macvlan",
                "-o",
                "parent=up0",
                "--ipam-driver",
                "dhcp",
                "lan",
            ])
            .done();
    }

    fn up(&self) -> Service {
        let controller = self.host.up();
        self.create();
        controller
    }

    /// Addresses that the server has lent, by the name of the client.
    fn lent(&self) -> Vec<(String, String)> {
        dnsmasq::lent(&self.leases)
    }

    fn attach(&self, name: &str, options: &[&str]) -> Container {
        self.bed.container(&self.host, name, &[&["--network", "lan"], options].concat())
    }

    /// The same where it is to fail: the namespace is kept.
    fn attach_failing(&self, name: &str, options: &[&str]) -> Ran {
        let ns = self.bed.namespace(name);
        let path = ns.path().to_str().unwrap();
        let command = [&["attach", "--netns", path, "--name", name, "--network", "lan"], options].concat();
        let ran = self.host.netdp(&command);
        assert!(!ns.sh("ip -br link").ok().stdout.contains("eth0"), "nothing of it is left\n{ran}");
        assert_eq!(self.host.json(&["ps", "-a"]), serde_json::json!([]));
        ran
    }

    fn joined(&self, name: &str) -> Value {
        self.host.json(&["inspect", name])["NetworkSettings"]["Networks"]["lan"].clone()
    }
}

/// Its IPv4 addresses, with the seconds that the kernel gives each.
fn addresses(container: &Container) -> Vec<(String, u64)> {
    let links: Value = container.ns.sh("ip -4 -j address show dev eth0").json();
    let entries = links[0]["addr_info"].as_array().cloned().unwrap_or_default();
    let of = |entry: &Value| {
        (entry["local"].as_str().unwrap().to_owned(), entry["valid_life_time"].as_u64().unwrap())
    };
    entries.iter().map(of).collect()
}

fn default_route(container: &Container) -> String {
    container.ns.sh("ip -4 route show default").ok().stdout
}

#[test]
fn an_endpoint_has_the_address_that_the_server_lends_until_it_is_detached() {
    let street = Street::new(&["--dhcp-option=26,1400", "--dhcp-option=6,203.0.113.1,9.9.9.9"]);
    let _controller = street.up();
    let inspected = street.host.json(&["network", "inspect", "lan"]);
    assert_eq!(inspected[0]["IPAM"]["Driver"], "dhcp");
    assert_eq!(inspected[0]["EnableIPv4"], true);
    let begin = Instant::now();
    let c1 = street.attach("c1", &[]);
    measured(&format!("attach with a lease by DHCP: {:?}", begin.elapsed()));
    assert_eq!(street.lent(), [("c1".to_owned(), c1.address.to_string())]);
    let [(address, seconds)] = &addresses(&c1)[..] else { panic!("{:?}", addresses(&c1)) };
    assert_eq!(*address, c1.address.to_string());
    assert!((100..=120).contains(seconds), "the kernel takes it away in {seconds} s");
    assert!(default_route(&c1).contains("via 203.0.113.1 "), "{}", default_route(&c1));
    assert!(c1.ns.sh("ip link show dev eth0").ok().stdout.contains("mtu 1400"));
    let joined = street.joined("c1");
    assert_eq!((&joined["IPPrefixLen"], &joined["Gateway"]), (&24.into(), &"203.0.113.1".into()));
    assert_eq!(joined["DHCP"]["NameServers"], serde_json::json!(["203.0.113.1", "9.9.9.9"]));
    assert_eq!(joined["DHCP"]["Server"], "203.0.113.1");
    let (inner, outer) = (Server::start(&c1.ns, 80), Server::start(&street.bed.outside.ns, 81));
    assert_served(&street.bed.outside.ns, (c1.address, 80), "c1");
    assert_served(&c1.ns, (OUTSIDE, 81), "outside");
    drop((inner, outer));
    let c2 = street.attach("c2", &[]);
    assert_ne!(c2.address, c1.address);
    street.host.netdp(&["check", "--deep"]).done();
    street.host.netdp(&["detach", "c1"]).done();
    eventually("the lease is given back", SOON, || street.lent().len() == 1);
    // Who comes back is known by its MAC, and gets what it had.
    street.host.netdp(&["network", "rm", "-f", "lan"]).done();
    eventually("all leases are given back", SOON, || street.lent().is_empty());
}

#[test]
fn who_comes_back_has_the_address_that_it_had() {
    let street = Street::new(&[]);
    let _controller = street.up();
    let c1 = street.attach("c1", &[]);
    let mac = street.joined("c1")["MacAddress"].clone();
    street.host.netdp(&["detach", "c1"]).done();
    let path = c1.ns.path().to_str().unwrap().to_owned();
    street.host.netdp(&["attach", "--netns", &path, "--name", "c1", "--network", "lan"]).done();
    assert_eq!(street.joined("c1")["IPAddress"], c1.address.to_string());
    assert_eq!(street.joined("c1")["MacAddress"], mac);
    // The namespace ends without a word, and another one takes its name.
    let other = street.bed.namespace("other");
    drop(c1);
    let path = other.path().to_str().unwrap();
    street.host.netdp(&["attach", "--netns", path, "--name", "c1", "--network", "lan"]).done();
    let address = street.joined("c1")["IPAddress"].as_str().unwrap().to_owned();
    assert_eq!(street.lent(), [("c1".to_owned(), address)], "what it has now was not given back");
}

#[test]
fn an_address_can_be_asked_for() {
    let street = Street::new(&[]);
    let _controller = street.up();
    let c1 = street.attach("c1", &["--ip", "203.0.113.115"]);
    assert_eq!(c1.address, Ipv4Addr::new(203, 0, 113, 115));
    street.host.netdp(&["detach", "c1"]).done();
    eventually("the lease is given back", SOON, || street.lent().is_empty());
    let begin = Instant::now();
    street
        .attach_failing("c2", &["--ip", "203.0.113.200"])
        .exits(1)
        .says("no DHCP server on up0 gave an address: 203.0.113.1 offers 203.0.113.1")
        .says("instead of 203.0.113.200")
        .done_failing();
    assert!(begin.elapsed() < Duration::from_secs(9), "before it gives up to wait: {:?}", begin.elapsed());
    assert!(street.lent().is_empty(), "an offer is no lease");
}

#[test]
fn an_attachment_that_is_refused_has_no_lease() {
    let street = Street::new(&[]);
    let _controller = street.up();
    street.attach_failing("c9", &["-p", "8080:80"]).exits(1).done_failing();
    assert_eq!(street.lent(), []);
}

#[test]
fn without_a_server_nothing_is_attached() {
    let mut street = Street::new(&[]);
    let _controller = street.up();
    street.server = None;
    let begin = Instant::now();
    street
        .attach_failing("c1", &[])
        .exits(1)
        .says("no DHCP server answered on up0 within 10 s")
        .done_failing();
    let taken = begin.elapsed();
    measured(&format!("attach without a server: {taken:?}"));
    assert!(taken < Duration::from_secs(20), "{taken:?}");
}

#[test]
fn a_lease_is_renewed_also_after_the_controller_was_killed() {
    let mut street = Street::new(&["--dhcp-option=58,4"]);
    let controller = street.up();
    let c1 = street.attach("c1", &[]);
    let since = |street: &Street| street.joined("c1")["DHCP"]["Since"].as_str().unwrap().to_owned();
    let first = since(&street);
    eventually("it is renewed", Duration::from_secs(20), || since(&street) != first);
    assert!(addresses(&c1)[0].1 >= 110, "the kernel knows it: {:?}", addresses(&c1));
    let _ = controller.kill();
    let second = since(&street);
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(since(&street), second, "nobody renews it");
    let controller = street.host.up();
    eventually("it is renewed again", Duration::from_secs(20), || since(&street) != second);
    assert_eq!(addresses(&c1)[0].0, c1.address.to_string(), "it has kept its address");
    let said = street.server.take().unwrap().kill();
    let renewals = said.stderr.matches("DHCPACK").count() + said.stdout.matches("DHCPACK").count();
    assert!(renewals >= 3, "{said}");
    drop(controller);
}

#[test]
fn a_server_that_wants_to_be_asked_all_the_time_is_not() {
    let street = Street::new(&["--dhcp-option=58,4"]);
    let _controller = street.up();
    let _c1 = street.attach("c1", &[]);
    let since = || street.joined("c1")["DHCP"]["Since"].as_str().unwrap().to_owned();
    let first = since();
    eventually("it is renewed", Duration::from_secs(20), || since() != first);
    let (second, begin) = (since(), Instant::now());
    while begin.elapsed() < Duration::from_secs(7) {
        assert_eq!(since(), second, "after {:?}", begin.elapsed());
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn an_address_that_the_server_takes_back_is_replaced() {
    let mut street = Street::new(&["--dhcp-option=58,4"]);
    let controller = street.up();
    let c1 = street.attach("c1", &[]);
    // A server that knows nothing of the lease, and has other addresses to give.
    street.server = None;
    fs::remove_file(&street.leases).unwrap();
    street.serve(&["--dhcp-range=203.0.113.150,203.0.113.159,255.255.255.0,120", "--dhcp-option=58,4"]);
    let moved = || {
        addresses(&c1).iter().all(|(address, _)| address.starts_with("203.0.113.15"))
            && !addresses(&c1).is_empty()
    };
    eventually("it has one of the new addresses", Duration::from_secs(30), moved);
    let is = addresses(&c1)[0].0.clone();
    eventually("inspect says so", SOON, || street.joined("c1")["IPAddress"] == is.as_str());
    eventually("its way out is back", SOON, || default_route(&c1).contains("via 203.0.113.1 "));
    let _server = Server::start(&c1.ns, 80);
    assert_served(&street.bed.outside.ns, (is.parse::<Ipv4Addr>().unwrap(), 80), "c1");
    street.host.netdp(&["check", "--deep"]).done();
    let said = controller.terminate(Duration::from_secs(10)).says("its server has taken it back");
    drop(said);
}

#[test]
fn leases_of_namespaces_that_end_are_given_back() {
    let street = Street::new(&["--dhcp-option=58,4"]);
    let _controller = street.up();
    let c1 = street.attach("c1", &[]);
    let c2 = street.attach("c2", &[]);
    assert_eq!(street.lent().len(), 2);
    drop(c1);
    // The host has nothing of an interface on a LAN that it could miss: the controller does when it is to be renewed.
    eventually("that of the namespace is given back", Duration::from_secs(15), || {
        street.lent() == [("c2".to_owned(), c2.address.to_string())]
    });
    assert_eq!(street.joined("c2")["IPAddress"], c2.address.to_string(), "the other has its own");
    let known = street.host.json(&["ps", "-a"]);
    assert_eq!(known.as_array().unwrap().len(), 2, "it keeps its name: {known}");
}

#[test]
fn without_a_controller_it_is_said_that_nobody_renews_a_lease() {
    let street = Street::new(&[]);
    street.host.up_once();
    street.create();
    let ns = street.bed.namespace("c1");
    let path = ns.path().to_str().unwrap();
    street
        .host
        .netdp(&["attach", "--netns", path, "--name", "c1", "--network", "lan"])
        .ok()
        .says("no netdp up is running that would renew it")
        .done();
    street.host.netdp(&["down"]).done();
    street.host.up_once();
    let address = street.joined("c1")["IPAddress"].as_str().unwrap().to_owned();
    assert!(
        ns.sh("ip -4 address show dev eth0").ok().stdout.contains(&address),
        "it comes back with its lease"
    );
}

#[test]
fn what_a_server_says_cannot_be_said_by_hand() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let create = |options: &[&str]| {
        host.netdp(&[&["network", "create", "--ipam-driver", "dhcp"], options, &["x"]].concat())
    };
    let lan = ["-d", "macvlan", "-o", "parent=up0"];
    let with = |options: &[&str]| create(&[&lan[..], options].concat());
    with(&["--subnet", "192.0.2.0/24"]).exits(1).says("--subnet cannot be given").done_failing();
    with(&["--gateway", "192.0.2.1"]).exits(1).says("--gateway cannot be given").done_failing();
    with(&["--ip-range", "192.0.2.0/28"]).exits(1).says("--ip-range cannot be given").done_failing();
    with(&["--aux-address", "a=192.0.2.9"]).exits(1).says("--aux-address cannot be given").done_failing();
    with(&["--ipv6"]).exits(1).says("for IPv4 alone").done_failing();
    with(&["--ipv6", "--ipv4=false"]).exits(1).says("for IPv4 alone").done_failing();
    create(&["-d", "ipvlan", "-o", "parent=up0"]).exits(1).says("not for ipvlan").done_failing();
    create(&[]).exits(1).says("needs a network on a LAN").done_failing();
    host.netdp(&["network", "create", "--ipam-driver", "null", "x"])
        .exits(2)
        .says("possible values: default, dhcp")
        .done_failing();
    assert!(host.netdp(&["network", "ls"]).ok().stdout.lines().all(|line| !line.contains(" x ")));
}
