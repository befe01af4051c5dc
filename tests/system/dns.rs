//! Names: what containers get from the resolver on their gateway, and what the rest of the world gets to see of it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use nix::sys::signal::{Signal, kill};
use tests::dns::{NameServer, addresses, answer, ask, ask_by_tcp, ask_bytes, query, query_edns};
use tests::process::{Service, eventually};
use tests::topology::{Bed, Container, Host, OUTSIDE};

use crate::ways::gateway;

/// A host that serves names, with its own idea of whom to ask for others.
fn serving(bed: &Bed, upstreams: &[IpAddr]) -> (Host, Service) {
    let host = bed.host("h1");
    let service = serve(bed, &host, upstreams);
    (host, service)
}

fn serve(bed: &Bed, host: &Host, upstreams: &[IpAddr]) -> Service {
    let path = bed.file("resolv.conf");
    let lines: Vec<String> = upstreams.iter().map(|server| format!("nameserver {server}")).collect();
    fs::write(&path, lines.join("\n")).unwrap();
    host.up_with(&["--resolv-conf", path.to_str().unwrap()])
}

fn lookup(container: &Container, name: &str, kind: RecordType) -> (ResponseCode, Vec<IpAddr>) {
    let answer = ask(&container.ns, gateway(container), &query(name, kind)).unwrap();
    (answer.metadata.response_code, addresses(&answer))
}

fn found(addresses: &[IpAddr]) -> (ResponseCode, Vec<IpAddr>) {
    (ResponseCode::NoError, addresses.to_vec())
}

