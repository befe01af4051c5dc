//! Small servers and clients whose answers say who answered and whom it saw.
//!
//! A server on a port answers TCP and UDP alike. To a line of TCP, and to a datagram, it answers
//! `NAME PEER\n` with the address that it saw the question come from; to `GET` it answers the same as HTTP.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::namespace::Namespace;
use crate::process::patient;

/// How long a client waits for an answer, on a machine of usual speed.
const PATIENCE: Duration = Duration::from_secs(3);

/// An answer as the client got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Name of the server that answered.
    pub name: String,
    /// The client as that server saw it.
    pub seen: SocketAddr,
    /// The client as it sees itself.
    pub local: SocketAddr,
}

impl Answer {
    fn parse(text: &str, local: SocketAddr) -> io::Result<Self> {
        let (name, seen) =
            text.trim_end().split_once(' ').ok_or_else(|| io::Error::other(text.to_owned()))?;
        let seen = seen.parse().map_err(io::Error::other)?;
        Ok(Self { name: name.to_owned(), seen, local })
    }
}

/// Binds a socket inside. A command that another test starts at this moment has what was just closed here, until it is
/// that command: an address that is taken is tried again for a while.
pub fn bound<T: Send>(ns: &Namespace, bind: impl Fn() -> io::Result<T> + Sync) -> T {
    let deadline = Instant::now() + patient(PATIENCE);
    loop {
        match ns.enter(&bind) {
            Err(e) if e.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            result => return result.unwrap(),
        }
    }
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Listens on all addresses of the namespace.
    pub fn start(ns: &Namespace, port: u16) -> Self {
        Self::start_at(ns, (Ipv4Addr::UNSPECIFIED, port).into())
    }

    /// Listens on all addresses of both families; an IPv4 client is then seen as `::ffff:1.2.3.4`.
    pub fn start_dual(ns: &Namespace, port: u16) -> Self {
        Self::start_at(ns, (Ipv6Addr::UNSPECIFIED, port).into())
    }

    /// Listens on one address of the namespace.
    pub fn start_at(ns: &Namespace, address: SocketAddr) -> Self {
        let tcp = bound(ns, || TcpListener::bind(address));
        let udp = bound(ns, || UdpSocket::bind(address));
        tcp.set_nonblocking(true).unwrap();
        udp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (name, until) = (ns.name().to_owned(), Arc::clone(&stop));
        let streams = thread::spawn(move || serve_streams(&tcp, &name, &until));
        let (name, until) = (ns.name().to_owned(), Arc::clone(&stop));
        let datagrams = thread::spawn(move || serve_datagrams(&udp, &name, &until));
        Self { stop, threads: vec![streams, datagrams] }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve_streams(listener: &TcpListener, name: &str, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, peer)) => {
                let text = format!("{name} {peer}\n");
                thread::spawn(move || converse(&stream, &text));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_micros(100)),
            Err(_) => return,
        }
    }
}

fn converse(stream: &TcpStream, text: &str) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        if line.starts_with("GET ") {
            return answer_http(lines, stream, text);
        }
        (&mut &*stream).write_all(text.as_bytes())?;
        line.clear();
    }
    Ok(())
}

fn answer_http(mut lines: BufReader<&TcpStream>, mut stream: &TcpStream, text: &str) -> io::Result<()> {
    let mut line = String::new();
    while lines.read_line(&mut line)? > 2 {
        line.clear();
    }
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len())
}

fn serve_datagrams(socket: &UdpSocket, name: &str, stop: &AtomicBool) {
    let mut question = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((_, peer)) = socket.recv_from(&mut question) {
            let _ = socket.send_to(format!("{name} {peer}\n").as_bytes(), peer);
        }
    }
}

/// Asks a server over TCP, from a port of the kernel's choice.
pub fn ask_tcp(ns: &Namespace, to: (Ipv4Addr, u16)) -> io::Result<Answer> {
    ask_tcp_at(ns, to.into())
}

/// The same for an address of either family.
pub fn ask_tcp_at(ns: &Namespace, to: SocketAddr) -> io::Result<Answer> {
    ask_stream(&ns.enter(|| connect_here(to))?)
}

/// Opens a TCP connection from inside the namespace.
pub fn connect(ns: &Namespace, to: (Ipv4Addr, u16)) -> io::Result<TcpStream> {
    ns.enter(|| connect_here(to.into()))
}

