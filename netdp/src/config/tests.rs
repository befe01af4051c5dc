use super::*;

fn read(text: &str) -> Result<Config, Error> {
    Config::of_text(Path::new("netdp.toml"), text)
}

fn json(text: &str) -> Result<Config, Error> {
    Config::of_text(Path::new("daemon.json"), text)
}

const WHOLE: &str = r#"
uplinks = ["eth0", "eth1"]
prefilter = "off"
bip = "172.30.0.1/16"
fixed-cidr = "172.30.4.0/24"
ipv6 = true
fixed-cidr-v6 = "fd00:30::/64"
mtu = 1_400
icc = false
ip = "127.0.0.1"
dns = "192.0.2.53"
dns-search = ["example", "lan"]
default-address-pools = [{ base = "10.10.0.0/16", size = 24 }, { base = "fd00:10::/48", size = 64 }]

[limits]
flows = 1000
[timers]
replied = 300
[defaults]
udp-mapping = "endpoint-independent"

[network.blue]
subnet = ["10.5.0.0/16", "fd00:5::/64"]
ipv6 = true
options = { icc = false, mtu = 1300 }
labels = { team = "a" }

[endpoint.web]
netns = "/run/netns/web"
network = ["blue", "bridge"]
publish = ["8080:80", "53:53/udp"]

[endpoint.db]
netns = "/run/netns/db"
[endpoint.db.network.green]
ip = "10.6.0.9"
alias = ["sql", "store"]
gw-priority = -1
"#;

#[test]
fn everything_that_can_be_said_is_read() {
    let config = read(WHOLE).unwrap();
    assert_eq!(config.settings.uplinks.as_deref().unwrap(), ["eth0", "eth1"]);
    assert_eq!(config.settings.prefilter, Some(crate::model::Prefilter::Off));
    assert_eq!(config.settings.limits, [(netdp_common::Limit::Flows, 1000)]);
    let four = config.default_network.addresses4().unwrap();
    assert_eq!(four.subnet.unwrap().to_string(), "172.30.0.0/16");
    assert_eq!(four.gateway.unwrap().to_string(), "172.30.0.1");
    assert_eq!(four.ranges[0].to_string(), "172.30.4.0/24");
    let six = config.default_network.addresses6().unwrap();
    assert_eq!(
        (six.subnet.unwrap().to_string(), six.gateway, six.ranges.len()),
        ("fd00:30::/64".to_owned(), None, 0)
    );
    assert_eq!((config.default_network.mtu, config.default_network.icc), (Some(1400), false));
    assert_eq!(config.pools.len(), 2);
    assert_eq!(config.resolver.search, ["example", "lan"]);
    let blue = &config.networks[0];
    assert_eq!((blue.subnets.len(), blue.place.line), (2, 22));
    assert_eq!(blue.options, [("icc".to_owned(), "false".to_owned()), ("mtu".to_owned(), "1300".to_owned())]);
    let [web, db] = &config.endpoints[..] else { panic!("two endpoints") };
    let networks: Vec<&str> = web.interfaces.iter().map(|it| it.network.as_str()).collect();
    assert_eq!((networks, web.interfaces[0].publish.len()), (vec!["blue", "bridge"], 2));
    assert_eq!(db.interfaces[0].options.aliases, ["sql", "store"]);
    assert_eq!(db.interfaces[0].options.gw_priority, -1);
    assert!(config.notes.is_empty(), "{:?}", config.notes);
}