#[test]
fn containers_of_a_network_find_each_other_by_name() {
    let bed = Bed::new();
    let (host, _service) = serving(&bed, &[]);
    host.netdp(&["network", "create", "--ipv6", "net1"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "net1"]);
    let web = bed.container(&host, "Web", &["--network", "net1"]);
    let (v4, v6) = (IpAddr::from(web.address), IpAddr::from(web.address6.unwrap()));
    let id = web.attached["Id"].as_str().unwrap_or_default().to_owned();
    let names = ["web", "WEB", "wEb.Net1", "web.net1."];
    for name in names.into_iter().chain([&id[..12]]) {
        assert_eq!(lookup(&c1, name, RecordType::A), found(&[v4]), "{name}");
        assert_eq!(lookup(&c1, name, RecordType::AAAA), found(&[v6]), "{name}");
        for kind in [RecordType::MX, RecordType::SRV, RecordType::TXT] {
            assert_eq!(lookup(&c1, name, kind), found(&[]), "{name}");
        }
    }
    let server6: IpAddr = host.json(&["network", "inspect", "net1"])[0]["IPAM"]["Config"][1]["Gateway"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap();
    let by_six = ask(&c1.ns, server6, &query("web", RecordType::A)).unwrap();
    assert_eq!(addresses(&by_six), [v4]);
    for server in [gateway(&c1).into(), server6] {
        let both = [query("web", RecordType::A), query("web", RecordType::AAAA)];
        let answers = ask_by_tcp(&c1.ns, server, &both).unwrap();
        assert_eq!(answers.iter().flat_map(addresses).collect::<Vec<_>>(), [v4, v6]);
    }
    assert_eq!(lookup(&c1, "localhost", RecordType::A), found(&[Ipv4Addr::LOCALHOST.into()]));
}

#[test]
fn addresses_have_names_too() {
    let bed = Bed::new();
    let (host, _service) = serving(&bed, &[]);
    host.netdp(&["network", "create", "--ipv6", "net1"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "net1"]);
    let web = bed.container(&host, "web", &["--network", "net1"]);
    for address in [IpAddr::from(web.address), web.address6.unwrap().into()] {
        let name = hickory_proto::rr::Name::from(address).to_ascii();
        let answer = ask(&c1.ns, gateway(&c1), &query(&name, RecordType::PTR)).unwrap();
        let RData::PTR(target) = &answer.answers[0].data else { panic!("{answer}") };
        assert_eq!(target.0.to_ascii(), "web.net1.");
    }
    let [a, b, c, _] = web.address.octets();
    let nobody = format!("250.{c}.{b}.{a}.in-addr.arpa");
    assert_eq!(lookup(&c1, &nobody, RecordType::PTR).0, ResponseCode::NXDomain);
}

#[test]
fn networks_do_not_know_each_others_names_and_the_default_one_has_none() {
    let bed = Bed::new();
    let (host, _service) = serving(&bed, &[]);
    host.netdp(&["network", "create", "a"]).done();
    host.netdp(&["network", "create", "b"]).done();
    let ca = bed.container(&host, "ca", &["--network", "a"]);
    let cb = bed.container(&host, "cb", &["--network", "b"]);
    let cd = bed.container(&host, "cd", &[]);
    let _ce = bed.container(&host, "ce", &[]);
    for (asker, name) in [(&ca, "cb"), (&ca, "cb.b"), (&cb, "ca"), (&cd, "ce"), (&cd, "ca"), (&ca, "cd")] {
        // Nobody outside can be asked either.
        assert_eq!(lookup(asker, name, RecordType::A), (ResponseCode::ServFail, vec![]), "{name}");
    }
    // The gateway of another network is no server for anybody else.
    assert!(ask(&ca.ns, gateway(&cb), &query("cb", RecordType::A)).is_err());
}

#[test]
fn internal_and_closed_networks_have_names_but_no_way_out() {
    let bed = Bed::new();
    let upstream = NameServer::start(&bed.outside.ns, OUTSIDE, |query, _| Some(answer(query, &[], 60)));
    let (host, _service) = serving(&bed, &[OUTSIDE.into()]);
    host.netdp(&["network", "create", "--internal", "-o", "icc=false", "inner"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "inner"]);
    let c2 = bed.container(&host, "c2", &["--network", "inner"]);
    let [a, b, c, _] = c1.address.octets();
    let server = Ipv4Addr::new(a, b, c, 1);
    let ask = |name: &str| ask(&c1.ns, server, &query(name, RecordType::A)).unwrap();
    assert_eq!(addresses(&ask("c2")), [IpAddr::from(c2.address)]);
    assert_eq!(ask("www.example").metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(upstream.asked(), 0);
}

#[test]
fn other_names_are_asked_outside_and_remembered() {
    let bed = Bed::new();
    let there: IpAddr = Ipv4Addr::new(198, 51, 100, 7).into();
    let upstream =
        NameServer::start(&bed.outside.ns, OUTSIDE, move |query, _| Some(answer(query, &[there], 60)));
    let (host, _service) = serving(&bed, &[OUTSIDE.into()]);
    host.netdp(&["network", "create", "net1"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "net1"]);
    assert_eq!(lookup(&c1, "www.example", RecordType::A), found(&[there]));
    // Once, or again where the first answer was late.
    let asked = upstream.asked();
    assert!(asked >= 1);
    assert_eq!(lookup(&c1, "WWW.example", RecordType::A), found(&[there]));
    assert_eq!(upstream.asked(), asked, "the second was in the cache");
    assert_eq!(lookup(&c1, "c1", RecordType::AAAA), found(&[]));
    let names = upstream.names();
    assert!(names.iter().all(|name| name == "www.example."), "ours is nobody else's to know: {names:?}");
    // The host may get another server at any time.
    let next =
        NameServer::start(&bed.outside.ns, bed.outside.address6, move |query, _| Some(answer(query, &[], 0)));
    fs::write(bed.file("resolv.conf"), format!("nameserver {}\n", bed.outside.address6)).unwrap();
    assert_eq!(lookup(&c1, "www.example", RecordType::A), found(&[]));
    assert!(next.asked() >= 1);
}

#[test]
fn server_that_is_silent_or_fails_makes_way_for_the_next() {
    let bed = Bed::new();
    let there: IpAddr = Ipv4Addr::new(198, 51, 100, 7).into();
    let fails = |query: &Message, _| {
        let mut failed = answer(query, &[], 0);
        failed.metadata.response_code = ResponseCode::ServFail;
        Some(failed)
    };
    let second = bed.neighbour("n1");
    let third = bed.neighbour("n2");
    let _silent = NameServer::start(&bed.outside.ns, OUTSIDE, |_, _| None);
    let _failing = NameServer::start(&second.ns, second.address, fails);
    let _good = NameServer::start(&third.ns, third.address, move |query, _| Some(answer(query, &[there], 0)));
    let (host, _service) = serving(&bed, &[OUTSIDE.into(), second.address.into(), third.address.into()]);
    host.netdp(&["network", "create", "net1"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "net1"]);
    let begin = Instant::now();
    assert_eq!(lookup(&c1, "www.example", RecordType::A), found(&[there]));
    let took = begin.elapsed();
    tests::process::measured(&format!("dns: answered by the third server in {took:?}"));
    assert!(took < Duration::from_secs(4), "{took:?}");
    // One that began with the silent server would wait 800 ms for it, each time.
    let times: [Duration; 3] = std::array::from_fn(|_| {
        let begin = Instant::now();
        assert_eq!(lookup(&c1, "www.example", RecordType::A), found(&[there]));
        begin.elapsed()
    });
    assert!(
        times.iter().any(|time| *time < Duration::from_millis(700)),
        "it is known by now whom to ask: {times:?}"
    );
}

#[test]
fn network_may_have_servers_of_its_own() {
    let bed = Bed::new();
    let there: IpAddr = Ipv4Addr::new(198, 51, 100, 9).into();
    let own = bed.neighbour("n1");
    let _own = NameServer::start(&own.ns, own.address, move |query, _| Some(answer(query, &[there], 0)));
    let (host, _service) = serving(&bed, &[]);
    host.netdp(&["network", "create", "-o", &format!("dns={}", own.address), "net1"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "net1"]);
    assert_eq!(lookup(&c1, "www.example", RecordType::A), found(&[there]));
}

#[test]
fn answer_that_is_too_long_is_had_by_a_connection() {
    let bed = Bed::new();
    let many: Vec<IpAddr> = (1..=100).map(|n| Ipv4Addr::new(198, 51, 100, n).into()).collect();
    let all = many.clone();
    let _upstream = NameServer::start(&bed.outside.ns, OUTSIDE, move |query, by_connection| {
        let mut answer = answer(query, if by_connection { &all } else { &[] }, 60);
        answer.metadata.truncation = !by_connection;
        Some(answer)
    });
    let (host, _service) = serving(&bed, &[OUTSIDE.into()]);
    host.netdp(&["network", "create", "net1"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "net1"]);
    for (query, limit) in
        [(query("many.example", RecordType::A), 512), (query_edns("many.example", RecordType::A, 4096), 1232)]
    {
        let bytes = ask_bytes(&c1.ns, gateway(&c1), &query.to_vec().unwrap()).unwrap();
        let cut = Message::from_vec(&bytes).unwrap();
        assert!(bytes.len() <= limit && cut.metadata.truncation, "{} octets: {cut}", bytes.len());
        assert_eq!(cut.edns.is_some(), query.edns.is_some());
        let whole = ask_by_tcp(&c1.ns, gateway(&c1), &[query]).unwrap();
        assert_eq!(addresses(&whole[0]), many);
    }
}

#[test]
fn malformed_queries_are_answered_as_such_or_not_at_all() {
    let bed = Bed::new();
    let (host, _service) = serving(&bed, &[]);
    host.netdp(&["network", "create", "net1"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "net1"]);
    let sound = query("c1", RecordType::A).to_vec().unwrap();
    let mut cut = sound.clone();
    cut.truncate(sound.len() - 3);
    let mut loops = sound.clone();
    // The name points at itself.
    loops.splice(12.., [0xc0, 12, 0, 1, 0, 1]);
    let mut two = sound.clone();
    two[5] = 2;
    for bytes in [&cut[..], &loops, &two, &sound[..12]] {
        let answer = Message::from_vec(&ask_bytes(&c1.ns, gateway(&c1), bytes).unwrap()).unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::FormErr, "{bytes:02x?}");
    }
    let code = |change: fn(&mut Vec<u8>)| {
        let mut bytes = sound.clone();
        change(&mut bytes);
        Message::from_vec(&ask_bytes(&c1.ns, gateway(&c1), &bytes).unwrap()).unwrap().metadata.response_code
    };
    // An update, and the class CHAOS.
    assert_eq!(code(|bytes| bytes[2] |= 5 << 3), ResponseCode::NotImp);
    assert_eq!(code(|bytes| *bytes.last_mut().unwrap() = 3), ResponseCode::Refused);
    for ignored in [&b""[..], b"short", &[0xff; 12]] {
        let _ = c1.ns.enter(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(ignored, (gateway(&c1), 53))
        });
    }
    assert_eq!(lookup(&c1, "c1", RecordType::A), found(&[c1.address.into()]), "it still serves");
}

