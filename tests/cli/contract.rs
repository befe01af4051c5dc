//! Words, exit codes and JSON keys that scripts rely on.

use serde_json::Value;
use tests::process::Service;
use tests::server::{Server, ask_udp, assert_served};
use tests::topology::{Bed, Container, Host};

fn up(bed: &Bed) -> (Host, Container) {
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(
        &host,
        "c1",
        &["-p", "8080:80", "-p", "203.0.113.10:5353:53/udp", "-p", "9000-9001:90-91"],
    );
    (host, c1)
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}")).keys().map(String::as_str).collect()
}

fn assert_keys(value: &Value, wanted: &[&str]) {
    for key in wanted {
        assert!(keys(value).contains(key), "{key} is missing in {value:#}");
    }
}

#[test]
fn help_of_every_command_names_it_and_exits_with_0() {
    let bed = Bed::new();
    let host = bed.host("h1");
    for command in [
        "up",
        "down",
        "status",
        "check",
        "network",
        "network create",
        "network ls",
        "network inspect",
        "network rm",
        "attach",
        "detach",
        "ps",
        "inspect",
        "port",
        "flows",
    ] {
        let words: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let ran = host.netdp(&words).ok();
        assert!(ran.stdout.contains(&format!("netdp {command}")) && ran.stderr.is_empty(), "{ran}");
    }
    let all = host.netdp(&["--help"]).ok();
    for word in
        ["--run-dir", "--state-dir", "NETDP_RUN_DIR", "NETDP_STATE_DIR", "/run/netdp", "/var/lib/netdp"]
    {
        assert!(all.stdout.contains(word), "{word}\n{all}");
    }
    let version = host.netdp(&["--version"]).ok();
    assert!(version.stdout.starts_with("netdp "), "{version}");
}

#[test]
fn port_prints_dockers_lines() {
    let bed = Bed::new();
    let (host, _c1) = up(&bed);
    let lines = host.netdp(&["port", "c1"]).ok().stdout;
    for line in [
        "80/tcp -> 0.0.0.0:8080",
        "53/udp -> 203.0.113.10:5353",
        "90/tcp -> 0.0.0.0:9000",
        "91/tcp -> 0.0.0.0:9001",
    ] {
        assert!(lines.lines().any(|l| l == line), "{line} is missing in\n{lines}");
    }
    assert_eq!(lines.lines().count(), 4);
    assert_eq!(host.netdp(&["port", "c1", "80"]).ok().stdout, "0.0.0.0:8080\n");
    assert_eq!(host.netdp(&["port", "c1", "53/udp"]).ok().stdout, "203.0.113.10:5353\n");
}

#[test]
fn sources_of_a_port_are_shown_wherever_its_ports_are() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let spec = "published=9000-9001,target=90-91,protocol=udp,from=fd00::/8,from=10.0.0.0/8,from=192.0.2.7";
    let _c1 = bed.container(&host, "c1", &["-p", spec, "-p", "8080:80"]);
    let list = serde_json::json!(["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"]);
    let ports = host.json(&["port", "c1"]);
    assert_eq!(ports["90/udp"][0]["From"], list);
    assert_eq!(ports["80/tcp"][0].get("From"), None, "a port for everybody looks as Docker's do");
    assert_eq!(host.json(&["port", "c1", "91/udp"])[0]["From"], list);
    assert_eq!(host.json(&["inspect", "c1"])["NetworkSettings"]["Ports"], ports);
    let table = host.netdp(&["ps"]).ok().stdout;
    assert!(table.contains("0.0.0.0:9001->91/udp (from 10.0.0.0/8 192.0.2.7/32 fd00::/8)"), "{table}");
    assert!(
        host.netdp(&["port", "c1"]).ok().stdout.contains("90/udp -> 0.0.0.0:9000\n"),
        "as Docker prints it"
    );
}

#[test]
fn network_inspect_has_dockers_keys() {
    let bed = Bed::new();
    let (host, c1) = up(&bed);
    let id = host
        .netdp(&["network", "create", "--label", "a=b", "-o", "com.docker.network.driver.mtu=1400", "blue"])
        .ok();
    assert_eq!(id.stdout.trim().len(), 64, "{id}");
    let shown = host.json(&["network", "inspect", "bridge", "blue"]);
    let docker = [
        "Name",
        "Id",
        "Created",
        "Scope",
        "Driver",
        "EnableIPv4",
        "EnableIPv6",
        "IPAM",
        "Internal",
        "Containers",
        "Options",
        "Labels",
    ];
    for network in shown.as_array().unwrap() {
        assert_keys(network, &docker);
        assert_keys(&network["IPAM"], &["Driver", "Options", "Config"]);
        assert_keys(&network["IPAM"]["Config"][0], &["Subnet", "Gateway"]);
    }
    let members = shown[0]["Containers"].as_object().unwrap();
    let member = members.values().next().unwrap();
    assert_keys(member, &["Name", "EndpointID", "MacAddress", "IPv4Address", "IPv6Address"]);
    assert_eq!((member["Name"].as_str(), members.len()), (Some("c1"), 1));
    assert_eq!(member["IPv4Address"], format!("{}/16", c1.address));
    assert_eq!(shown[1]["Labels"]["a"], "b");
    assert_eq!(shown[1]["Id"], id.stdout.trim());
}

