//! Every bad input: a clear error by its exit code, and the host and the database as they were.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use tests::process::Ran;
use tests::snapshot::{Snapshot, database};
use tests::topology::{Bed, Host};

/// Runs netdp, which must fail with this exit code and these words and change nothing.
pub(crate) fn assert_refused(host: &Host, arguments: &[&str], code: i32, words: &str) -> Ran {
    let (before, stored) = (Snapshot::of(host), database(host));
    let ran = host.netdp(arguments).exits(code).says(words);
    assert!(ran.stdout.is_empty(), "an error goes to standard error only\n{ran}");
    assert!(code != 1 || ran.stderr.starts_with("error: "), "{ran}");
    before.assert_still(host);
    assert_eq!(database(host), stored, "the database has changed\n{ran}");
    ran
}

/// A host that is up, with network `blue` (10.5.0.0/24) and endpoint `c1` on it.
fn busy(bed: &Bed) -> (Host, tests::topology::Container) {
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["network", "create", "--subnet", "10.5.0.0/24", "blue"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "blue", "-p", "8080:80", "-p", "5353:53/udp"]);
    (host, c1)
}

#[test]
fn command_lines_that_are_wrong_exit_with_2() {
    let bed = Bed::new();
    let (host, _c1) = busy(&bed);
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["network", "create"],
        &["network", "create", "bad/name"],
        &["network", "create", "-x"],
        &["network", "create", "--subnet", "10.0.0.0/99", "x"],
        &["network", "create", "--subnet", "garbage", "x"],
        &["network", "create", "--gateway", "10.0.0", "x"],
        &["attach", "--name", "x"],
        &["attach", "--netns", "/run/x", "--pid", "1", "--name", "x"],
        &["attach", "--netns", "/run/x", "--name", "-"],
        &["attach", "--netns", "/run/x", "--name", "x", "--ip", "300.1.1.1"],
        &["attach", "--netns", "/run/x", "--name", "x", "--mac-address", "02:42"],
        &["attach", "--netns", "/run/x", "--name", "x", "--ifname", "much-too-long-a-name"],
        &["-o", "yaml", "ps"],
        &["up", "--uplink"],
    ] {
        assert_refused(&host, arguments, 2, "");
    }
}

#[test]
fn garbage_in_publish_is_refused() {
    let bed = Bed::new();
    let (host, _c1) = busy(&bed);
    let c2 = bed.namespace("c2");
    let path = c2.path().to_str().unwrap();
    for spec in [
        "",
        ":",
        "x",
        "0",
        "65536",
        "99999:80",
        "8080:80:70:60",
        "8080:80/icmp",
        "8080:",
        "80-79",
        "8000-8001:80-82",
        "1.2.3:80:80",
        "1.2.3.4.5:80:80",
        "-1",
        "8080 :80",
        "target=80,colour=red",
        "published=8080",
        "target=80,target=81",
        "8080:80/tcp/udp",
        "1.2.3.4:8080",
        "[::1]:80:80:80",
    ] {
        let ran = host.netdp(&["attach", "--netns", path, "--name", "c2", "-p", spec]);
        assert_eq!(ran.code, Some(2), "-p {spec:?}\n{ran}");
    }
    assert_refused(&host, &["attach", "--netns", path, "--name", "c2", "-p", "x"], 2, "invalid");
}

#[test]
fn publish_that_this_version_cannot_serve_is_refused() {
    let bed = Bed::new();
    let (host, _c1) = busy(&bed);
    let c2 = bed.namespace("c2");
    let path = c2.path().to_str().unwrap();
    let spec = "[::1]:8081:80/sctp";
    assert_refused(&host, &["attach", "--netns", path, "--name", "c2", "-p", spec], 1, "not translated");
    for (elsewhere, address) in
        [("192.0.2.77:8081:80", "192.0.2.77"), ("[2001:db8::77]:8081:80", "2001:db8::77")]
    {
        assert_refused(&host, &["attach", "--netns", path, "--name", "c2", "-p", elsewhere], 1, address);
    }
}

