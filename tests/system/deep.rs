//! `netdp check --deep` agrees after whatever commands did, and names each thing that somebody else did.

use netdp::datapath::{Datapath, Entry, Hook};
use netdp::host::bpffs;
use serde_json::Value;
use tests::topology::{Bed, Container, Host};

/// Asserts that database and kernel agree, and gives what was compared.
pub(crate) fn assert_agree(host: &Host) -> Value {
    let report = host.json(&["check", "--deep"]);
    assert_eq!(report["equal"], true, "{report:#}");
    report["compared"].clone()
}

/// What differs, as `KIND WHAT`.
fn differences(host: &Host) -> Vec<String> {
    let ran = host.netdp(&["check", "--deep", "-o", "json"]).exits(1).says("database and kernel differ");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let list = report["differences"].as_array().unwrap();
    list.iter()
        .map(|it| format!("{} {}", it["kind"].as_str().unwrap(), it["what"].as_str().unwrap()))
        .collect()
}

/// Asserts that a difference of these words is told, and that `up` puts it right.
fn assert_told_and_repaired(host: &Host, words: &str) {
    assert_told(host, words);
    host.up_once();
    assert_agree(host);
}

fn assert_told(host: &Host, words: &str) {
    let told = differences(host);
    assert!(told.iter().any(|line| line.contains(words)), "{words:?} is not among {told:#?}");
}

struct Damaged {
    c1: Container,
    _c2: Container,
    host: Host,
    bed: Bed,
}

impl Damaged {
    fn new() -> Self {
        let bed = Bed::new();
        let host = bed.host("h1");
        host.up_once();
        host.netdp(&["network", "create", "--ipv6", "--subnet", "fd00:17::/64", "six"]).done();
        let ports = ["-p", "8080:80", "-p", "published=8081,target=81,from=203.0.113.0/24"];
        let c1 = bed.container(&host, "c1", &[&["--network", "six"], &ports[..]].concat());
        let c2 = bed.container(&host, "c2", &[]);
        assert_agree(&host);
        Self { c1, _c2: c2, host, bed }
    }

    fn veth(&self) -> String {
        let joined = &self.c1.attached["NetworkSettings"]["Networks"]["six"];
        joined["HostInterfaceName"].as_str().unwrap().to_owned()
    }

    fn datapath(&self) -> Datapath {
        Datapath::open(&bpffs::path(&self.host.run_dir())).unwrap().unwrap()
    }

    fn entry(&self, wanted: impl Fn(&Entry) -> bool) -> Entry {
        self.datapath().entries().unwrap().into_iter().find(wanted).unwrap()
    }
}

#[test]
fn database_and_kernel_agree_after_much_coming_and_going() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let controller = host.up();
    host.netdp(&["network", "create", "--ipv6", "six"]).done();
    host.netdp(&["network", "create", "--internal", "inner"]).done();
    host.netdp(&["deny", "add", "198.51.100.0/24"]).done();
    let mut all = Vec::new();
    for number in 0..12 {
        let network = ["bridge", "six", "inner"][number % 3];
        let port = format!("{}:80", 9000 + number);
        let publish: &[&str] = if network == "inner" { &[] } else { &["-p", &port, "-p", "53/udp"] };
        let options = [&["--network", network], publish].concat();
        all.push(bed.container(&host, &format!("c{number}"), &options));
        if number % 4 == 3 {
            host.netdp(&["detach", &format!("c{}", number - 1)]).done();
        }
    }
    let second = all[0].ns.path().to_str().unwrap();
    host.netdp(&["attach", "--netns", second, "--name", "c0", "--network", "six"]).done();
    host.netdp(&["detach", "c0", "--network", "bridge"]).done();
    let compared = assert_agree(&host);
    assert_eq!(compared["endpoints"], 9, "{compared}");
    assert!(compared["rows"].as_u64().unwrap() > 40, "{compared}");
    controller.terminate(std::time::Duration::from_secs(5)).done();
    host.up_once();
    assert_agree(&host);
}