#[test]
fn attach_prints_what_inspect_prints() {
    let bed = Bed::new();
    let (host, c1) = up(&bed);
    let inspected = host.json(&["inspect", "c1"]);
    assert_eq!(inspected, c1.attached);
    assert_keys(&inspected, &["Id", "Name", "NetworkSettings"]);
    let network = &inspected["NetworkSettings"]["Networks"]["bridge"];
    assert_keys(network, &["IPAddress", "MacAddress", "Gateway", "NetworkID", "EndpointID", "IPPrefixLen"]);
    assert_eq!(network["IPAddress"], c1.address.to_string());
    let ports = &inspected["NetworkSettings"]["Ports"];
    assert_eq!(ports["80/tcp"][0]["HostPort"], "8080");
    assert_eq!(ports["80/tcp"][0]["HostIp"], "0.0.0.0");
    let listed = host.json(&["ps"]);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["Id"], inspected["Id"]);
}

#[test]
fn unique_beginning_of_an_id_serves_as_a_name() {
    let bed = Bed::new();
    let (host, c1) = up(&bed);
    let id = c1.attached["Id"].as_str().unwrap();
    for length in [6, 12, 64] {
        assert_eq!(host.json(&["inspect", &id[..length]])["Name"], "c1");
    }
    host.netdp(&["inspect", ""]).exits(1).done_failing();
    host.netdp(&["detach", &id[..12]]).done();
    assert_eq!(host.json(&["ps"]), serde_json::json!([]));
}

#[test]
fn status_says_what_is_up() {
    let bed = Bed::new();
    let (host, _c1) = up(&bed);
    let status = host.json(&["status"]);
    assert_keys(&status, &["controller", "hooks", "networks", "endpoints", "flows", "drops"]);
    assert_eq!(status["controller"]["running"], false);
    let mut hooks: Vec<String> = status["hooks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hook| {
            assert!(hook["program_id"].as_u64().is_some(), "{hook}");
            format!(
                "{} {}",
                hook["hook"].as_str().unwrap(),
                hook["interface"].as_str().unwrap().get(..2).unwrap()
            )
        })
        .collect();
    hooks.sort();
    let all = [
        "from_container nd",
        "from_fragments ne",
        "from_host lo",
        "from_uplink up",
        "to_bridge ne",
        "to_uplink up",
    ];
    assert_eq!(hooks, all);
    let reasons: Vec<_> =
        status["drops"].as_array().unwrap().iter().filter_map(|drop| drop["reason"].as_str()).collect();
    for reason in ["direct_routing", "inter_network", "invalid_source_ip", "ct_table_full"] {
        assert!(reasons.contains(&reason), "{reason} is missing in {reasons:?}");
    }
    let controller = host.up();
    let status = host.json(&["status"]);
    assert_eq!(status["controller"]["pid"], controller.id());
    host.netdp(&["status"]).done();
    host.down();
    assert_ne!(host.netdp(&["status"]).code, Some(0));
}

#[test]
fn flows_show_both_tuples_and_counts() {
    let bed = Bed::new();
    let (host, c1) = up(&bed);
    let _server = Server::start(&bed.outside.ns, 80);
    let answer = ask_udp(&c1.ns, 4000, (bed.outside.address, 80)).unwrap();
    let flows = host.json(&["flows"]);
    assert_eq!(flows.as_array().map(Vec::len), Some(1), "{flows:#}");
    let text = flows.to_string();
    for part in [
        c1.address.to_string(),
        host.address.to_string(),
        "c1".to_owned(),
        "udp".to_owned(),
        "replied".to_owned(),
    ] {
        assert!(text.contains(&part), "{part} is missing in {flows:#}");
    }
    assert_eq!(answer.seen.port(), 4000);
    let table = host.netdp(&["flows"]).ok().stdout;
    assert!(table.contains(&format!("{}:4000", c1.address)) && table.lines().count() == 2, "{table}");
}

#[test]
fn check_names_every_need_and_changes_nothing() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let before = tests::snapshot::Snapshot::of(&host);
    let rows = host.json(&["check"]);
    before.assert_still(&host);
    assert!(rows.as_array().unwrap().len() > 5, "{rows:#}");
    host.netdp(&["check"]).done();
    assert!(!host.run_dir().exists() && !host.state_dir().exists());
}

