//! Queries and their answers, and name servers that answer as a test wants.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::namespace::Namespace;
use crate::process::patient;

/// How long the C library waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A query for a name that ends with a dot or is taken for one that does.
pub fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(format!("{}.", name.trim_end_matches('.'))).unwrap();
    message.add_query(Query::query(name, kind));
    message
}

/// The same from a client that takes larger datagrams.
pub fn query_edns(name: &str, kind: RecordType, size: u16) -> Message {
    let mut message = query(name, kind);
    let mut edns = Edns::new();
    edns.set_max_payload(size);
    message.set_edns(edns);
    message
}

/// Asks by a datagram, and checks that the answer is one to this query.
///
/// # Errors
/// Nobody answers within the time that a client has.
pub fn ask(ns: &Namespace, server: impl Into<IpAddr>, query: &Message) -> io::Result<Message> {
    let bytes = ask_bytes(ns, server, &query.to_vec().unwrap())?;
    let answer = Message::from_vec(&bytes).unwrap();
    assert_eq!(
        (answer.metadata.id, answer.metadata.message_type),
        (query.metadata.id, MessageType::Response)
    );
    assert_eq!(answer.queries, query.queries);
    Ok(answer)
}

/// Asks by any datagram.
///
/// # Errors
/// As for [`ask`].
pub fn ask_bytes(ns: &Namespace, server: impl Into<IpAddr>, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let server = SocketAddr::new(server.into(), 53);
    ns.enter(|| {
        let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(patient(PATIENCE)))?;
        socket.connect(server)?;
        socket.send(bytes)?;
        let mut buffer = vec![0; 65_536];
        let length = socket.recv(&mut buffer)?;
        buffer.truncate(length);
        Ok(buffer)
    })
}

/// Asks by a connection, several queries one after the other.
///
/// # Errors
/// As for [`ask`].
pub fn ask_by_tcp(
    ns: &Namespace,
    server: impl Into<IpAddr>,
    queries: &[Message],
) -> io::Result<Vec<Message>> {
    let server = SocketAddr::new(server.into(), 53);
    ns.enter(|| {
        let mut stream = TcpStream::connect_timeout(&server, patient(PATIENCE))?;
        stream.set_read_timeout(Some(patient(PATIENCE)))?;
        let mut answers = Vec::new();
        for query in queries {
            write_framed(&mut stream, &query.to_vec().unwrap())?;
            answers.push(Message::from_vec(&read_framed(&mut stream)?).unwrap());
        }
        Ok(answers)
    })
}

fn write_framed(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let length = u16::try_from(bytes.len()).unwrap();
    stream.write_all(&[&length.to_be_bytes(), bytes].concat())
}

fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The addresses in an answer, in the order in which they stand there.
pub fn addresses(answer: &Message) -> Vec<IpAddr> {
    let address = |record: &Record| match &record.data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    };
    answer.answers.iter().filter_map(address).collect()
}

/// A name server that answers what a test wants, by both protocols, until it is dropped.
#[derive(Debug)]
pub struct NameServer {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    names: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

/// What it answers; `None` is silence. The flag says that it was asked by a connection.
pub type Reply = dyn Fn(&Message, bool) -> Option<Message> + Send + Sync;

impl NameServer {
    /// Listens on port 53 of an address of the namespace.
    pub fn start(
        ns: &Namespace,
        address: impl Into<IpAddr>,
        reply: impl Fn(&Message, bool) -> Option<Message> + Send + Sync + 'static,
    ) -> Self {
        let address = SocketAddr::new(address.into(), 53);
        let (tcp, udp) = ns.enter(|| (TcpListener::bind(address), UdpSocket::bind(address)));
        let (tcp, udp) = (tcp.unwrap(), udp.unwrap());
        tcp.set_nonblocking(true).unwrap();
        udp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let reply: Arc<Reply> = Arc::new(reply);
        let mut server =
            Self { stop: Arc::default(), asked: Arc::default(), names: Arc::default(), threads: Vec::new() };
        let (stop, asked, names) = server.handles();
        let to_datagrams = Arc::clone(&reply);
        server.threads.push(thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = udp.recv_from(&mut buffer) else { continue };
                let query = Message::from_vec(&buffer[..length]).unwrap();
                note(&query, &asked, &names);
                if let Some(answer) = to_datagrams(&query, false) {
                    let _ = udp.send_to(&answer.to_vec().unwrap(), from);
                }
            }
        }));
        let (stop, asked, names) = server.handles();
        server.threads.push(thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = tcp.accept() else {
                    thread::sleep(Duration::from_millis(10));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                let Ok(bytes) = read_framed(&mut stream) else { continue };
                let query = Message::from_vec(&bytes).unwrap();
                note(&query, &asked, &names);
                if let Some(answer) = reply(&query, true) {
                    let _ = write_framed(&mut stream, &answer.to_vec().unwrap());
                }
            }
        }));
        server
    }

    fn handles(&self) -> (Arc<AtomicBool>, Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>) {
        (Arc::clone(&self.stop), Arc::clone(&self.asked), Arc::clone(&self.names))
    }

    /// How many queries have come.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// For which names.
    pub fn names(&self) -> Vec<String> {
        self.names.lock().unwrap().clone()
    }
}

fn note(query: &Message, asked: &AtomicUsize, names: &Mutex<Vec<String>>) {
    asked.fetch_add(1, Ordering::Relaxed);
    names.lock().unwrap().push(query.queries[0].name().to_ascii());
}

/// An answer with the addresses of the family that was asked for, good for so many seconds.
pub fn answer(query: &Message, addresses: &[IpAddr], ttl: u32) -> Message {
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.queries.clone_from(&query.queries);
    let asked = &query.queries[0];
    for address in addresses {
        let data = match (address, asked.query_type()) {
            (IpAddr::V4(address), RecordType::A) => RData::A((*address).into()),
            (IpAddr::V6(address), RecordType::AAAA) => RData::AAAA((*address).into()),
            _ => continue,
        };
        answer.add_answer(Record::from_rdata(asked.name().clone(), ttl, data));
    }
    answer
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
