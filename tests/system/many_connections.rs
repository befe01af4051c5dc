//! Very many short connections from one container to one address and port (R2: what is over must not keep the next out).

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tests::namespace::Namespace;
use tests::process::measured;
use tests::topology::Bed;

const CONNECTIONS: u32 = 60_000;
/// Clients that connect at once.
const CLIENTS: u32 = 4;
const PORT: u16 = 7000;
/// Within this a connection is there and answered, or it has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Greets whoever connects and closes first, so that `TIME_WAIT` is on its side, and the client's port is free at once.
fn serve(ns: &Namespace) -> JoinHandle<()> {
    let listener = ns.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap());
    ns.spawn(move || {
        for _ in 0..CONNECTIONS {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"x").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        }
    })
}

fn once(to: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut got = Vec::new();
    stream.read_to_end(&mut got)?;
    if got == b"x" { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

/// Connects again and again; says what failed.
fn connect(ns: &Namespace, to: SocketAddr) -> JoinHandle<Vec<String>> {
    let each = 0..CONNECTIONS / CLIENTS;
    ns.spawn(move || each.filter_map(|_| once(to).err()).map(|error| error.to_string()).collect())
}

#[test]
fn sixty_thousand_connections_to_one_port_in_a_minute_all_succeed() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let c1 = bed.container(&host, "c1", &[]);
    c1.ns.set_sysctl("net/ipv4/ip_local_port_range", "1024 65535");
    let server = serve(&bed.outside.ns);
    let begin = Instant::now();
    let to = SocketAddr::from((bed.outside.address, PORT));
    let clients: Vec<_> = (0..CLIENTS).map(|_| connect(&c1.ns, to)).collect();
    let failed: Vec<String> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    let took = begin.elapsed();
    measured(&format!("{CONNECTIONS} connections in {took:?}, {} failed", failed.len()));
    assert!(failed.is_empty(), "{} failed, the first: {:?}", failed.len(), failed.first());
    let again = c1.ns.stack_counter("netstat", "TcpExt", "TCPSynRetrans");
    assert_eq!(again, 0, "SYNs that were sent again: none was lost");
    assert!(took < Duration::from_mins(1), "{took:?}");
    server.join().unwrap();
}
