//! Configuration files that cannot be: named by line and key, and nothing is touched.

use std::fs;
use std::path::Path;

use tests::snapshot::Snapshot;
use tests::topology::{Bed, Host};

fn up(host: &Host, file: &Path) -> tests::process::Ran {
    host.netdp(&["up", "--once", "-c", file.to_str().unwrap()])
}

fn names(directory: &Path) -> Vec<String> {
    let all = fs::read_dir(directory).into_iter().flatten();
    all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn wrong_file_is_refused_with_its_line_and_nothing_is_touched() {
    let bed = Bed::new();
    let (host, file) = (bed.host("h1"), bed.file("netdp.toml"));
    // Mounts are those of other tests too.
    let before = Snapshot::of(&host).without("mounts");
    for (text, said) in [
        ("mtu = 1400\nbipp = \"10.0.0.1/8\"\n", "netdp.toml:2: unknown key \"bipp\""),
        ("icc = \"yes\"", "netdp.toml:1: invalid value of icc: \"yes\", and it takes true or false"),
        (
            "\nbip = \"10.0.0.1/40\"",
            "netdp.toml:2: invalid value of bip: \"10.0.0.1/40\", and it takes an IPv4 address",
        ),
        ("bridge = \"br0\"\nbip = \"10.0.0.1/8\"", "netdp.toml:2: bip: bridge and bip exclude each other"),
        (
            "[network.a]\nsubnet = \"10.7.0.0/16\"\n[network.b]\nsubnet = \"10.7.8.0/24\"",
            "netdp.toml:3: network.b.subnet: 10.7.8.0/24 overlaps 10.7.0.0/16 of network.a (line 1)",
        ),
        ("[network.a]\noptions = { colour = 1 }", "netdp.toml:1: network a: unknown option \"colour\""),
        ("[network.a]\nsubnet = \"10.7.0.1/16\"", "netdp.toml:1: network a: invalid subnet 10.7.0.1/16"),
        ("[network.host]", "netdp.toml:1: network.host: it is pre-made"),
        (
            "[network.blue]\n[endpoint.web]\nnetns = \"/none\"\nnetwork = \"blau\"",
            "netdp.toml:4: endpoint.web.network: no such network: blau",
        ),
        (
            "[network.a]\nsubnet = \"10.7.0.0/16\"\n[endpoint.web]\nnetns = \"/none\"\n[endpoint.web.network.a]\nip = \"10.8.0.1\"",
            "netdp.toml:5: endpoint web in network a: address 10.8.0.1 is not in the subnet 10.7.0.0/16",
        ),
        ("{ \"mtu\": 1400,\n \"mtu\": 1500 }", "netdp.toml:2: mtu is there twice"),
        ("x = [", "netdp.toml:1: "),
    ] {
        fs::write(&file, text).unwrap();
        up(&host, &file).exits(1).says(said).done_failing();
        host.netdp(&["up", "--dry-run", "-c", file.to_str().unwrap()]).exits(1).says(said).done_failing();
        assert!(names(&host.state_dir()).is_empty(), "{text}: {:?}", names(&host.state_dir()));
    }
    fs::write(&file, b"mtu = 1400\n\xff\n").unwrap();
    up(&host, &file).exits(1).says("netdp.toml:2: this is no UTF-8 text").done_failing();
    fs::write(&file, "#".repeat(5 << 20)).unwrap();
    up(&host, &file).exits(1).says("is larger than").done_failing();
    up(&host, bed.dir()).exits(1).says("cannot read the configuration file").done_failing();
    up(&host, Path::new("/none/netdp.toml")).exits(1).says("No such file").done_failing();
    before.assert_still(&host);
}

#[test]
fn option_beats_the_environment_and_both_beat_the_file() {
    let bed = Bed::new();
    let (host, one, two) = (bed.host("h1"), bed.file("one.toml"), bed.file("two.toml"));
    fs::write(&one, "uplinks = [\"none1\"]").unwrap();
    fs::write(&two, "uplinks = [\"none2\"]").unwrap();
    let run = |arguments: &[&str]| tests::process::run(host.command(arguments).env("NETDP_CONFIG", &one));
    run(&["up", "--once"]).exits(1).says("none1").done_failing();
    run(&["up", "--once", "-c", two.to_str().unwrap()]).exits(1).says("none2").done_failing();
    run(&["up", "--once", "--uplink", "none3"]).exits(1).says("none3").done_failing();
}

#[test]
fn daemon_json_of_docker_is_taken_as_it_is() {
    let bed = Bed::new();
    let (host, file) = (bed.host("h1"), bed.file("daemon.json"));
    fs::write(&file, "{ \"log-driver\": \"local\", \"iptables\": false, \"bip\": \"172.29.0.1/24\", \"dns\": [\"192.0.2.53\"],\n \"default-address-pools\": [{ \"base\": \"10.33.0.0/16\", \"size\": 26 }] }").unwrap();
    up(&host, &file).done();
    let ran = host.netdp(&["-v", "up", "--once", "-c", file.to_str().unwrap()]);
    ran.says("not about networks, and left alone: log-driver").says("iptables has no effect in netdp").done();
    host.netdp(&["network", "create", "blue"]).done();
    let subnet =
        |name: &str| host.json(&["network", "inspect", name])[0]["IPAM"]["Config"][0]["Subnet"].clone();
    assert_eq!((subnet("bridge"), subnet("blue")), ("172.29.0.0/24".into(), "10.33.0.0/26".into()));
    let nothing = host.netdp(&["up", "--dry-run", "-c", file.to_str().unwrap()]);
    assert!(nothing.stdout.starts_with("nothing to do"), "{nothing}");
}

#[test]
fn new_networks_have_the_default_options_that_they_are_not_told() {
    let bed = Bed::new();
    let (host, file) = (bed.host("h1"), bed.file("netdp.toml"));
    let declared = "[network.front]\noptions = { icc = true }\n";
    let defaults =
        "[default-network-opts.bridge]\n\"com.docker.network.driver.mtu\" = \"1234\"\nicc = false\n";
    fs::write(&file, format!("{defaults}{declared}")).unwrap();
    up(&host, &file).done();
    host.netdp(&["network", "create", "-o", "bridge-name=blue0", "blue"]).done();
    host.netdp(&["network", "create", "-o", "bridge-name=small0", "-o", "mtu=1300", "small"]).done();
    let has = |device: &str, mtu: u32| {
        let shown = host.ns.out(&format!("ip -o link show dev {device}"));
        assert!(shown.contains(&format!(" mtu {mtu} ")), "{shown}");
    };
    has("blue0", 1234);
    has("small0", 1300);
    has("netdp0", 1500);
    let options = |name: &str| host.json(&["network", "inspect", name])[0]["Options"].clone();
    assert_eq!(options("front")["icc"], "true");
    assert_eq!(options("front")["com.docker.network.driver.mtu"], "1234");
    assert_eq!(options("small")["com.docker.network.driver.mtu"], serde_json::Value::Null);
    let nothing = host.netdp(&["up", "--dry-run", "-c", file.to_str().unwrap()]);
    assert!(nothing.stdout.starts_with("nothing to do"), "{nothing}");
    fs::write(&file, "").unwrap();
    up(&host, &file).done();
    host.netdp(&["network", "create", "-o", "bridge-name=green0", "green"]).done();
    has("green0", 1500);
    // Those that are there stay as they are.
    has("blue0", 1234);
}

#[test]
fn limits_and_timers_that_leave_the_file_are_as_at_first_and_those_set_by_hand_stay() {
    let bed = Bed::new();
    let (host, file) = (bed.host("h1"), bed.file("netdp.toml"));
    fs::write(&file, "[limits]\nflows = 100\nports = 200\n[timers]\nicmp = 90\n").unwrap();
    up(&host, &file).done();
    host.netdp(&["limits", "set", "half-open=50", "ports=300"]).done();
    let value = |command: &str, name: &str, key: &str| {
        let table = host.json(&[command, "ls"]);
        table.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap()[key].clone()
    };
    assert_eq!(
        (value("limits", "flows", "value"), value("timers", "icmp", "seconds")),
        (100.into(), 90.into())
    );
    fs::write(&file, "[limits]\nhalf-open = 50\n").unwrap();
    up(&host, &file).done();
    for (command, name, key) in [("limits", "flows", "value"), ("timers", "icmp", "seconds")] {
        assert_eq!(value(command, name, key), value(command, name, "default"), "{name}");
    }
    assert_eq!(value("limits", "ports", "value"), 300);
    assert_eq!(value("limits", "half-open", "value"), 50);
    host.netdp(&["check", "--deep"]).done();
}