#[test]
fn commands_are_safe_to_repeat() {
    let bed = Bed::new();
    let (host, c1) = up(&bed);
    let path = c1.ns.path().to_str().unwrap();
    let again = [
        "attach",
        "--netns",
        path,
        "--name",
        "c1",
        "-p",
        "8080:80",
        "-p",
        "203.0.113.10:5353:53/udp",
        "-p",
        "9000-9001:90-91",
    ];
    assert_eq!(host.json(&again), c1.attached);
    host.up_once();
    assert_eq!(host.json(&["inspect", "c1"]), c1.attached);
    let otherwise = ["attach", "--netns", path, "--name", "c1", "-p", "8081:80"];
    host.netdp(&otherwise).exits(1).says("c1").done_failing();
    host.down();
    host.down();
}

#[test]
fn endpoint_joins_a_second_network_and_leaves_one_of_them() {
    let bed = Bed::new();
    let (host, c1) = up(&bed);
    host.netdp(&["network", "create", "blue"]).done();
    let path = c1.ns.path().to_str().unwrap();
    host.netdp(&["attach", "--netns", path, "--name", "c1", "--network", "blue"]).done();
    let in_blue = tests::topology::address_of(&c1.ns, "eth1");
    let c2 = bed.container(&host, "c2", &["--network", "blue"]);
    let _server = Server::start(&c1.ns, 80);
    assert_served(&c2.ns, (in_blue, 80), "c1");
    host.netdp(&["detach", "c1", "--network", "blue"]).done();
    tests::server::assert_refused(&c2.ns, (in_blue, 80));
    let shown = c1.ns.out("ip -o link show");
    assert!(shown.contains("eth0") && !shown.contains("eth1"), "{shown}");
    c1.ns.sh(&format!("ping -n -q -c 1 -W 10 {}", bed.outside.address)).done();
}

#[test]
fn given_address_mac_and_interface_name_are_used() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["network", "create", "--subnet", "10.5.0.0/24", "--gateway", "10.5.0.254", "blue"]).done();
    let ns = bed.namespace("c1");
    let path = ns.path().to_str().unwrap();
    let options =
        ["--network", "blue", "--ip", "10.5.0.77", "--mac-address", "02:00:00:00:00:77", "--ifname", "wan5"];
    host.netdp(&[&["attach", "--netns", path, "--name", "c1"][..], &options].concat()).done();
    assert_eq!(tests::topology::address_of(&ns, "wan5").to_string(), "10.5.0.77");
    let shown = ns.out("ip link show wan5; ip route show default");
    assert!(shown.contains("02:00:00:00:00:77") && shown.contains("via 10.5.0.254"), "{shown}");
    ns.sh("ping -n -q -c 1 -W 10 10.5.0.254").done();
    ns.sh(&format!("ping -n -q -c 1 -W 10 {}", bed.outside.address)).done();
}

#[test]
fn process_id_stands_for_its_namespace() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let ns = bed.namespace("c1");
    let sleeper = Service::start(ns.command("sleep").arg("60"));
    host.netdp(&["attach", "--pid", &sleeper.id().to_string(), "--name", "c1"]).done();
    ns.sh(&format!("ping -n -q -c 1 -W 10 {}", bed.outside.address)).done();
}

#[test]
fn environment_names_the_directories_and_an_option_beats_it() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let mut command = host.ns.command(tests::topology::netdp_binary());
    command.env("NETDP_RUN_DIR", host.run_dir()).env("NETDP_STATE_DIR", host.state_dir());
    tests::process::run(command.arg("status")).done();
    let mut command = host.ns.command(tests::topology::netdp_binary());
    command.env("NETDP_RUN_DIR", host.run_dir()).env("NETDP_STATE_DIR", host.state_dir());
    let elsewhere = bed.file("elsewhere");
    tests::process::run(command.arg("--run-dir").arg(elsewhere).arg("status")).exits(1).done_failing();
}

#[test]
fn pools_avoid_routes_and_addresses_of_the_host() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.ns.sh("ip route add 172.17.0.0/24 via 203.0.113.1 && ip address add 172.18.5.5/24 dev up0").done();
    host.up_once();
    let shown = host.json(&["network", "inspect", "bridge"]);
    assert_eq!(shown[0]["IPAM"]["Config"][0]["Subnet"], "172.19.0.0/16", "{shown:#}");
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    let bed = Bed::new();
    let (host, _c1) = up(&bed);
    let line = format!(
        "set -o pipefail; {} --run-dir {} --state-dir {} -o json status | head -c 1",
        tests::topology::netdp_binary().display(),
        host.run_dir().display(),
        host.state_dir().display()
    );
    tests::process::run(host.ns.command("bash").args(["-c", &line])).done();
}