#[test]
fn sources_that_make_no_sense_are_refused_by_name() {
    let bed = Bed::new();
    let (host, _c1) = busy(&bed);
    let c2 = bed.namespace("c2");
    let path = c2.path().to_str().unwrap();
    let many: Vec<String> = (0..65).map(|n| format!(",from=10.{n}.0.0/16")).collect();
    for (rest, words) in [
        (",from=", "from= needs a network"),
        (",from", "from= needs a network"),
        (",from=x", "invalid network \"x\" in from="),
        (",from=10.0.0.0/33", "invalid network"),
        (",from=10.0.0.0/8 ", "invalid network"),
        (",from=10.0.0.0/8,from=", "from= needs a network"),
        (",from=10.0.0.1/8", "host bits set: write it as from=10.0.0.0/8"),
        (",from=fd00::1/8", "host bits set: write it as from=fd00::/8"),
        (",from=::ffff:10.0.0.0/104", "write it as IPv4"),
        (",host-ip=203.0.113.10,from=fd00::/8", "from=fd00::/8 can never match"),
        (",host-ip=::1,from=10.0.0.0/8", "from=10.0.0.0/8 can never match"),
        (many.concat().as_str(), "65 networks in from=, and one port may have at most 64"),
    ] {
        let spec = format!("published=8081,target=80{rest}");
        assert_refused(&host, &["attach", "--netns", path, "--name", "c2", "-p", &spec], 2, words);
    }
}

#[test]
fn sources_are_a_part_of_a_port_that_is_compared_and_named() {
    let bed = Bed::new();
    let (host, c1) = busy(&bed);
    let path = c1.ns.path().to_str().unwrap();
    let same = ["attach", "--netns", path, "--name", "c1", "--network", "blue", "-p", "5353:53/udp", "-p"];
    let narrowed = [&same[..], &["published=8080,target=80,from=10.0.0.0/8"]].concat();
    assert_refused(&host, &narrowed, 1, "0.0.0.0:8080->80/tcp");
    host.netdp(&[&same[..], &["8080:80"]].concat()).done();
    let c2 = bed.container(&host, "c2", &["-p", "published=9090,target=80,from=fd00::/8,from=10.0.0.0/8"]);
    let c3 = bed.namespace("c3");
    let taken = ["attach", "--netns", c3.path().to_str().unwrap(), "--name", "c3", "-p", "9090:80"];
    assert_refused(&host, &taken, 1, "0.0.0.0:9090 (from 10.0.0.0/8 fd00::/8)");
    let path = c2.ns.path().to_str().unwrap();
    let widened = ["attach", "--netns", path, "--name", "c2", "-p", "9090:80"];
    assert_refused(&host, &widened, 1, "0.0.0.0:9090->80/tcp (from 10.0.0.0/8 fd00::/8)");
}

