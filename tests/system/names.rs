//! Names that are one endpoint's own, and who is asked for those that no network has: by endpoint, network, file and host.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use tests::dns::{NameServer, addresses, answer, ask, ask_by_tcp, query};
use tests::namespace::Namespace;
use tests::process::Service;
use tests::topology::{Bed, Container, Host};

use crate::ways::gateway;

/// Whom the host asks that a test does not say otherwise.
const STUB: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(198, 51, 100, last).into()
}

/// A server that gives this address to every name.
fn names_all(ns: &Namespace, at: impl Into<IpAddr>, last: u8) -> NameServer {
    NameServer::start(ns, at, move |query, _| Some(answer(query, &[address(last)], 0)))
}

/// The host's controller, with a `resolv.conf` that names these.
fn serve(bed: &Bed, host: &Host, upstreams: &[IpAddr], options: &[&str]) -> Service {
    let path = bed.file("resolv.conf");
    let lines: Vec<String> = upstreams.iter().map(|server| format!("nameserver {server}\n")).collect();
    fs::write(&path, lines.concat()).unwrap();
    host.up_with(&[&["--resolv-conf", path.to_str().unwrap()], options].concat())
}

fn lookup(container: &Container, name: &str) -> (ResponseCode, Vec<IpAddr>) {
    of_type(container, name, RecordType::A)
}

fn of_type(container: &Container, name: &str, kind: RecordType) -> (ResponseCode, Vec<IpAddr>) {
    let answer = ask(&container.ns, gateway(container), &query(name, kind)).unwrap();
    (answer.metadata.response_code, addresses(&answer))
}

fn found(addresses: &[IpAddr]) -> (ResponseCode, Vec<IpAddr>) {
    (ResponseCode::NoError, addresses.to_vec())
}

/// What a process finds in a file of its own.
fn reads(host: &Host, options: &[&str], file: &str) -> String {
    host.netdp(&[&["run", "--rm"], options, &["--", "cat", file]].concat()).ok().stdout
}

fn lines<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.starts_with(key)).collect()
}

#[test]
fn attached_endpoints_hosts_and_links_are_names_for_it_alone() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let _service = serve(&bed, &host, &[], &[]);
    host.netdp(&["network", "create", "net1"]).done();
    let db = bed.container(&host, "db", &["--network", "net1", "--network-alias", "sql"]);
    let own = [
        "--add-host",
        "printer:192.0.2.7",
        "--add-host",
        "printer:[2001:db8::7]",
        "--add-host",
        "me:host-gateway",
    ];
    let links = ["--link", "db:database", "--link", "sql:store", "--link", "later:soon"];
    let app = bed.container(&host, "app", &[&["--network", "net1"], &own[..], &links].concat());
    let other = bed.container(&host, "other", &["--network", "net1"]);
    assert_eq!(lookup(&app, "Printer"), found(&["192.0.2.7".parse().unwrap()]));
    let six: Ipv6Addr = "2001:db8::7".parse().unwrap();
    assert_eq!(of_type(&app, "printer", RecordType::AAAA), found(&[six.into()]));
    assert_eq!(lookup(&app, "me"), found(&["172.17.0.1".parse().unwrap()]));
    for name in ["database", "store", "db"] {
        assert_eq!(lookup(&app, name), found(&[db.address.into()]), "{name}");
        assert_eq!(of_type(&app, name, RecordType::AAAA), found(&[]), "{name}");
    }
    let by_tcp = ask_by_tcp(&app.ns, gateway(&app), &[query("database", RecordType::A)]).unwrap();
    assert_eq!(addresses(&by_tcp[0]), [IpAddr::from(db.address)]);
    // Who is linked to may come later.
    assert_eq!(lookup(&app, "soon").0, ResponseCode::ServFail);
    let later = bed.container(&host, "later", &["--network", "net1"]);
    assert_eq!(lookup(&app, "soon"), found(&[later.address.into()]));
    for name in ["printer", "me", "database", "store", "soon"] {
        assert_eq!(lookup(&other, name).0, ResponseCode::ServFail, "{name}");
        assert_eq!(lookup(&db, name).0, ResponseCode::ServFail, "a link leads one way: {name}");
    }
    let shown = host.json(&["inspect", "app"]);
    let hosts = ["printer:192.0.2.7", "printer:2001:db8::7", "me:172.17.0.1"];
    assert_eq!(shown["HostConfig"]["ExtraHosts"], serde_json::json!(hosts));
    let links = ["db:database", "sql:store", "later:soon"];
    assert_eq!(shown["NetworkSettings"]["Networks"]["net1"]["Links"], serde_json::json!(links));
    // The same again is done; with another name it is told what is there.
    let path = app.ns.path().display().to_string();
    let again = ["attach", "--netns", &path, "--name", "app", "--network", "net1"];
    let links = ["--link", "db:database", "--link", "sql:store", "--link", "later:soon"];
    host.netdp(&[&again[..], &own, &links].concat()).done();
    let otherwise = [&again[..], &links, &["--add-host", "printer:192.0.2.9"]].concat();
    host.netdp(&otherwise).exits(1).says("these hosts: printer:192.0.2.7").done_failing();
    assert_eq!(lookup(&app, "printer"), found(&["192.0.2.7".parse().unwrap()]));
}