#[test]
fn changes_are_seen_by_the_next_query() {
    let bed = Bed::new();
    let (host, _service) = serving(&bed, &[]);
    host.netdp(&["network", "create", "net1"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "net1"]);
    for round in 0..5 {
        let web = bed.container(&host, "web", &["--network", "net1"]);
        assert_eq!(lookup(&c1, "web", RecordType::A), found(&[web.address.into()]), "round {round}");
        host.netdp(&["detach", "web"]).done();
        assert_eq!(lookup(&c1, "web", RecordType::A).0, ResponseCode::ServFail, "round {round}");
        drop(web);
    }
}

#[test]
fn names_outlive_the_controller_and_end_with_down() {
    let bed = Bed::new();
    let (host, service) = serving(&bed, &[]);
    host.netdp(&["network", "create", "net1"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "net1"]);
    service.kill();
    let web = bed.container(&host, "web", &["--network", "net1"]);
    assert_eq!(lookup(&c1, "web", RecordType::A), found(&[web.address.into()]));
    let pid = host.resolver().expect("it runs");
    assert_eq!(host.json(&["status"])["resolver"]["pid"].as_i64(), Some(pid.as_raw().into()));
    // The next controller takes it over, and starts another where that has ended.
    let again = serve(&bed, &host, &[]);
    assert_eq!(host.resolver(), Some(pid));
    kill(pid, Signal::SIGKILL).unwrap();
    eventually("another resolver serves", Duration::from_secs(5), || {
        host.json(&["status"])["resolver"]["running"] == true && host.resolver().is_some_and(|it| it != pid)
    });
    assert_eq!(lookup(&c1, "web", RecordType::A), found(&[web.address.into()]));
    drop(again);
    host.down();
    assert_eq!(host.resolver(), None);
}