#[test]
fn subnets_that_clash_or_are_malformed_are_refused() {
    let bed = Bed::new();
    let (host, _c1) = busy(&bed);
    host.ns.sh("ip route add 10.9.0.0/16 via 203.0.113.1").done();
    for (options, words) in [
        (&["--subnet", "10.5.0.0/24"][..], "overlaps"),
        (&["--subnet", "10.5.0.128/25"], "overlaps"),
        (&["--subnet", "10.0.0.0/8"], "overlaps"),
        (&["--subnet", "10.9.7.0/24"], "overlaps"),
        (&["--subnet", "203.0.113.0/24"], "overlaps"),
        (&["--subnet", "172.17.0.0/16"], "overlaps"),
        (&["--subnet", "10.6.0.7/24"], "host bits"),
        (&["--subnet", "10.6.0.0/32"], "prefix"),
        (&["--subnet", "127.0.0.0/24"], "invalid subnet"),
        (&["--subnet", "224.0.0.0/24"], "invalid subnet"),
        (&["--subnet", "10.6.0.0/24", "--gateway", "10.7.0.1"], "gateway 10.7.0.1 is not in the subnet"),
        (&["--subnet", "10.6.0.0/24", "--gateway", "10.6.0.0"], "network or broadcast"),
        (&["--subnet", "10.6.0.0/24", "--gateway", "10.6.0.255"], "network or broadcast"),
        (&["--gateway", "10.6.0.1"], "needs a --subnet"),
        (&["--subnet", "10.6.0.0/24", "--ip-range", "10.7.0.0/25"], "ip-range"),
        (&["--subnet", "10.6.0.0/24", "--subnet", "10.7.0.0/24"], "not supported"),
        (&["--subnet", "fd00::/64"], "--subnet fd00::/64 is of IPv6"),
        (&["--gateway", "fd00::1"], "--gateway fd00::1 is of IPv6"),
        (&["--ipv4=false"], "IPv4 addresses, IPv6 addresses or both"),
        (&["--ipv6", "--ipv4=false", "--subnet", "10.6.0.0/24"], "--subnet 10.6.0.0/24 is of IPv4"),
        (&["--ipv6", "--subnet", "fd00::1/64"], "the subnet is fd00::/64"),
        (&["--ipv6", "--subnet", "fd00::/128"], "a prefix is /16 to /127 long"),
        (&["--ipv6", "--subnet", "fe80::/64"], "invalid subnet"),
        (&["--ipv6", "--subnet", "ff05::/64"], "invalid subnet"),
        (&["--ipv6", "--subnet", "::/64"], "invalid subnet"),
        (&["--ipv6", "--subnet", "2001:db8:113::/64"], "overlaps 2001:db8:113::/64 of"),
        (&["--ipv6", "--subnet", "2001:db8::/32"], "overlaps"),
        (
            &["--ipv6", "--subnet", "fd00::/64", "--gateway", "fd01::1"],
            "gateway fd01::1 is not in the subnet",
        ),
        (&["--ipv6", "--subnet", "fd00::/64", "--gateway", "fd00::"], "network or broadcast"),
        (&["--ipv6", "--gateway", "fd00::1"], "needs a --subnet"),
        (&["--ipv6", "--subnet", "fd00::/64", "--ip-range", "fd01::/80"], "ip-range"),
        (&["--ipv6", "--subnet", "fd00::/64", "--aux-address", "a=x"], "--aux-address"),
        (&["--ipv6", "-o", "mtu=1279"], "1280"),
        (&["-d", "macvlan"], "a macvlan network needs the interface"),
        (&["-d", "overlay"], "not supported"),
    ] {
        assert_refused(&host, &[&["network", "create"], options, &["green"]].concat(), 1, words);
    }
}

#[test]
fn options_that_are_not_known_are_refused_with_those_that_are() {
    let bed = Bed::new();
    let (host, _c1) = busy(&bed);
    let ran = assert_refused(&host, &["network", "create", "-o", "colour=red", "green"], 1, "colour");
    for known in ["masquerade", "icc", "mtu", "bridge-name"] {
        assert!(ran.stderr.contains(known), "{known}\n{ran}");
    }
    for option in [
        "mtu=7",
        "mtu=x",
        "icc=maybe",
        "host-binding=x",
        "udp-mapping=symmetric",
        "udp-filtering=full-cone",
        "bridge-name=much-too-long-a-name",
    ] {
        let name = option.split('=').next().unwrap();
        assert_refused(&host, &["network", "create", "-o", option, "green"], 1, name);
    }
}

#[test]
fn names_that_are_taken_or_unknown_are_refused() {
    let bed = Bed::new();
    let (host, _c1) = busy(&bed);
    let c2 = bed.namespace("c2");
    let path = c2.path().to_str().unwrap();
    assert_refused(&host, &["network", "create", "blue"], 1, "already exists");
    assert_refused(&host, &["network", "create", "bridge"], 1, "network bridge is pre-made");
    assert_refused(&host, &["attach", "--netns", path, "--name", "c1"], 1, "c1");
    let ran = assert_refused(&host, &["attach", "--netns", path, "--name", "c2", "--network", "blu"], 1, "");
    assert!(ran.stderr.contains("no such network: blu") && ran.stderr.contains("did you mean blue"), "{ran}");
    assert_refused(&host, &["network", "inspect", "nowhere"], 1, "no such network: nowhere");
    assert_refused(&host, &["network", "rm", "nowhere"], 1, "no such network: nowhere");
    assert_refused(&host, &["inspect", "c9"], 1, "did you mean c1");
    assert_refused(&host, &["detach", "nobody"], 1, "no such endpoint: nobody");
    assert_refused(&host, &["port", "nobody"], 1, "no such endpoint: nobody");
    assert_refused(&host, &["port", "c1", "81"], 1, "81/tcp");
    assert_refused(&host, &["detach", "c1", "--network", "bridge"], 1, "not attached");
}

