//! Beside what only some kernels have as modules: other protocols, bad links, tagged frames, tunnels, flowtables.

mod flowtable;
mod netem;
mod sctp;
mod vlan;
mod wireguard;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use tests::capture::Capture;
use tests::namespace::Namespace;
use tests::process::patient;
use tests::topology::{Container, Host};

/// How long a transfer may stand still.
const STALLED: Duration = Duration::from_secs(10);

/// The longest that a test moves.
const LONGEST: usize = 2 << 20;

/// Bytes that do not repeat, so that one that is lost, doubled or out of place is seen.
fn pattern(length: usize) -> &'static [u8] {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut state = 1_u32;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..LONGEST).map(next).collect()
    });
    &BYTES[..length]
}

/// Takes the pattern from one connection and sends it back.
fn take_and_return(listener: TcpListener, length: usize) -> JoinHandle<io::Result<()>> {
    thread::spawn(move || {
        let (stream, _) = listener.accept()?;
        receive(&stream, length)?;
        send(&stream, length)
    })
}

/// Sends the pattern and takes it back.
fn send_and_take(stream: &TcpStream, length: usize) -> io::Result<()> {
    send(stream, length)?;
    receive(stream, length)
}

fn send(mut stream: &TcpStream, length: usize) -> io::Result<()> {
    stream.set_write_timeout(Some(patient(STALLED)))?;
    // In pieces: of SCTP each is a message, and one that is larger than the send buffer is refused.
    pattern(length).chunks(8192).try_for_each(|piece| stream.write_all(piece))
}

fn receive(mut stream: &TcpStream, length: usize) -> io::Result<()> {
    stream.set_read_timeout(Some(patient(STALLED)))?;
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    if bytes == pattern(length) { Ok(()) } else { Err(io::Error::other("other bytes than were sent")) }
}

/// Moves the pattern there and back over TCP, and fails the test when a byte is missing or wrong. The server listens on
/// `port` in its namespace, the client connects to `to`.
fn assert_transfer(server: (&Namespace, u16), client: &Namespace, to: (Ipv4Addr, u16), length: usize) {
    let (ns, port) = server;
    let listener = ns.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))).unwrap();
    let serving = take_and_return(listener, length);
    // As patient as what follows: over a bad link a few of the first packets may be lost.
    let stream = client
        .enter(|| TcpStream::connect_timeout(&to.into(), patient(STALLED)))
        .unwrap_or_else(|e| panic!("tcp from {} to {to:?}: {e}", client.name()));
    send_and_take(&stream, length).unwrap_or_else(|e| panic!("tcp from {} to {to:?}: {e}", client.name()));
    serving.join().unwrap().unwrap_or_else(|e| panic!("the server in {}: {e}", ns.name()));
}

/// Packets that netdp has passed on under the reason.
fn forwarded(host: &Host, reason: &str) -> u64 {
    let status = host.json(&["status"]);
    let rows = status["forwards"].as_array().unwrap();
    rows.iter().find(|row| row["reason"] == reason).and_then(|row| row["packets"].as_u64()).unwrap_or(0)
}

/// Name of the host's end of a container's veth pair.
fn host_end(host: &Host, container: &Container) -> String {
    let inside: Value = container.ns.sh("ip -j link show dev eth0").json();
    let links: Value = host.ns.sh("ip -j link show").json();
    let end = links.as_array().unwrap().iter().find(|link| link["ifindex"] == inside[0]["link_index"]);
    end.unwrap_or_else(|| panic!("no end of {inside} among {links}"))["ifname"].as_str().unwrap().to_owned()
}

/// IPv4 packets that an interface has sent, with this protocol or, for `None`, with any.
pub(crate) fn sent(capture: &Capture, protocol: Option<u8>) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    let seen = capture.seen();
    let packets = seen.frames.iter().filter(|frame| frame.outgoing).filter_map(tests::capture::Frame::ipv4);
    packets
        .filter(|(found, ..)| protocol.is_none_or(|p| p == *found))
        .map(|(_, from, to)| (from, to))
        .collect()
}