#[test]
fn on_the_default_network_a_link_is_a_name_too() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let _service = serve(&bed, &host, &[], &[]);
    let db = bed.container(&host, "db", &[]);
    let app = bed.container(&host, "app", &["--link", "db:database", "--add-host", "printer:192.0.2.7"]);
    for name in ["db", "database"] {
        assert_eq!(lookup(&app, name), found(&[db.address.into()]), "{name}");
    }
    assert_eq!(lookup(&app, "printer"), found(&["192.0.2.7".parse().unwrap()]));
    assert_eq!(lookup(&db, "app").0, ResponseCode::ServFail);
    // Whom it leads to must be there; and a network without a gateway of ours has nobody who would know.
    host.netdp(&["network", "create", "net1"]).done();
    host.netdp(&[
        "network",
        "create",
        "-d",
        "macvlan",
        "-o",
        "parent=up0",
        "--subnet",
        "192.0.2.0/24",
        "lan",
    ])
    .done();
    let guest = bed.namespace("guest");
    let path = guest.path().display().to_string();
    let attach = ["attach", "--netns", &path, "--name", "guest"];
    for (options, said) in [
        (&["--link", "nobody"][..], "no such endpoint: nobody"),
        (&["--network", "lan", "--link", "db"], "network lan has no gateway of netdp's"),
    ] {
        host.netdp(&[&attach[..], options].concat()).exits(1).says(said).done_failing();
    }
    let _far = bed.container(&host, "far", &["--network", "net1"]);
    host.netdp(&[&attach[..], &["--link", "far"]].concat())
        .exits(1)
        .says("it is not on the default network, where a link begins")
        .done_failing();
    for options in [["--link", ":x"], ["--link", "db:a:b"], ["--add-host", "x"], ["--add-host", "x:y"]] {
        host.netdp(&[&attach[..], &options].concat()).exits(2).done_failing();
    }
    let ps = host.netdp(&["ps", "-a"]).ok().stdout;
    assert!(!ps.contains("guest"), "nothing was changed: {ps}");
}

#[test]
fn link_of_a_process_on_a_network_of_the_operators_is_its_own_name() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let _service = serve(&bed, &host, &[], &[]);
    host.netdp(&["network", "create", "net1"]).done();
    let db = bed.container(&host, "db", &["--network", "net1"]);
    let resolve = |options: &[&str], name: &str| {
        let program = format!("import socket; print(socket.gethostbyname('{name}'))");
        let line =
            [&["run", "--rm", "--network", "net1"], options, &["--", "python3", "-c", &program]].concat();
        host.netdp(&line)
    };
    let address = format!("{}\n", db.address);
    assert_eq!(resolve(&["--link", "db:alias"], "alias").ok().stdout, address);
    assert_eq!(resolve(&["--link", "db"], "db").ok().stdout, address);
    // Nobody else knows it, whoever runs beside it; and what it is linked to does not know it.
    host.netdp(&[
        "run",
        "-d",
        "--name",
        "app",
        "--network",
        "net1",
        "--link",
        "db:alias",
        "--",
        "sleep",
        "60",
    ])
    .done();
    resolve(&[], "alias").exits(1).says("gaierror").done_failing();
    assert_eq!(lookup(&db, "alias").0, ResponseCode::ServFail);
    host.netdp(&["rm", "-f", "app"]).done();
}

#[test]
fn each_of_several_under_one_name_comes_first_sometimes() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let _service = serve(&bed, &host, &[], &[]);
    host.netdp(&["network", "create", "net1"]).done();
    let asker = bed.container(&host, "asker", &["--network", "net1"]);
    let options = ["--network", "net1", "--network-alias", "pool"];
    let pool: Vec<Container> =
        ["p1", "p2", "p3"].into_iter().map(|name| bed.container(&host, name, &options)).collect();
    let all: BTreeSet<IpAddr> = pool.iter().map(|container| container.address.into()).collect();
    let mut first = BTreeSet::new();
    for _ in 0..200 {
        let (code, seen) = lookup(&asker, "pool");
        assert_eq!((code, seen.iter().copied().collect()), (ResponseCode::NoError, all.clone()));
        first.insert(seen[0]);
    }
    assert_eq!(first, all);
}