#[test]
fn premade_networks_stay_and_used_ones_too() {
    let bed = Bed::new();
    let (host, _c1) = busy(&bed);
    for name in ["bridge", "host", "none"] {
        assert_refused(&host, &["network", "rm", name], 1, name);
    }
    assert_refused(&host, &["network", "rm", "blue"], 1, "c1");
}

#[test]
fn what_is_no_network_namespace_is_refused() {
    let bed = Bed::new();
    let (host, c1) = busy(&bed);
    let file = bed.file("plain");
    std::fs::write(&file, "").unwrap();
    let gone = bed.file("gone");
    for path in [file.to_str().unwrap(), gone.to_str().unwrap(), "/", "/proc/self/ns/mnt", "/dev/null"] {
        assert_refused(&host, &["attach", "--netns", path, "--name", "x"], 1, path);
    }
    assert_refused(&host, &["attach", "--pid", "4194304", "--name", "x"], 1, "4194304");
    let own = host.ns.path().to_str().unwrap();
    assert_refused(&host, &["attach", "--netns", own, "--name", "x"], 1, "host itself");
    let attached = c1.ns.path().to_str().unwrap();
    assert_refused(&host, &["attach", "--netns", attached, "--name", "other"], 1, "c1");
    assert_refused(
        &host,
        &["attach", "--netns", attached, "--name", "other", "--network", "bridge"],
        1,
        "c1",
    );
}

#[test]
fn addresses_that_cannot_be_had_are_refused() {
    let bed = Bed::new();
    let (host, c1) = busy(&bed);
    let c2 = bed.namespace("c2");
    let path = c2.path().to_str().unwrap();
    let taken = c1.address.to_string();
    for (address, words) in [
        (taken.as_str(), "in use"),
        ("10.5.0.1", "in use"),
        ("10.6.0.9", "not in the subnet"),
        ("10.5.0.0", "network or broadcast"),
        ("10.5.0.255", "network or broadcast"),
    ] {
        let arguments = ["attach", "--netns", path, "--name", "c2", "--network", "blue", "--ip", address];
        assert_refused(&host, &arguments, 1, words);
    }
    let v6 = |network, address| {
        vec!["attach", "--netns", path, "--name", "c2", "--network", network, "--ip6", address]
    };
    assert_refused(&host, &v6("blue", "fd00::2"), 1, "network blue has no IPv6 addresses");
    host.netdp(&["network", "create", "--ipv6", "--ipv4=false", "--subnet", "fd00:5::/64", "six"]).done();
    for (address, words) in
        [("fd00:5::1", "in use"), ("fd00:6::9", "not in the subnet"), ("fd00:5::", "network or broadcast")]
    {
        assert_refused(&host, &v6("six", address), 1, words);
    }
    let v4 = ["attach", "--netns", path, "--name", "c2", "--network", "six", "--ip", "10.5.0.9"];
    assert_refused(&host, &v4, 1, "network six has no IPv4 addresses");
}

#[test]
fn exhausted_pool_is_refused_and_a_detached_address_is_given_again() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["network", "create", "--subnet", "10.5.0.0/30", "tiny"]).done();
    let only = bed.container(&host, "c1", &["--network", "tiny"]);
    assert_eq!(only.address, Ipv4Addr::new(10, 5, 0, 2));
    let c2 = bed.namespace("c2");
    let attach = ["attach", "--netns", c2.path().to_str().unwrap(), "--name", "c2", "--network", "tiny"];
    assert_refused(&host, &attach, 1, "no free address left in 10.5.0.0/30");
    host.netdp(&["detach", "c1"]).done();
    host.netdp(&attach).done();
}