#[test]
fn an_error_names_the_file_the_line_and_what_is_accepted() {
    for (text, said) in [
        (
            "mtu = 1400\nbipp = \"1.2.3.4/8\"",
            "netdp.toml:2: unknown key \"bipp\": known here are bridge, bip,",
        ),
        ("icc = \"yes\"", "netdp.toml:1: invalid value of icc: \"yes\", and it takes true or false"),
        ("\n\nbip = \"10.0.0.1/33\"", "netdp.toml:3: invalid value of bip"),
        ("mtu = 12", "it takes 68 to 65535 bytes"),
        ("mtu = 1.5", "a number with a point"),
        ("bip6 = \"10.0.0.1/8\"", "an IPv6 address with the length"),
        ("ipv6 = true\nipv6 = false", "netdp.toml:2:"),
        ("x = [", "netdp.toml:1:"),
        ("bridge = \"none\"\nbip = \"10.0.0.1/8\"", "netdp.toml:2: bridge: with \"none\""),
        ("bridge = \"br0\"\nbip = \"10.0.0.1/8\"", "netdp.toml:2: bip: bridge and bip exclude each other"),
        (
            "bip = \"10.0.0.1/16\"\nfixed-cidr = \"10.1.0.0/24\"",
            "netdp.toml:2: fixed-cidr: 10.1.0.0/24 is not within",
        ),
        ("default-gateway = \"10.0.0.1\"", "netdp.toml:1: default-gateway: it needs bip"),
        (
            "bip = \"10.0.0.1/16\"\ndefault-gateway = \"10.1.0.9\"",
            "netdp.toml:2: default-gateway: 10.1.0.9 is not in",
        ),
        (
            "bip = \"10.0.0.1/16\"\ndefault-gateway = \"10.0.0.9\"",
            "netdp.toml:2: default-gateway: containers'",
        ),
        (
            "default-address-pools = [{ base = \"10.0.0.0/16\", size = 8 }]",
            "size of a subnet of 10.0.0.0/16 is 16 to 30",
        ),
        ("default-address-pools = [{ base = \"10.0.0.1/16\", size = 24 }]", "host bits"),
        ("default-address-pools = [{ base = \"10.0.0.0/16\" }]", "tables of base and size"),
        ("[limits]\nflow = 3", "netdp.toml:2: unknown key \"limits.flow\""),
        ("[limits]\nflows = 3", "netdp.toml:2: invalid value of limits.flows: 3"),
        ("[timers]\nreplied = 60", "netdp.toml:2:"),
        ("[defaults]\nudp-mapping = \"symmetric\"", "netdp.toml:2: defaults.udp-mapping"),
        ("default-network-opts = 5", "netdp.toml:1: invalid value of default-network-opts: 5"),
        ("[default-network-opts.bridged]\nmtu = 1", "unknown key \"default-network-opts.bridged\""),
        (
            "[default-network-opts.bridge]\nmtu = 1400\ncolour = 1",
            "netdp.toml:3: default-network-opts.bridge.colour: unknown option \"colour\"",
        ),
        ("[default-network-opts.bridge]\nmtu = 12", "netdp.toml:2: default-network-opts.bridge.mtu: "),
        ("[default-network-opts.ipvlan]\nmacvlan_mode = \"bridge\"", "netdp.toml:2: default-network-opts"),
        (
            "[default-network-opts.bridge]\nmasquerade = false\nsnat-ip = \"192.0.2.1\"",
            "netdp.toml:1: default-network-opts.bridge: ",
        ),
        ("[network.\"a/b\"]", "netdp.toml:1: network.a/b"),
        ("[network.a]\nsubnets = \"10.0.0.0/8\"", "netdp.toml:2: unknown key \"network.a.subnets\""),
        ("[network.a]\ndriver = \"host\"", "netdp.toml:2: invalid value of network.a.driver"),
        (
            "[network.a]\nsubnet = \"10.0.0.0/8\"\n[network.b]\nsubnet = \"10.1.0.0/16\"",
            "netdp.toml:3: network.b.subnet: 10.1.0.0/16 overlaps 10.0.0.0/8 of network.a (line 1)",
        ),
        ("[endpoint.a]\nnetwork = \"b\"", "netdp.toml:1: endpoint.a: netns is missing"),
        ("[endpoint.a]\nnetns = \"a\"", "netdp.toml:2: invalid value of endpoint.a.netns"),
        (
            "[endpoint.a]\nnetns = \"/a\"\npublish = \"99999\"",
            "netdp.toml:3: endpoint.a.publish: invalid containerPort",
        ),
        ("[endpoint.a]\nnetns = \"/a\"\nnetwork = [\"b\", \"b\"]", "b is there twice"),
        (
            "[endpoint.a]\nnetns = \"/a\"\nnetwork = [\"b\", \"c\"]\nip = \"10.0.0.2\"",
            "netdp.toml:4: endpoint.a.ip: it has several",
        ),
        ("[endpoint.a]\nnetns = \"/a\"\n[endpoint.b]\nnetns = \"/a\"", "netdp.toml:3: endpoint.b.netns"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}\n{error}");
    }
}

#[test]
fn a_mistyped_key_is_told_the_nearest_one() {
    let advice = |text| read(text).unwrap_err().advice().unwrap();
    assert_eq!(advice("fixed_cidr = \"10.0.0.0/8\""), "did you mean fixed-cidr?");
    assert_eq!(advice("[network.a]\nsubnets = \"10.0.0.0/8\""), "did you mean subnet?");
}