#[test]
fn file_says_whom_to_ask_and_networks_and_endpoints_say_it_better() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let _stub = names_all(&host.ns, STUB, 1);
    let servers: Vec<_> = ["n2", "n3", "n4"].map(|name| bed.neighbour(name)).into();
    let _answering: Vec<NameServer> =
        servers.iter().zip(2..).map(|(server, last)| names_all(&server.ns, server.address, last)).collect();
    let [of_file, of_network, of_endpoint] = [0, 1, 2].map(|it| servers[it].address.to_string());
    let file = bed.file("netdp.toml");
    let write = |dns: &str| {
        let text = format!(
            "{dns}dns-opts = [\"timeout:3\", \"ndots:2\"]\ndns-search = [\"corp.example\", \"lan\"]\n"
        );
        fs::write(&file, text).unwrap();
    };
    write(&format!("dns = [\"{of_file}\"]\n"));
    let options = ["-c", file.to_str().unwrap()];
    let service = serve(&bed, &host, &[STUB.into()], &options);
    host.netdp(&["network", "create", "net1"]).done();
    host.netdp(&["network", "create", "-o", &format!("dns={of_network}"), "net2"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "net1"]);
    let c2 = bed.container(&host, "c2", &["--network", "net2"]);
    let own = ["--network", "net2", "--dns", &of_endpoint, "--dns-search", "own.example"];
    let c3 = bed.container(&host, "c3", &own);
    for (container, last) in [(&c1, 2), (&c2, 3), (&c3, 4)] {
        assert_eq!(lookup(container, "www.example"), found(&[address(last)]), "{last}");
    }
    // A domain that is searched is taken off: the endpoint's own, else that of the file.
    assert_eq!(lookup(&c1, "c1.corp.example"), found(&[c1.address.into()]));
    assert_eq!(lookup(&c2, "c3.net2.lan"), found(&[c3.address.into()]));
    assert_eq!(lookup(&c3, "c2.own.example"), found(&[c2.address.into()]));
    assert_eq!(lookup(&c3, "c2.lan"), found(&[address(4)]), "it is asked for elsewhere");
    let text = reads(&host, &["--network", "net1"], "/etc/resolv.conf");
    assert_eq!(lines(&text, "nameserver"), [format!("nameserver {}", gateway(&c1))]);
    assert_eq!(lines(&text, "search"), ["search corp.example lan"], "{text}");
    assert_eq!(lines(&text, "options"), ["options timeout:3 ndots:2"], "{text}");
    let own =
        ["--network", "net1", "--dns-search", "own.example", "--dns-opt", "ndots:0", "--dns", &of_endpoint];
    let text = reads(&host, &own, "/etc/resolv.conf");
    assert_eq!(
        (lines(&text, "search"), lines(&text, "options")),
        (vec!["search own.example"], vec!["options ndots:0"])
    );
    let text = reads(&host, &["--network", "none"], "/etc/resolv.conf");
    assert_eq!(lines(&text, "nameserver"), [format!("nameserver {of_file}")], "{text}");
    let asks = ["--network", "net2", "--dns", &of_endpoint];
    let program = "import socket; print(socket.gethostbyname('www.example'))";
    let ran = host.netdp(&[&["run", "--rm"], &asks[..], &["--", "python3", "-c", program]].concat()).ok();
    assert_eq!(ran.stdout, format!("{}\n", address(4)));
    // Without the key it is the host's own server again.
    drop(service);
    write("");
    let _service = serve(&bed, &host, &[STUB.into()], &options);
    for (container, last) in [(&c1, 1), (&c2, 3), (&c3, 4)] {
        assert_eq!(lookup(container, "www.example"), found(&[address(last)]), "{last}");
    }
}