#[test]
fn exhausted_pools_for_networks_are_refused() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    host.ns
        .sh("ip route add 172.16.0.0/12 via 203.0.113.1 && ip route add 192.168.0.0/16 via 203.0.113.1")
        .done();
    assert_refused(&host, &["network", "create", "green"], 1, "--subnet");
}

#[test]
fn port_that_one_of_ours_has_is_refused_with_its_name() {
    let bed = Bed::new();
    let (host, _c1) = busy(&bed);
    let c2 = bed.namespace("c2");
    let attach = ["attach", "--netns", c2.path().to_str().unwrap(), "--name", "c2", "-p"];
    let words = "Bind for 0.0.0.0:8080 failed: port is already allocated";
    let ran = assert_refused(&host, &[&attach[..], &["8080:80"]].concat(), 1, words);
    assert!(ran.stderr.contains("c1"), "{ran}");
    let one = "Bind for 203.0.113.10:8080 failed: port is already allocated";
    assert_refused(&host, &[&attach[..], &["203.0.113.10:8080:80"]].concat(), 1, one);
    assert_refused(&host, &[&attach[..], &["8000-8080:8000-8080"]].concat(), 1, words);
    assert_refused(&host, &[&attach[..], &["9000:80", "-p", "9000:81"]].concat(), 1, "9000");
    host.netdp(&[&attach[..], &["8080:80/udp"]].concat()).done();
}

#[test]
fn port_that_another_program_has_is_refused() {
    let bed = Bed::new();
    let (host, _c1) = busy(&bed);
    let c2 = bed.namespace("c2");
    let attach = ["attach", "--netns", c2.path().to_str().unwrap(), "--name", "c2", "-p"];
    let _tcp = host.ns.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 9000))).unwrap();
    let _one = host.ns.enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 9001))).unwrap();
    let _udp = host.ns.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 9002))).unwrap();
    for (spec, port) in
        [("9000:80", 9000), ("127.0.0.1:9000:80", 9000), ("9001:80", 9001), ("9002:80/udp", 9002)]
    {
        let address = spec.strip_suffix(":9000:80").unwrap_or("0.0.0.0");
        let words = format!("Bind for {address}:{port} failed: port is already allocated");
        assert_refused(&host, &[&attach[..], &[spec]].concat(), 1, &words);
    }
    host.netdp(&[&attach[..], &["9002:80"]].concat()).done();
}

#[test]
fn unknown_uplink_is_refused_and_nothing_is_begun() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let ran = assert_refused(&host, &["up", "--once", "--uplink", "eth7"], 1, "eth7");
    assert!(ran.stderr.contains("up0"), "it names those that there are\n{ran}");
    assert_refused(&host, &["up", "--once", "--uplink", "lo"], 1, "lo");
    assert_refused(&host, &["up", "--uplink", "up0", "--uplink", "eth7"], 1, "eth7");
    assert!(!host.state_dir().join("netdp.db").exists(), "no database of a host that never was up");
}

#[test]
fn second_controller_on_the_same_run_directory_is_refused() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let controller = host.up();
    assert_refused(&host, &["up"], 1, &controller.id().to_string());
    host.up_once();
    controller.kill();
    host.up().terminate(std::time::Duration::from_secs(5)).done();
}

#[test]
fn commands_that_need_the_datapath_say_so_when_it_is_down() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let c1 = bed.namespace("c1");
    let path = c1.path().to_str().unwrap();
    for arguments in [&["attach", "--netns", path, "--name", "c1"][..], &["status"], &["flows"], &["drops"]] {
        assert_refused(&host, arguments, 1, "netdp up");
    }
    host.down();
    host.netdp(&["down"]).done();
}

#[test]
fn names_of_networks_that_are_always_there_are_taken_before_they_are() {
    let bed = Bed::new();
    let host = bed.host("h1");
    for round in ["before", "after"] {
        for name in ["bridge", "host", "none", "default"] {
            let ran = host.netdp(&["network", "create", name]).exits(1);
            assert!(ran.stderr.contains(&format!("network {name} is pre-made")), "{round}: {ran}");
        }
        host.up_once();
    }
    let names = host.json(&["network", "ls"]);
    assert_eq!(names.as_array().unwrap().len(), 3, "{names}");
}