#[test]
fn resolver_that_is_replaced_loses_no_query() {
    let bed = Bed::new();
    let (host, _service) = serving(&bed, &[]);
    host.netdp(&["network", "create", "net1"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "net1"]);
    let (server, expected) = (gateway(&c1), found(&[c1.address.into()]).1);
    let asking = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let begin = Instant::now();
            let mut asked = 0;
            while begin.elapsed() < Duration::from_secs(3) {
                let answer = ask(&c1.ns, server, &query("c1", RecordType::A)).unwrap();
                assert_eq!(addresses(&answer), expected);
                asked += 1;
            }
            asked
        });
        let first = host.resolver().unwrap();
        let mut next = Service::start(&mut host.command(&["resolver"]));
        eventually("the next one serves", Duration::from_secs(10), || {
            assert_eq!(next.ended(), None);
            host.resolver().is_some_and(|pid| pid != first)
        });
        asking.join().unwrap()
    });
    tests::process::measured(&format!(
        "dns: {asking} queries, one after the other, while one resolver replaced another"
    ));
}

#[test]
fn port_53_of_the_host_stays_whose_it_is() {
    let bed = Bed::new();
    let host = bed.host("h1");
    // On all addresses, and without a second thought about whoever comes later.
    let mut dnsmasq = Service::start(
        host.ns
            .command("dnsmasq")
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"])
            .args(["--user=root", "--pid-file=", "--port=53", "--address=/host.example/192.0.2.53"]),
    );
    let by_host = |name: &str| {
        ask(&host.ns, Ipv4Addr::LOCALHOST, &query(name, RecordType::A)).map(|answer| addresses(&answer)).ok()
    };
    let theirs: IpAddr = Ipv4Addr::new(192, 0, 2, 53).into();
    eventually("dnsmasq serves", Duration::from_secs(10), || {
        assert_eq!(dnsmasq.ended(), None);
        by_host("host.example").is_some()
    });
    let _service = serve(&bed, &host, &[Ipv4Addr::LOCALHOST.into()]);
    host.netdp(&["network", "create", "net1"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "net1"]);
    let expected = found(&[c1.address.into()]);
    assert_eq!(lookup(&c1, "c1", RecordType::A), expected);
    let by_tcp = ask_by_tcp(&c1.ns, gateway(&c1), &[query("c1", RecordType::A)]).unwrap();
    assert_eq!(addresses(&by_tcp[0]), expected.1);
    // The host's own server answers the host, the outside, and by way of us the containers.
    assert_eq!(by_host("host.example"), Some(vec![theirs]));
    let outside = ask(&bed.outside.ns, host.address, &query("host.example", RecordType::A)).unwrap();
    assert_eq!(addresses(&outside), [theirs]);
    assert_eq!(lookup(&c1, "host.example", RecordType::A), found(&[theirs]));
    // And one that comes later finds the port free.
    dnsmasq.finish();
    let later =
        NameServer::start(&host.ns, Ipv4Addr::UNSPECIFIED, move |query, _| Some(answer(query, &[theirs], 0)));
    assert_eq!(by_host("x.example"), Some(vec![theirs]));
    assert_eq!(lookup(&c1, "c1", RecordType::A), expected);
    assert_eq!(later.asked(), 1);
}

#[test]
fn container_may_publish_port_53_beside_us() {
    let bed = Bed::new();
    let (host, _service) = serving(&bed, &[]);
    host.netdp(&["network", "create", "net1"]).done();
    let hole = bed.container(&host, "hole", &["--network", "net1", "-p", "53:53", "-p", "53:53/udp"]);
    let there: IpAddr = Ipv4Addr::new(198, 51, 100, 7).into();
    let _hole = NameServer::start(&hole.ns, hole.address, move |query, _| Some(answer(query, &[there], 0)));
    let c1 = bed.container(&host, "c1", &["--network", "net1"]);
    let by_outside = ask(&bed.outside.ns, host.address, &query("www.example", RecordType::A)).unwrap();
    assert_eq!(addresses(&by_outside), [there]);
    assert_eq!(lookup(&c1, "hole", RecordType::A), found(&[hole.address.into()]));
}

#[test]
fn once_leaves_no_resolver() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    host.netdp(&["network", "create", "net1"]).done();
    let c1 = bed.container(&host, "c1", &["--network", "net1"]);
    assert_eq!(host.json(&["status"])["resolver"]["running"], false);
    assert!(ask(&c1.ns, gateway(&c1), &query("c1", RecordType::A)).is_err());
}
