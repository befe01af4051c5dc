//! Leases of a server that answers badly, late or not at all.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dhcproto::v4::{Message, MessageType};
use tests::dhcp_server::{DhcpServer, answer};
use tests::process::{Service, eventually};
use tests::topology::{Bed, Host, OUTSIDE};

/// What follows at once, on a machine that has much else to do.
const SOON: Duration = Duration::from_secs(10);
const GIVEN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 70);
const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 71);
const OTHER_SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

fn street() -> (Bed, Host) {
    let bed = Bed::new();
    let host = bed.host("h1");
    (bed, host)
}

fn up(host: &Host) -> Service {
    let controller = host.up();
    host.netdp(&["network", "create", "-d", "macvlan", "-o", "parent=up0", "--ipam-driver", "dhcp", "lan"])
        .done();
    controller
}

/// The same answer with bytes changed: place and value.
fn spoilt(bytes: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, byte) in changes {
        bytes[*at] = *byte;
    }
    bytes
}

/// What is no offer to this client, or none that can be read.
fn unfit(to: &Message) -> Vec<Vec<u8>> {
    let offer = answer(to, MessageType::Offer, OUTSIDE, (OTHER, 60));
    let options = |bytes: &[u8]| [&offer[..240], bytes].concat();
    vec![
        spoilt(&offer, &[(4, offer[4] ^ 1)]),
        spoilt(&offer, &[(30, offer[30] ^ 1)]),
        spoilt(&offer, &[(2, 255)]),
        spoilt(&offer, &[(0, 1)]),
        offer[..200].to_vec(),
        options(&[53, 1, 2, 54, 250, 1]),
        options(&[53, 1, 2, 116, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        vec![0; 1400],
        Vec::new(),
    ]
}

#[test]
fn what_anybody_sends_is_no_lease() {
    let (bed, host) = street();
    let _controller = up(&host);
    let mut begun = false;
    let server = DhcpServer::start(&bed.outside.ns, "wan0", move |message| {
        let mut answers = unfit(message);
        let mut say = |kind, server, address| answers.push(answer(message, kind, server, (address, 60)));
        match message.opts().msg_type() {
            Some(MessageType::Discover) => {
                say(MessageType::Ack, OUTSIDE, OTHER);
                say(MessageType::Offer, OUTSIDE, Ipv4Addr::LOCALHOST);
                say(MessageType::Offer, OUTSIDE, GIVEN);
                say(MessageType::Offer, OTHER_SERVER, OTHER);
            }
            Some(MessageType::Request) if !begun => {
                begun = true;
                say(MessageType::Nak, OTHER_SERVER, OTHER);
                say(MessageType::Ack, OTHER_SERVER, OTHER);
                say(MessageType::Ack, OUTSIDE, OTHER);
                say(MessageType::Ack, OUTSIDE, GIVEN);
            }
            _ => {}
        }
        answers
    });
    let c1 = bed.container(&host, "c1", &["--network", "lan"]);
    assert_eq!(c1.address, GIVEN, "that of the server whose offer was taken");
    assert_eq!(requested(&server), [GIVEN]);
    host.netdp(&["detach", "c1"]).done();
    eventually("it is given back", SOON, || server.heard(MessageType::Release) == [GIVEN]);
}

/// The addresses that were asked for; a client that waited a second for its answer asks again.
fn requested(server: &DhcpServer) -> Vec<Ipv4Addr> {
    let mut heard = server.heard(MessageType::Request);
    heard.dedup();
    heard
}

#[test]
fn a_server_that_changes_its_mind_gives_nothing() {
    let (bed, host) = street();
    let _controller = up(&host);
    let _server = DhcpServer::start(&bed.outside.ns, "wan0", |message| {
        let kind = match message.opts().msg_type() {
            Some(MessageType::Discover) => MessageType::Offer,
            _ => MessageType::Nak,
        };
        vec![answer(message, kind, OUTSIDE, (GIVEN, 60))]
    });
    let ns = bed.namespace("c1");
    let path = ns.path().to_str().unwrap();
    host.netdp(&["attach", "--netns", path, "--name", "c1", "--network", "lan"])
        .exits(1)
        .says("203.0.113.1 offered 203.0.113.70, and then refused it")
        .done_failing();
    assert_eq!(host.json(&["ps", "-a"]), serde_json::json!([]));
}

#[test]
fn an_address_whose_time_is_over_is_taken_away_and_replaced() {
    let (bed, host) = street();
    let controller = up(&host);
    let (silent, again) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (is_silent, is_again) = (Arc::clone(&silent), Arc::clone(&again));
    let _server = DhcpServer::start(&bed.outside.ns, "wan0", move |message| {
        let lease = if is_again.load(Ordering::Relaxed) { (OTHER, 600) } else { (GIVEN, 4) };
        if is_silent.load(Ordering::Relaxed) {
            return Vec::new();
        }
        match message.opts().msg_type() {
            Some(MessageType::Discover) => vec![answer(message, MessageType::Offer, OUTSIDE, lease)],
            Some(MessageType::Request) => vec![answer(message, MessageType::Ack, OUTSIDE, lease)],
            _ => Vec::new(),
        }
    });
    let c1 = bed.container(&host, "c1", &["--network", "lan"]);
    silent.store(true, Ordering::Relaxed);
    let addresses = || c1.ns.sh("ip -4 -br address show dev eth0").ok().stdout;
    eventually("the kernel takes it away", Duration::from_secs(20), || !addresses().contains("203."));
    let shown = || host.json(&["inspect", "c1"])["NetworkSettings"]["Networks"]["lan"]["IPAddress"].clone();
    eventually("nobody says that it has it", Duration::from_secs(20), || shown() == "");
    again.store(true, Ordering::Relaxed);
    silent.store(false, Ordering::Relaxed);
    eventually("it has a new one", Duration::from_secs(45), || addresses().contains(&OTHER.to_string()));
    eventually("inspect has it too", SOON, || shown() == OTHER.to_string().as_str());
    let way_out = || c1.ns.sh("ip -4 route show default").ok().stdout;
    eventually("its way out is back", SOON, || way_out().contains("via 203.0.113.1 "));
    controller.terminate(Duration::from_secs(10)).says("the lease is over: nobody has renewed it").done();
}

#[test]
fn what_a_killed_command_was_lent_is_given_back() {
    let (bed, host) = street();
    let _controller = up(&host);
    let server = DhcpServer::start(&bed.outside.ns, "wan0", |message| match message.opts().msg_type() {
        Some(MessageType::Discover) => vec![answer(message, MessageType::Offer, OUTSIDE, (GIVEN, 600))],
        _ => Vec::new(),
    });
    let ns = bed.namespace("c1");
    let path = ns.path().to_str().unwrap();
    let attach =
        Service::start(&mut host.command(&["attach", "--netns", path, "--name", "c1", "--network", "lan"]));
    eventually("it takes the offer", Duration::from_secs(5), || {
        !server.heard(MessageType::Request).is_empty()
    });
    let _ = attach.kill();
    // A minute later it is clear that nobody finishes it.
    let database = rusqlite::Connection::open(host.state_dir().join("netdp.db")).unwrap();
    let change = "UPDATE leases SET lease = json_set(lease, '$.since', json_extract(lease, '$.since') - 61)";
    assert_eq!(database.execute(change, []).unwrap(), 1);
    eventually("it is given back", SOON, || server.heard(MessageType::Release) == [GIVEN]);
    let left = || database.query_row("SELECT count(*) FROM leases", [], |row| row.get::<_, i64>(0)).unwrap();
    eventually("nothing is left of it", SOON, || left() == 0);
}

#[test]
fn what_is_refused_keeps_no_lease() {
    let (bed, host) = street();
    let _controller = up(&host);
    let server = DhcpServer::start(&bed.outside.ns, "wan0", |message| match message.opts().msg_type() {
        Some(MessageType::Discover) => vec![answer(message, MessageType::Offer, OUTSIDE, (GIVEN, 600))],
        Some(MessageType::Request) => vec![answer(message, MessageType::Ack, OUTSIDE, (GIVEN, 600))],
        _ => Vec::new(),
    });
    let c1 = bed.container(&host, "c1", &[]);
    let ns = bed.namespace("c9");
    let (path, path1) = (ns.path().to_str().unwrap(), c1.ns.path().to_str().unwrap());
    let attach = |name: &str, path: &str, options: &[&str]| {
        let command = ["attach", "--netns", path, "--name", name, "--network", "lan"];
        host.netdp(&[&command[..], options].concat()).exits(1)
    };
    // What needs no server to be refused does not ask one.
    attach("c9", path, &["-p", "8080:80"]).says("ports").done_failing();
    attach("c9", path, &["--link", "c1:db"]).says("lan").done_failing();
    attach("c9", path1, &[]).says("c1").done_failing();
    attach("c1", path, &[]).says("c1").done_failing();
    host.netdp(&["network", "connect", "--link", "nobody:db", "lan", "c1"])
        .exits(1)
        .says("nobody")
        .done_failing();
    assert!(server.heard(MessageType::Discover).is_empty(), "{:?}", server.heard(MessageType::Discover));
    // What is found out later gives back what was lent.
    attach("c9", path, &["--ifname", "lo"]).says("lo").done_failing();
    assert_eq!(requested(&server), [GIVEN]);
    eventually("it is given back", SOON, || server.heard(MessageType::Release) == [GIVEN]);
    let database = rusqlite::Connection::open(host.state_dir().join("netdp.db")).unwrap();
    let left = database.query_row("SELECT count(*) FROM leases", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(left, 0, "nothing is left of it");
}
