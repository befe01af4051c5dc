//! A file that declares networks and endpoints: what `netdp up` makes of it, with traffic.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tests::namespace::Namespace;
use tests::process::{Service, eventually};
use tests::server::{Server, assert_refused, assert_served, assert_served_at};
use tests::topology::{Bed, Host};

/// A host with a file that can be written anew.
struct Configured {
    file: PathBuf,
    web: Namespace,
    db: Namespace,
    host: Host,
    bed: Bed,
}

fn configured() -> Configured {
    let bed = Bed::new();
    let (host, file) = (bed.host("h1"), bed.file("netdp.toml"));
    let (web, db) = (bed.namespace("web"), bed.namespace("db"));
    Configured { file, web, db, host, bed }
}

impl Configured {
    fn write(&self, text: &str) {
        fs::write(&self.file, text).unwrap();
    }

    fn path(&self) -> &str {
        self.file.to_str().unwrap()
    }

    fn up(&self) {
        self.host.netdp(&["up", "--once", "-c", self.path()]).done();
    }

    fn dry_run(&self) -> Value {
        self.host.json(&["up", "--dry-run", "-c", self.path()])
    }

    fn refused(&self, said: &str) {
        self.host.netdp(&["up", "--once", "-c", self.path()]).exits(1).says(said).done_failing();
    }

    /// Two networks and three endpoints; the namespace of the third is not there yet.
    fn whole(&self, ports: &str, icc: bool) -> String {
        let (web, db) = (self.web.path().display(), self.db.path().display());
        let late = self.bed.dir().join("late").display().to_string();
        format!(
            r#"
bip = "172.30.0.1/16"
default-address-pools = [{{ base = "10.44.0.0/16", size = 24 }}]

[network.front]
options = {{ icc = {icc} }}
labels = {{ tier = "front" }}

[network.back]
subnet = "10.45.0.0/24"
internal = true

[endpoint.web]
netns = "{web}"
publish = {ports}
network = ["front", "back"]

[endpoint.db]
netns = "{db}"
[endpoint.db.network.back]
ip = "10.45.0.77"
alias = "sql"

[endpoint.late]
netns = "{late}"
network = "front"
"#
        )
    }
}

fn actions(plan: &Value) -> Vec<String> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let row = |row: &Value| format!("{} {} {}", text(row, "action"), text(row, "kind"), text(row, "name"));
    plan.as_array().unwrap().iter().map(row).collect()
}

fn network(host: &Host, name: &str) -> Value {
    host.json(&["network", "inspect", name])[0].clone()
}

fn entries(directory: &Path) -> Vec<String> {
    let names =
        fs::read_dir(directory).map(|all| all.map(|it| it.unwrap().file_name().into_string().unwrap()));
    names.map(Iterator::collect).unwrap_or_default()
}