#[test]
fn interface_that_is_gone_is_named_with_its_endpoint() {
    let bed = Damaged::new();
    bed.host.ns.sh(&format!("ip link del {}", bed.veth())).done();
    let told = bed.host.netdp(&["check", "--deep"]).exits(1);
    let line = told.stdout.lines().find(|line| line.starts_with("missing   interface nd"));
    assert!(line.is_some_and(|line| line.ends_with("endpoint c1")), "{told}");
    assert_told_and_repaired(&bed.host, &format!("missing interface {}", bed.veth()));
}

#[test]
fn rows_that_are_gone_or_too_many_are_named() {
    let bed = Damaged::new();
    let datapath = bed.datapath();
    let port = bed.entry(|entry| matches!(entry, Entry::Port(key, _) if key.port.get() == 8080));
    datapath.delete(&port).unwrap();
    assert_told_and_repaired(&bed.host, "missing row of port");
    let source = bed.entry(|entry| matches!(entry, Entry::Source(_)));
    datapath.delete(&source).unwrap();
    assert_told_and_repaired(&bed.host, "missing row of source 203.0.113.0/24 of port");
    let endpoint = bed.entry(|entry| matches!(entry, Entry::Endpoint(..)));
    datapath.delete(&endpoint).unwrap();
    assert_told_and_repaired(&bed.host, "missing row of address");
    let Entry::Port(key, backend) = port else { unreachable!() };
    let port = netdp_common::Port::new(9999);
    datapath.put(&Entry::Port(netdp_common::PortKey { port, ..key }, backend)).unwrap();
    assert_told_and_repaired(&bed.host, "surplus row of port");
    datapath.put(&Entry::Port(key, netdp_common::Backend { port, ..backend })).unwrap();
    assert_told_and_repaired(&bed.host, "differs row of port");
    datapath.put(&Entry::HostAddr(std::net::Ipv4Addr::new(192, 0, 2, 77).into(), 1)).unwrap();
    assert_told_and_repaired(&bed.host, "surplus row of the host's address 192.0.2.77");
}

#[test]
fn bridge_and_its_addresses_and_programs_are_compared() {
    let bed = Damaged::new();
    let host = &bed.host;
    host.ns.sh("ip address add 10.77.0.1/24 dev netdp0").done();
    assert_told(host, "surplus address 10.77.0.1/24 of netdp0");
    host.ns.sh("ip address del 10.77.0.1/24 dev netdp0 && ip address del 172.17.0.1/16 dev netdp0").done();
    assert_told_and_repaired(host, "missing address 172.17.0.1/16 of netdp0");
    host.ns.sh("ip link set netdp0 mtu 1280").done();
    assert_told_and_repaired(host, "differs MTU of netdp0");
    host.ns.set_sysctl("net/ipv4/conf/netdp0/forwarding", "0");
    assert_told_and_repaired(host, "differs setting net/ipv4/conf/netdp0/forwarding");
    let shown: Value = host.ns.sh(&format!("ip -j link show {}", bed.veth())).json();
    let number = u32::try_from(shown[0]["ifindex"].as_u64().unwrap()).unwrap();
    let datapath = bed.datapath();
    host.ns.enter(|| datapath.detach(Hook::FromContainer, number)).unwrap();
    assert_told_and_repaired(host, &format!("missing program from_container at {}", bed.veth()));
}

#[test]
fn what_is_inside_a_container_is_compared() {
    let bed = Damaged::new();
    let (host, inside) = (&bed.host, &bed.c1.ns);
    let table = [
        (
            "ip address add 192.0.2.9/32 dev eth0",
            "surplus address 192.0.2.9/32 of eth0 inside",
            "ip address del 192.0.2.9/32 dev eth0",
        ),
        ("ip route del default", "missing default route of IPv4 inside", "ip route add default via $G"),
        ("ip link set eth0 mtu 1400", "differs MTU of eth0 inside", "ip link set eth0 mtu 1500"),
    ];
    let gateway = crate::ways::gateway(&bed.c1);
    for (damage, words, repair) in table {
        inside.sh(damage).done();
        assert_told(host, words);
        inside.sh(&format!("G={gateway}; {repair}")).done();
        assert_agree(host);
    }
    inside.sh("ip address flush dev eth0 scope global").done();
    for words in ["missing address", "missing route to", "missing default route of IPv4 inside"] {
        assert_told(host, words);
    }
    inside.sh("ip link del eth0").done();
    assert_told_and_repaired(host, &format!("missing interface {}", bed.veth()));
}