#[test]
fn resolver_on_the_hosts_loopback_is_asked_and_not_told_to_containers() {
    let bed = Bed::new();
    let host = bed.host("h1");
    for (number, stub) in [(1, IpAddr::from(STUB)), (2, Ipv6Addr::LOCALHOST.into())] {
        let stub_server = names_all(&host.ns, stub, number);
        let _service = serve(&bed, &host, &[stub], &[]);
        let net = format!("net{number}");
        host.netdp(&["network", "create", "--ipv6", &net]).done();
        let c1 = bed.container(&host, &format!("c{number}"), &["--network", &net]);
        assert_eq!(lookup(&c1, "www.example"), found(&[address(number)]), "{stub}");
        assert_eq!((stub_server.asked(), stub_server.names()), (1, vec!["www.example.".to_owned()]));
        // Who has a container's namespace has another loopback.
        let text = reads(&host, &["--network", &net], "/etc/resolv.conf");
        let servers = lines(&text, "nameserver");
        assert_eq!(servers.len(), 2, "the gateway of each family: {text}");
        assert!(servers.contains(&format!("nameserver {}", gateway(&c1)).as_str()), "{text}");
        assert!(servers.iter().all(|line| !line.contains(" 127.") && !line.ends_with(" ::1")), "{text}");
    }
}

#[test]
fn internal_network_does_not_reach_a_resolver_on_the_hosts_loopback() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let stub = names_all(&host.ns, STUB, 1);
    let _service = serve(&bed, &host, &[STUB.into()], &[]);
    host.netdp(&["network", "create", "--internal", "inner"]).done();
    host.netdp(&["network", "create", "open"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "inner"]);
    let c2 = bed.container(&host, "c2", &["--network", "inner"]);
    let [a, b, c, _] = c1.address.octets();
    let server = Ipv4Addr::new(a, b, c, 1);
    let lookup = |name: &str| {
        let answer = ask(&c1.ns, server, &query(name, RecordType::A)).unwrap();
        (answer.metadata.response_code, addresses(&answer))
    };
    assert_eq!(lookup("c2"), found(&[c2.address.into()]));
    assert_eq!(lookup("www.example"), (ResponseCode::NXDomain, vec![]));
    assert!(ask(&c1.ns, STUB, &query("www.example", RecordType::A)).is_err(), "its own loopback has none");
    assert_eq!(stub.asked(), 0);
    // With a way out it is asked, and without one again no more.
    host.netdp(&["network", "connect", "open", "c1"]).done();
    assert_eq!(lookup("www.example"), found(&[address(1)]));
    host.netdp(&["network", "disconnect", "open", "c1"]).done();
    assert_eq!(lookup("www.example"), (ResponseCode::NXDomain, vec![]));
    assert_eq!(stub.asked(), 1);
}

#[test]
fn declared_endpoints_names_are_as_the_file_says_now() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let (file, app, db) = (bed.file("netdp.toml"), bed.namespace("app"), bed.namespace("db"));
    let write = |names: &str| {
        let of = |name: &str, ns: &Namespace| {
            format!("[endpoint.{name}]\nnetns = \"{}\"\nnetwork = \"net1\"\n", ns.path().display())
        };
        fs::write(&file, format!("[network.net1]\n{}{}{names}", of("db", &db), of("app", &app))).unwrap();
    };
    let options = ["-c", file.to_str().unwrap()];
    write("link = \"db:database\"\nadd-host = [\"printer:192.0.2.7\"]\n");
    let _service = serve(&bed, &host, &[], &options);
    let server: IpAddr = host.json(&["network", "inspect", "net1"])[0]["IPAM"]["Config"][0]["Gateway"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap();
    let lookup = |name: &str| addresses(&ask(&app, server, &query(name, RecordType::A)).unwrap());
    let address_of_db = IpAddr::from(tests::topology::address_of(&db, "eth0"));
    assert_eq!(lookup("database"), [address_of_db]);
    assert_eq!(lookup("printer"), ["192.0.2.7".parse::<IpAddr>().unwrap()]);
    write("link = \"db:store\"\nadd-host = \"printer:192.0.2.8\"\n");
    host.netdp(&["up", "--once", "-c", options[1]]).done();
    assert_eq!((lookup("database"), lookup("store")), (vec![], vec![address_of_db]));
    assert_eq!(lookup("printer"), ["192.0.2.8".parse::<IpAddr>().unwrap()]);
    assert_eq!(
        host.json(&["inspect", "app"])["HostConfig"]["ExtraHosts"],
        serde_json::json!(["printer:192.0.2.8"])
    );
}