#[test]
fn file_is_brought_about_changed_and_taken_back() {
    let it = configured();
    it.write(&it.whole("[\"8080:80\", \"8080:80/udp\"]", true));
    let plan = actions(&it.dry_run());
    for step in [
        "create network front",
        "create network back",
        "attach endpoint web",
        "wait endpoint late",
        "load programs netdp",
        "create bridge netdp0",
    ] {
        assert!(plan.iter().any(|row| row == step), "{step} is not in {plan:?}");
    }
    assert!(
        entries(&it.host.run_dir()).is_empty() && entries(&it.host.state_dir()).is_empty(),
        "nothing is touched"
    );
    it.up();
    assert_eq!(network(&it.host, "bridge")["IPAM"]["Config"][0]["Subnet"], "172.30.0.0/16");
    assert_eq!(network(&it.host, "front")["IPAM"]["Config"][0]["Subnet"], "10.44.0.0/24");
    let outside = &it.bed.outside.ns;
    let _servers = [Server::start(&it.web, 80), Server::start(&it.db, 80)];
    assert_served(outside, (it.host.address, 8080), "web");
    assert_served(&it.web, (Ipv4Addr::new(10, 45, 0, 77), 80), "db");
    assert_eq!(actions(&it.dry_run()), ["wait endpoint late"], "the same file changes nothing");
    // Ports and what the rows of the endpoints say follow at once.
    it.write(&it.whole("[\"8081:80\", \"8081:80/udp\"]", false));
    let plan = actions(&it.dry_run());
    assert!(plan.contains(&"change network front".to_owned()), "{plan:?}");
    assert!(plan.contains(&"change endpoint web".to_owned()), "{plan:?}");
    it.up();
    assert_served(outside, (it.host.address, 8081), "web");
    assert_refused(outside, (it.host.address, 8080));
    assert_eq!(network(&it.host, "front")["Options"]["icc"], "false");
    // What a network in use cannot become is refused with the names, and nothing is changed.
    let other = it
        .whole("[\"8082:80\"]", true)
        .replace("10.45.0.0/24", "10.46.0.0/24")
        .replace("10.45.0.77", "10.46.0.77");
    it.write(&other);
    it.refused("these are attached: web, db");
    assert_served(outside, (it.host.address, 8081), "web");
    assert_eq!(network(&it.host, "front")["Options"]["icc"], "false");
    // By hand.
    it.host.netdp(&["network", "create", "hand"]).done();
    it.write("bip = \"172.30.0.1/16\"\n");
    it.up();
    assert_refused(outside, (it.host.address, 8081));
    let names = |list: &Value| -> Vec<String> {
        list.as_array()
            .unwrap()
            .iter()
            .map(|row| row["Name"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let mut left = names(&it.host.json(&["network", "ls"]));
    left.sort();
    assert_eq!(left, ["bridge", "hand", "host", "none"]);
    assert!(it.host.json(&["ps", "-a"]).as_array().unwrap().is_empty());
    assert!(!it.web.out("ip -o link").contains("eth0"), "its interfaces are gone");
}

#[test]
fn endpoint_is_attached_when_its_namespace_appears() {
    let it = configured();
    it.write(&it.whole("[\"8080:80\", \"8080:80/udp\"]", true));
    let late = it.bed.dir().join("late");
    let controller = Service::start(&mut it.host.command(&["up", "-c", it.path()]));
    let attached = |name: &str| it.host.json(&["ps"]).to_string().contains(name);
    eventually("those that can be are attached", Duration::from_secs(20), || {
        attached("\"web\"") && attached("\"db\"")
    });
    assert!(!attached("\"late\""));
    let waits = format!("endpoint late is declared, and waits for {} to appear", late.display());
    assert_eq!(it.host.json(&["status"])["warnings"], serde_json::json!([waits]));
    let appears = it.bed.namespace("late");
    assert_eq!(appears.path(), late);
    eventually("the late one is attached", Duration::from_secs(20), || attached("\"late\""));
    controller.terminate(Duration::from_secs(10)).done();
    let _server = Server::start(&it.web, 80);
    let config = network(&it.host, "front")["Containers"].to_string();
    assert!(config.contains("\"late\""), "{config}");
    assert_served(&it.bed.outside.ns, (it.host.address, 8080), "web");
}

#[test]
fn default_network_follows_its_keys_as_long_as_nobody_is_attached() {
    let it = configured();
    it.write("{ \"bip\": \"172.31.7.1/24\", \"mtu\": 1400, \"icc\": false, \"ip\": \"127.0.0.1\", \"log-level\": \"warn\" }");
    it.up();
    let bridge = it.host.ns.out("ip -o address show netdp0") + &it.host.ns.out("ip -o link show netdp0");
    assert!(bridge.contains("172.31.7.1/24") && bridge.contains("mtu 1400"), "{bridge}");
    it.write("{ \"bip\": \"172.31.8.1/24\", \"fixed-cidr\": \"172.31.8.128/25\" }");
    it.up();
    let bridge = it.host.ns.out("ip -o address show netdp0");
    assert!(bridge.contains("172.31.8.1/24") && !bridge.contains("172.31.7.1"), "{bridge}");
    let c1 = it.bed.container(&it.host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    assert!(c1.address.octets()[3] >= 128, "{}", c1.address);
    let _server = Server::start(&c1.ns, 80);
    assert_served(&it.bed.outside.ns, (it.host.address, 8080), "c1");
    it.write("{\n \"mtu\": 1300,\n \"bip\": \"172.31.9.1/24\"\n}");
    it.refused("netdp.toml:2: the default network: mtu is to be 1300 instead of not set");
    it.refused("these are attached: c1");
    assert_served(&it.bed.outside.ns, (it.host.address, 8080), "c1");
    assert!(it.host.ns.out("ip -o address show netdp0").contains("172.31.8.1/24"));
}

#[test]
fn default_network_has_ipv6_or_is_none_at_all() {
    let it = configured();
    it.write("ipv6 = true\nbip6 = \"fd00:77::1/64\"\n");
    it.up();
    assert!(it.host.ns.out("ip -6 -o address show netdp0").contains("fd00:77::1/64"));
    assert_eq!(it.dry_run(), serde_json::json!([]));
    let c1 = it.bed.container(&it.host, "c1", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let _server = Server::start_dual(&c1.ns, 80);
    assert_served_at(&it.bed.outside.ns, (it.host.address6, 8080).into(), "c1");
    it.write("bridge = \"none\"\n");
    it.refused("netdp.toml:1: the default network: bridge = \"none\"");
    it.host.netdp(&["detach", "c1"]).done();
    it.up();
    assert!(!it.host.ns.out("ip -o link").contains("netdp0"));
    it.host.netdp(&["network", "inspect", "bridge"]).exits(1).says("no such network: bridge").done_failing();
    it.write("");
    it.up();
    assert!(it.host.ns.out("ip -o link").contains("netdp0"), "it is made again");
}

#[test]
fn what_was_made_by_hand_is_left_alone() {
    let it = configured();
    it.host.up_once();
    it.host.netdp(&["network", "create", "--subnet", "10.47.0.0/24", "back"]).done();
    let web = it.web.path().to_str().unwrap();
    let attach = ["attach", "--netns", web, "--name", "web", "--network", "back", "--label", "tier=front"];
    it.host.netdp(&attach).done();
    it.write(&it.whole("[\"8080:80\"]", true));
    it.refused(
        "network back: it was made by hand, and otherwise: internal is to be true instead of false; subnet",
    );
    let same = format!(
        "[network.back]\nsubnet = \"10.47.0.0/24\"\n[endpoint.web]\nnetns = \"{web}\"\nnetwork = \"back\"\n"
    );
    it.write(&format!("{same}publish = \"8080:80\"\n"));
    it.refused("endpoint web in network back: it was attached by hand, and otherwise: ports");
    it.write(&format!("{same}hostname = \"other\"\n"));
    it.refused("endpoint web: it was attached by hand, and has the hostname");
    it.write(&same);
    it.up();
    assert_eq!(it.host.json(&["inspect", "web"])["Config"]["Labels"]["tier"], "front");
    it.write(&format!("{same}sysctls = {{ \"net.ipv4.conf.IFNAME.log_martians\" = \"1\" }}\n"));
    it.refused("endpoint web in network back: it was attached by hand, and otherwise: sysctls");
    it.write("");
    it.up();
    assert_eq!(network(&it.host, "back")["IPAM"]["Config"][0]["Subnet"], "10.47.0.0/24");
    assert!(it.web.out("ip -o -4 address show eth0").contains("10.47.0.2/24"));
}

#[test]
fn settings_of_an_interface_are_written_as_on_the_command_line() {
    let it = configured();
    let web = it.web.path().display();
    let with = |setting: &str| format!("[endpoint.web]\nnetns = \"{web}\"\nsysctls = {{ {setting} }}\n");
    for bad in ["\"kernel/hostname\" = \"x\"", "\"net.ipv4.ip_forward\" = 1", "\"../../etc/x\" = 1"] {
        it.write(&with(bad));
        it.refused("unrecognised network interface sysctl");
    }
    it.write(&with("\"net.ipv4.conf.IFNAME.log_martians\" = 1"));
    it.up();
    assert_eq!(it.web.sysctl("net/ipv4/conf/eth0/log_martians"), "1");
    it.up();
}

#[test]
fn endpoint_that_could_not_be_attached_is_tried_again_though_the_host_has_not_changed() {
    let it = configured();
    let web = it.web.path().display();
    it.web.sh("ip link add lan0 type bridge").done();
    it.write(&format!("[endpoint.web]\nnetns = \"{web}\"\nifname = \"lan0\"\n"));
    let controller = Service::start(&mut it.host.command(&["up", "-c", it.path()]));
    let status = || it.host.netdp(&["status"]).stdout;
    let said = "warning: endpoint web is declared, and not attached to bridge";
    eventually("it is told", Duration::from_secs(20), || status().contains(said));
    it.web.sh("ip link del lan0").done();
    eventually("it is attached", Duration::from_mins(1), || !status().contains(said));
    assert!(it.web.out("ip -o -4 address show lan0").contains("172."));
    controller.terminate(Duration::from_secs(10)).done();
}