#[test]
fn a_daemon_json_is_read_by_its_name_or_its_beginning() {
    let text = "{\n \"bip\": \"10.9.0.1/16\",\n \"log-driver\": \"journald\",\n \"iptables\": false,\n \"dns\": [\"9.9.9.9\"],\n \"allow-direct-routing\": true\n}";
    for config in [json(text).unwrap(), read(text).unwrap()] {
        assert!(config.allows_direct_routing);
        assert_eq!(config.default_network.addresses4().unwrap().gateway.unwrap().to_string(), "10.9.0.1");
        assert_eq!(
            config.notes,
            ["iptables has no effect in netdp", "not about networks, and left alone: log-driver",]
        );
    }
    for (text, said) in [
        ("{\n\"mtu\": \"x\"}", "daemon.json:2: invalid value of mtu"),
        ("{\n\"allow-direct-routing\": 1}", "daemon.json:2: invalid value of allow-direct-routing"),
        ("{\"mtu\": 1400,\n\"mtu\": 1500}", "daemon.json:2: mtu is there twice"),
        ("{\"mtu\": 1400,\n}", "daemon.json:"),
        ("[]", "daemon.json:1: a daemon.json is one object"),
        ("", "daemon.json:1: a daemon.json is one object"),
    ] {
        let error = json(text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}\n{error}");
    }
}

#[test]
fn options_of_new_networks_are_read_by_driver() {
    let text = r#"{ "default-network-opts": { "overlay": { "com.docker.network.driver.mtu": "1337" },
        "bridge": { "com.docker.network.driver.mtu": "1234", "icc": false }, "macvlan": { "parent": "eth0" } } }"#;
    let config = json(text).unwrap();
    let pairs =
        |driver: &str| config.network_options[driver].iter().map(|(key, value)| format!("{key}={value}"));
    assert_eq!(pairs("bridge").collect::<Vec<_>>(), ["com.docker.network.driver.mtu=1234", "icc=false"]);
    assert_eq!(pairs("macvlan").collect::<Vec<_>>(), ["parent=eth0"]);
    assert_eq!(config.notes, ["default-network-opts.overlay has no effect in netdp"]);
}

#[test]
fn what_is_no_text_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("netdp.toml");
    assert!(matches!(Config::read(&file), Err(Error::Read { .. })));
    assert!(matches!(Config::read(directory.path()), Err(Error::Read { .. })));
    std::fs::write(&file, b"mtu = 1400\n\xff\xfe").unwrap();
    assert!(Config::read(&file).unwrap_err().to_string().ends_with("netdp.toml:2: this is no UTF-8 text"));
    assert!(matches!(Config::read(Path::new("/dev/zero")), Err(Error::TooLarge { .. })));
    std::fs::write(&file, "").unwrap();
    assert!(Config::read(&file).unwrap().networks.is_empty());
}

#[test]
fn host_gateway_is_an_address_or_one_of_each_family() {
    let addresses = |text: &str| -> Vec<String> {
        let addresses = read(text).unwrap().host_gateway;
        addresses.iter().map(ToString::to_string).collect()
    };
    assert_eq!(addresses("host-gateway-ip = \"192.0.2.1\""), ["192.0.2.1"]);
    assert_eq!(
        addresses("host-gateway-ips = [\"2001:db8::1\", \"192.0.2.1\"]"),
        ["2001:db8::1", "192.0.2.1"]
    );
    assert!(addresses("host-gateway-ips = []").is_empty());
    for (text, said) in [
        (
            "host-gateway-ips = [\"192.0.2.1\", \"192.0.2.2\"]",
            "netdp.toml:1: invalid value of host-gateway-ips",
        ),
        ("mtu = 1400\nhost-gateway-ip = \"me\"", "netdp.toml:2: invalid value of host-gateway-ip"),
        ("host-gateway-ip = 1", "it takes an address, or one of each family"),
        (
            "host-gateway-ip = \"192.0.2.1\"\nhost-gateway-ips = \"192.0.2.1\"",
            "host-gateway-ip is the older name",
        ),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(said), "{text}\n{error}");
    }
}

#[test]
fn names_of_a_declared_endpoint_are_links_and_addresses() {
    let text = "[endpoint.app]\nnetns = \"/x\"\nlink = [\"db\", \"sql:store\"]\nadd-host = \"p:2001:db8::7\"";
    let config = read(text).unwrap();
    let [endpoint] = &config.endpoints[..] else { panic!("{:?}", config.endpoints) };
    let links = [("db", "db"), ("store", "sql")].map(|(alias, other)| (alias.to_owned(), other.to_owned()));
    assert_eq!(endpoint.interfaces[0].options.links, links);
    assert_eq!(endpoint.options.extra_hosts, [("p".to_owned(), "2001:db8::7".parse().unwrap())]);
    for (line, said) in [
        ("link = \"a:b:c\"", "bad format for links"),
        ("link = 1", "it takes names of endpoints"),
        ("add-host = \"p:host-gateway\"", "in a file it is an address"),
        ("add-host = \"p\"", "bad format for add-host"),
    ] {
        let error = read(&format!("[endpoint.app]\nnetns = \"/x\"\n{line}")).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains(":3:"), "{line}\n{error}");
    }
}
