//! Names under load: queries come at their rate, whether the earlier ones are answered or not, while endpoints come and go.

use std::env;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use tests::dns::query;
use tests::namespace::Namespace;
use tests::process::measured;
use tests::topology::{Bed, netdp_binary};

use crate::ways::gateway;

/// Queries a second of all containers together, unless `NETDP_DNS_RATE` says another number: on a machine that has other
/// things to do. A tenth of a binary that was built without optimisation.
const RATE: u32 = 20_000;
/// For how long.
const LENGTH: Duration = Duration::from_secs(10);
/// Containers that ask.
const CONTAINERS: u32 = 4;
/// Sockets of each, with a port of its own.
const SOCKETS: usize = 8;
/// An answer that has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(3);
/// Where the addresses of an answer's last record stand: at its end.
const ADDRESS: usize = 4;

/// What one container saw.
struct Seen {
    sent: usize,
    wrong: usize,
    waits: Vec<Duration>,
}

/// A socket with what was sent by it: for each number of a query, when.
struct Asking {
    socket: UdpSocket,
    sent: Vec<Option<Instant>>,
}

impl Asking {
    fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.connect(server).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, sent: vec![None; 1 << 16] }
    }

    fn send(&mut self, number: u16, query: &mut [u8]) {
        query[..2].copy_from_slice(&number.to_be_bytes());
        assert_eq!(self.sent[usize::from(number)].replace(Instant::now()), None, "a number twice at a time");
        self.socket.send(query).unwrap();
    }

    fn receive(&mut self, expected: Ipv4Addr, seen: &mut Seen) {
        let mut buffer = [0; 512];
        loop {
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            };
            let number = u16::from_be_bytes([buffer[0], buffer[1]]);
            let sent = self.sent[usize::from(number)].take().unwrap();
            seen.waits.push(sent.elapsed());
            let is_right = buffer[..length].ends_with(&expected.octets()) && length > ADDRESS;
            seen.wrong += usize::from(!is_right);
        }
    }
}

/// Asks for a name at a rate for [`LENGTH`], and waits for the last answers.
fn load(ns: &Namespace, server: SocketAddr, name: &str, expected: Ipv4Addr, rate: u32) -> Seen {
    ns.enter(|| {
        let mut bytes = query(name, RecordType::A).to_vec().unwrap();
        let mut asking: Vec<Asking> = (0..SOCKETS).map(|_| Asking::new(server)).collect();
        let mut seen = Seen { sent: 0, wrong: 0, waits: Vec::new() };
        let rate = usize::try_from(rate).unwrap();
        let all = usize::try_from(LENGTH.as_secs()).unwrap() * rate;
        let begin = Instant::now();
        while begin.elapsed() < LENGTH + PATIENCE && seen.waits.len() < all {
            let elapsed = usize::try_from(begin.elapsed().min(LENGTH).as_micros()).unwrap();
            let due = elapsed * rate / 1_000_000;
            while seen.sent < due {
                let number = u16::try_from(seen.sent / SOCKETS % (1 << 16)).unwrap();
                asking[seen.sent % SOCKETS].send(number, &mut bytes);
                seen.sent += 1;
            }
            for one in &mut asking {
                one.receive(expected, &mut seen);
            }
            thread::sleep(Duration::from_micros(200));
        }
        seen
    })
}

#[test]
fn twenty_thousand_queries_a_second_while_endpoints_come_and_go() {
    let bed = Bed::alone();
    let host = bed.unwatched_host("h1");
    let _service = host.up();
    host.netdp(&["network", "create", "net1"]).done();
    let usual =
        if netdp_binary().components().any(|part| part.as_os_str() == "debug") { RATE / 10 } else { RATE };
    let rate: u32 = env::var("NETDP_DNS_RATE").map_or(usual, |text| text.parse().unwrap());
    let containers: Vec<_> = (0..CONTAINERS)
        .map(|number| bed.container(&host, &format!("c{number}"), &["--network", "net1"]))
        .collect();
    let web = bed.container(&host, "web", &["--network", "net1"]);
    let guest = bed.namespace("guest");
    let path = guest.path().to_str().unwrap();
    let done = AtomicBool::new(false);
    let (seen, changes) = thread::scope(|scope| {
        let changing = scope.spawn(|| {
            let mut changes = 0;
            while !done.load(Ordering::Relaxed) {
                host.netdp(&["attach", "--netns", path, "--name", "guest", "--network", "net1"]).done();
                host.netdp(&["detach", "guest"]).done();
                changes += 2;
            }
            changes
        });
        let askers: Vec<_> = containers
            .iter()
            .map(|container| {
                let server = SocketAddr::from((gateway(container), 53));
                scope.spawn(move || load(&container.ns, server, "web", web.address, rate / CONTAINERS))
            })
            .collect();
        let seen: Vec<Seen> = askers.into_iter().map(|asker| asker.join().unwrap()).collect();
        done.store(true, Ordering::Relaxed);
        (seen, changing.join().unwrap())
    });
    let sent: usize = seen.iter().map(|seen| seen.sent).sum();
    let wrong: usize = seen.iter().map(|seen| seen.wrong).sum();
    let mut waits: Vec<Duration> = seen.into_iter().flat_map(|seen| seen.waits).collect();
    waits.sort_unstable();
    let at = |percent: usize| waits[(waits.len() - 1) * percent / 100];
    measured(&format!(
        "dns: {sent} queries in {} s ({rate}/s), {changes} changes of endpoints, {} lost, {wrong} wrong; p50 {:?}, p99 {:?}, \
         longest {:?}",
        LENGTH.as_secs(),
        sent - waits.len(),
        at(50),
        at(99),
        at(100),
    ));
    assert_eq!((sent - waits.len(), wrong), (0, 0), "lost and wrong");
    assert_eq!(sent, (rate / CONTAINERS * CONTAINERS) as usize * 10);
}