#[test]
fn host_gateway_is_what_the_file_says() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let file = bed.file("daemon.json");
    fs::write(&file, "{\"host-gateway-ips\": [\"203.0.113.10\", \"2001:db8:10::10\"]}").unwrap();
    let options = ["-c", file.to_str().unwrap()];
    let service = serve(&bed, &host, &[], &options);
    let c1 = bed.container(&host, "c1", &["--add-host", "me:host-gateway"]);
    assert_eq!(lookup(&c1, "me"), found(&["203.0.113.10".parse().unwrap()]));
    let six: Ipv6Addr = "2001:db8:10::10".parse().unwrap();
    assert_eq!(of_type(&c1, "me", RecordType::AAAA), found(&[six.into()]));
    let text = reads(&host, &["--add-host", "me:host-gateway"], "/etc/hosts");
    assert!(text.contains("203.0.113.10\tme\n2001:db8:10::10\tme\n"), "{text}");
    drop(service);
    fs::write(&file, "{}").unwrap();
    let _service = serve(&bed, &host, &[], &options);
    let text = reads(&host, &["--add-host", "me:host-gateway"], "/etc/hosts");
    assert!(text.contains("172.17.0.1\tme\n") && !text.contains("203.0.113.10"), "{text}");
}

#[test]
fn container_that_asks_for_more_than_its_part_leaves_room_for_the_others() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let _stub = NameServer::start(&host.ns, STUB, |query, _| {
        let is_slow = query.queries[0].name().to_ascii().starts_with("slow");
        (!is_slow).then(|| answer(query, &[address(1)], 0))
    });
    let _service = serve(&bed, &host, &[STUB.into()], &[]);
    host.netdp(&["network", "create", "net1"]).done();
    let greedy = bed.container(&host, "greedy", &["--network", "net1"]);
    let other = bed.container(&host, "other", &["--network", "net1"]);
    let server = (gateway(&greedy), 53);
    // More than all of them together may, of names that nobody answers for.
    let socket = greedy.ns.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    for number in 0..1500 {
        let bytes = query(&format!("slow{number}.example"), RecordType::A).to_vec().unwrap();
        socket.send_to(&bytes, server).unwrap();
    }
    assert_eq!(lookup(&other, "www.example"), found(&[address(1)]));
    // Its own buffer does not hold all the answers.
    let mut buffer = [0; 512];
    socket.recv(&mut buffer).unwrap();
    assert_eq!(
        buffer[3] & 0x0f,
        u8::try_from(u16::from(ResponseCode::Refused)).unwrap(),
        "it is told at once"
    );
    // And connections that are opened and left: more than there are in all.
    let opened: Vec<TcpStream> =
        greedy.ns.enter(|| (0..300).filter_map(|_| TcpStream::connect(server).ok()).collect());
    assert!(opened.len() > 256, "{}", opened.len());
    let by_tcp = ask_by_tcp(&other.ns, gateway(&other), &[query("other", RecordType::A)]).unwrap();
    assert_eq!(addresses(&by_tcp[0]), [IpAddr::from(other.address)]);
}

#[test]
fn resolver_has_no_privileges_but_one_and_serves_after_each_restart() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let service = serve(&bed, &host, &[], &[]);
    host.netdp(&["network", "create", "net1"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "net1"]);
    let check = || {
        let pid = host.resolver().unwrap();
        let tasks: Vec<_> = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(Result::unwrap).collect();
        assert!(tasks.len() > 1, "it answers on threads");
        for task in tasks {
            let status = fs::read_to_string(task.path().join("status")).unwrap();
            let field = |key: &str| lines(&status, key)[0].split_whitespace().nth(1).unwrap().to_owned();
            // CAP_DAC_OVERRIDE.
            for set in ["CapPrm:", "CapEff:"] {
                assert_eq!(u64::from_str_radix(&field(set), 16).unwrap(), 1 << 1, "{set} {status}");
            }
            assert_eq!((field("CapInh:"), field("NoNewPrivs:")), ("0".repeat(16), "1".to_owned()));
        }
        assert_eq!(lookup(&c1, "c1"), found(&[c1.address.into()]));
        let by_tcp = ask_by_tcp(&c1.ns, gateway(&c1), &[query("c1", RecordType::A)]).unwrap();
        assert_eq!(addresses(&by_tcp[0]), [IpAddr::from(c1.address)]);
        pid
    };
    let first = check();
    service.kill();
    let again = serve(&bed, &host, &[], &[]);
    assert_eq!(check(), first, "the next controller keeps it");
    // It would start one of its own in the moment in which there is none.
    again.kill();
    // One that was told otherwise takes its place: it needs its own sockets.
    let mut next = Service::start(&mut host.command(&["resolver"]));
    tests::process::eventually("the next one serves", Duration::from_secs(10), || {
        assert_eq!(next.ended(), None);
        host.resolver().is_some_and(|pid| pid != first)
    });
    assert_ne!(check(), first);
}