#[test]
fn nobody_but_root_can_hold_a_lock() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let _controller = host.up();
    let modes = || {
        let locks = ["lock", "controller.lock", "resolver.lock"].map(|name| host.run_dir().join(name));
        locks.map(|lock| {
            std::os::unix::fs::PermissionsExt::mode(&lock.metadata().unwrap().permissions()) & 0o777
        })
    };
    assert_eq!(modes(), [0o600; 3]);
    // As an earlier version has left it.
    let lock = host.run_dir().join("lock");
    std::fs::set_permissions(&lock, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    host.netdp(&["network", "create", "blue"]).done();
    assert_eq!(modes(), [0o600; 3]);
}

#[test]
fn bridge_name_of_somebody_elses_interface_is_refused() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.ns.sh("ip link add br9 type veth peer name br9-peer").done();
    host.up_once();
    assert_refused(&host, &["network", "create", "-o", "bridge-name=br9", "green"], 1, "br9");
    assert_refused(&host, &["network", "create", "-o", "bridge-name=up0", "green"], 1, "up0");
    assert_refused(&host, &["network", "create", "-o", "bridge-name=netdp0", "green"], 1, "netdp0");
}

#[test]
fn first_up_on_a_host_with_a_foreign_netdp0_leaves_it_alone() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.ns.sh("ip link add netdp0 type bridge && ip address add 198.51.100.1/24 dev netdp0").done();
    assert_refused(&host, &["up", "--once"], 1, "netdp0");
}

#[test]
fn attach_again_with_other_options_is_told_which_one_differs() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["network", "create", "--subnet", "10.5.0.0/24", "blue"]).done();
    let options = ["--network", "blue", "--ip", "10.5.0.9", "--network-alias", "db", "--gw-priority", "3"];
    let more = ["--hostname", "first", "--label", "tier=front", "--dns", "192.0.2.53", "-p", "8080:80"];
    let c1 = bed.container(&host, "c1", &[options, more].concat());
    let command = ["attach", "--netns", c1.ns.path().to_str().unwrap(), "--name", "c1"];
    let again = |options: &[&'static str]| [&command[..], options].concat();
    let stored = database(&host);
    assert_eq!(host.json(&again(&[options, more].concat())), c1.attached);
    let without = again(&[&options[..], &["-p", "8080:80"]].concat());
    assert_eq!(host.json(&without), c1.attached, "of the endpoint nothing need be said again");
    assert_eq!(database(&host), stored);
    for (other, words) in [
        (&["--network-alias", "web"][..], "with these aliases: db"),
        (&["--sysctl", "net.ipv4.conf.IFNAME.log_martians=1"], "with these sysctls: none"),
        (&["--mac-address", "02:00:00:00:00:09"], "with the MAC 02:42:0a:05:00:09"),
        (&["--ifname", "lan0"], "with the interface eth0"),
        (&["--hostname", "second"], "with the hostname first"),
        (&["--label", "tier=back"], "with these labels: tier=front"),
        (&["--expose", "81"], "with these exposed ports: none"),
        (&["--dns-search", "lan"], "with these DNS search domains: none"),
        (&["--dns-opt", "ndots:1"], "with these DNS options: none"),
        (&["-p", "8081:81"], "with these published ports: 0.0.0.0:8080->80/tcp"),
    ] {
        let ran = assert_refused(&host, &[&without, other].concat(), 1, words);
        assert!(ran.stderr.contains("netdp detach it first"), "{ran}");
    }
    let options = ["--network", "blue", "--network-alias", "db", "-p", "8080:80"];
    assert_refused(&host, &again(&options), 1, "with the gw-priority 3");
    let further = again(&["--network", "bridge", "--hostname", "second"]);
    assert_refused(&host, &further, 1, "endpoint c1 is there already, with the hostname first");
    host.netdp(&again(&["--network", "bridge", "--hostname", "first"])).done();
}