#[test]
fn ways_by_source_and_routes_of_a_network_are_compared() {
    let bed = Damaged::new();
    let (host, inside) = (&bed.host, &bed.c1.ns);
    let path = inside.path().to_str().unwrap();
    host.netdp(&["network", "create", "-o", "route=10.9.0.0/16", "routed"]).done();
    host.netdp(&["attach", "--netns", path, "--name", "c1", "--network", "routed"]).done();
    assert_agree(host);
    let gateway = bed.c1.attached["NetworkSettings"]["Networks"]["six"]["Gateway"].as_str().unwrap();
    let rule = "from $(ip -o -4 address show eth0 | grep -o '[0-9.]*/' | tr -d /)";
    let table = inside.out("ip rule show pref 30001");
    let table = table.split_whitespace().last().unwrap();
    for (damage, words, repair) in [
        (
            format!("ip rule del pref 30001 {rule}"),
            "missing rule 30001: from ".to_owned(),
            format!("ip rule add pref 30001 {rule} lookup {table}"),
        ),
        (
            "ip rule del pref 30000".to_owned(),
            "missing rule 30000: from 0.0.0.0 lookup 254 inside".to_owned(),
            "ip rule add pref 30000 lookup main suppress_prefixlength 0".to_owned(),
        ),
        (
            format!("ip route flush table {table}"),
            format!("missing default route of table {table} inside"),
            format!("ip route add default via {gateway} dev eth0 table {table}"),
        ),
        (
            format!("ip rule add pref 30001 from 192.0.2.9 lookup {table}"),
            "surplus rule 30001: from 192.0.2.9 lookup".to_owned(),
            "ip rule del pref 30001 from 192.0.2.9".to_owned(),
        ),
    ] {
        inside.sh(&damage).done();
        assert_told(host, &words);
        inside.sh(&repair).done();
        assert_agree(host);
    }
    inside.sh("ip route del 10.9.0.0/16").done();
    assert_told(host, "missing route to 10.9.0.0/16 via ");
    host.netdp(&["detach", "c1", "--network", "routed"]).done();
    assert_agree(host);
}

#[test]
fn prefilter_that_is_gone_is_told_and_one_that_was_refused_is_not() {
    let bed = Damaged::new();
    let host = &bed.host;
    let up = || host.netdp(&["up", "--once", "--prefilter", "native"]);
    up().done();
    assert_agree(host);
    let shown: Value = host.ns.sh("ip -j link show up0").json();
    let number = u32::try_from(shown[0]["ifindex"].as_u64().unwrap()).unwrap();
    let datapath = bed.datapath();
    host.ns.enter(|| datapath.detach_prefilter(number)).unwrap();
    assert_told(host, "missing prefilter at up0");
    up().done();
    assert_agree(host);
    host.ns.enter(|| datapath.detach_prefilter(number)).unwrap();
    // Too much for a frame that is to lie in one page.
    host.ns.sh("ip link set up0 mtu 9000").done();
    bed.bed.outside.ns.sh("ip link set h1 mtu 9000").done();
    up().says("up0 goes without prefilter").done();
    assert_agree(host);
}

#[test]
fn endpoint_whose_namespace_is_gone_is_told_and_is_no_difference() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    drop(bed.container(&host, "c1", &["-p", "8080:80"]));
    tests::process::eventually("its interface is gone", std::time::Duration::from_secs(10), || {
        !host.ns.out("ip -br link").contains("nd")
    });
    host.up_once();
    let report = host.json(&["check", "--deep"]);
    assert_eq!(
        (&report["equal"], &report["gone"][0]),
        (&Value::from(true), &Value::from("c1")),
        "{report:#}"
    );
}

#[test]
fn without_a_datapath_there_is_nothing_to_compare() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.netdp(&["check", "--deep"]).exits(1).says("netdp up").done_failing();
}