fn connect_here(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, patient(PATIENCE))?;
    stream.set_read_timeout(Some(patient(PATIENCE)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks once over a connection that stays open.
pub fn ask_stream(stream: &TcpStream) -> io::Result<Answer> {
    (&mut &*stream).write_all(b"who\n")?;
    let mut line = String::new();
    BufReader::with_capacity(256, stream).read_line(&mut line)?;
    Answer::parse(&line, stream.local_addr()?)
}

/// Asks a server over UDP from the given port; 0 leaves the choice to the kernel.
pub fn ask_udp(ns: &Namespace, from: u16, to: (Ipv4Addr, u16)) -> io::Result<Answer> {
    ask_udp_at(ns, from, to.into())
}

/// The same for an address of either family.
pub fn ask_udp_at(ns: &Namespace, from: u16, to: SocketAddr) -> io::Result<Answer> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = ns.enter(|| UdpSocket::bind((any, from)))?;
    socket.connect(to)?;
    ask_datagram(&socket)
}

/// Asks once over a connected UDP socket.
pub fn ask_datagram(socket: &UdpSocket) -> io::Result<Answer> {
    socket.set_read_timeout(Some(patient(PATIENCE)))?;
    socket.send(b"who\n")?;
    let mut answer = [0; 256];
    let length = socket.recv(&mut answer)?;
    Answer::parse(&String::from_utf8_lossy(&answer[..length]), socket.local_addr()?)
}

/// Asserts that both protocols reach the server of this name, and gives the client's address as it saw it.
pub fn assert_served(ns: &Namespace, to: (Ipv4Addr, u16), name: &str) -> IpAddr {
    assert_served_at(ns, to.into(), name)
}

/// The same for an address of either family.
pub fn assert_served_at(ns: &Namespace, to: SocketAddr, name: &str) -> IpAddr {
    let tcp = ask_tcp_at(ns, to).unwrap_or_else(|e| panic!("tcp from {} to {to}: {e}", ns.name()));
    let udp = ask_udp_at(ns, 0, to).unwrap_or_else(|e| panic!("udp from {} to {to}: {e}", ns.name()));
    assert_eq!((tcp.name.as_str(), udp.name.as_str()), (name, name));
    assert_eq!(tcp.seen.ip(), udp.seen.ip(), "TCP and UDP are seen from the same address");
    tcp.seen.ip()
}

/// Asserts that neither protocol is answered from there.
pub fn assert_refused(ns: &Namespace, to: (Ipv4Addr, u16)) {
    assert_refused_at(ns, to.into());
}

/// The same for an address of either family.
pub fn assert_refused_at(ns: &Namespace, to: SocketAddr) {
    let short = Duration::from_millis(400);
    let tcp = ns.enter(|| TcpStream::connect_timeout(&to, short));
    assert!(tcp.is_err(), "tcp from {} to {to} was answered", ns.name());
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = ns.enter(|| UdpSocket::bind((any, 0))).unwrap();
    socket.set_read_timeout(Some(short)).unwrap();
    let answered =
        socket.connect(to).and_then(|()| socket.send(b"who\n")).and_then(|_| socket.recv(&mut [0; 8]));
    assert!(answered.is_err(), "udp from {} to {to} was answered", ns.name());
}

/// What a [`Requests`] loop has done.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Requests that were answered.
    pub answered: u64,
    /// What went wrong with the others.
    pub failed: Vec<String>,
    /// The longest that one request took.
    pub slowest: Duration,
}

/// Connects, asks and closes at full speed until it is stopped.
#[derive(Debug)]
pub struct Requests {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<Tally>,
}

impl Requests {
    /// Starts the loop on a thread inside the namespace.
    pub fn start(ns: &Namespace, to: (Ipv4Addr, u16)) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (until, count) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = ns.spawn(move || {
            while !until.load(Ordering::Relaxed) {
                one_request(to, &mut tally.lock().unwrap());
                count.store(tally.lock().unwrap().answered, Ordering::Relaxed);
            }
            tally.lock().unwrap().clone()
        });
        Self { stop, answered, thread }
    }

    /// Requests answered so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends the loop and says what it did.
    pub fn finish(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn one_request(to: (Ipv4Addr, u16), tally: &mut Tally) {
    let begin = Instant::now();
    match connect_here(to.into()).and_then(|stream| ask_stream(&stream)) {
        Ok(_) => tally.answered += 1,
        Err(error) => tally.failed.push(error.to_string()),
    }
    tally.slowest = tally.slowest.max(begin.elapsed());
}

/// Reads a stream to its end and says how much came.
pub fn drain(mut stream: &TcpStream) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(total),
            length => total += u64::try_from(length).unwrap(),
        }
    }
}
