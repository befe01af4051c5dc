//! Takes queries in and sends answers out.
//!
//! Datagrams are answered on threads of their own, straight from the directory. What needs somebody else goes to the runtime,
//! as connections do, so that no slow server of somebody's holds up the names of containers.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use netdp_common::resolver;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Error;
use super::answer::{Decision, decide, encode};
use super::directory::Directory;
use super::forward::Forwarder;
use super::privilege;
use super::resolv_conf::ResolvConf;
use super::shares::Shares;
use super::socket::{self, Datagrams, Envelope, Family};
use super::source::Source;
use crate::datapath::{Datapath, Served};

/// Threads that answer datagrams, of each family: as many as can be of use beside those that ask.
const THREADS: usize = 2;
/// Queries that are answered from one look at the database, if so many wait.
const BATCH: usize = 64;
/// Connections at a time; one more waits until another ends.
const CONNECTIONS: usize = 256;
/// And of them for one asker, who is hung up on beyond it.
const CONNECTIONS_EACH: usize = 64;
/// How long a connection may be idle (RFC 7766, 6.2.3).
const IDLE: Duration = Duration::from_secs(10);
/// A query has a question and an OPT record: far less than this.
const LONGEST_QUERY: usize = 4096;

/// What all of them share.
#[derive(Debug)]
struct Shared {
    source: Source,
    forwarder: Forwarder,
    runtime: Handle,
    ending: AtomicBool,
}

/// A resolver that serves.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    _way: Served,
}

impl Server {
    /// Opens the sockets and has queries come to them, instead of to those of whoever served before.
    ///
    /// # Errors
    /// The kernel refuses. A host without IPv6 is served without it.
    pub fn begin(datapath: &Datapath, state_dir: &Path, upstreams: ResolvConf) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            source: Source::new(state_dir),
            forwarder: Forwarder::new(upstreams),
            runtime: Handle::current(),
            ending: AtomicBool::new(false),
        });
        let mut opened = Vec::new();
        for family in [Family::V4, Family::V6] {
            let open = || Ok::<_, Error>((Datagrams::open(family)?, socket::connections(family)?));
            match open() {
                Ok((udp, tcp)) => opened.push((family, udp, tcp)),
                Err(error) if family == Family::V6 => {
                    tracing::info!("names are not served by IPv6: {error}");
                }
                Err(error) => return Err(error),
            }
        }
        for (family, udp, tcp) in &opened {
            let (datagrams, connections) = match family {
                Family::V4 => (resolver::UDP4, resolver::TCP4),
                Family::V6 => (resolver::UDP6, resolver::TCP6),
            };
            datapath.put_resolver(datagrams, udp)?;
            datapath.put_resolver(connections, tcp)?;
        }
        let way = datapath.serve_names()?;
        // Before anything is read that somebody has sent, and before there is another thread, which would keep its own.
        privilege::give_up()?;
        let mut threads = Vec::new();
        for (_, udp, tcp) in opened {
            threads.extend(receivers(&shared, &udp)?);
            accept(&shared, tcp)?;
        }
        Ok(Self { shared, threads, _way: way })
    }

    /// Answers what has come in already, and ends.
    pub async fn end(self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|it| drop(it.join())));
        // A thread that has panicked has nothing left to answer.
        drop(joined.await);
        self.shared.forwarder.rest().await;
    }
}

fn receivers(shared: &Arc<Shared>, socket: &Datagrams) -> Result<Vec<JoinHandle<()>>, Error> {
    let receiver = |_| {
        let (shared, socket) = (Arc::clone(shared), Arc::new(socket.share()?));
        let named = thread::Builder::new().name("names".to_owned());
        named.spawn(move || receive(&shared, &socket)).map_err(Error::socket("start a thread"))
    };
    (0..THREADS).map(receiver).collect()
}

/// Until it is told to end and nothing waits any more.
fn receive(shared: &Arc<Shared>, socket: &Arc<Datagrams>) {
    let mut buffer = vec![0; LONGEST_QUERY];
    let mut batch: Vec<(Vec<u8>, Envelope)> = Vec::with_capacity(BATCH);
    loop {
        let ending = shared.ending.load(Ordering::Relaxed);
        while batch.len() < BATCH {
            match socket.receive(&mut buffer, batch.is_empty() && !ending) {
                Ok(Some((length, envelope))) => {
                    batch.push((buffer.get(..length).unwrap_or_default().to_vec(), envelope));
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!("cannot receive: {error}");
                    break;
                }
            }
        }
        if batch.is_empty() {
            if ending {
                return;
            }
            continue;
        }
        let directory = shared.source.current();
        batch.drain(..).for_each(|(query, envelope)| datagram(shared, socket, &directory, &query, envelope));
    }
}

fn datagram(
    shared: &Arc<Shared>,
    socket: &Arc<Datagrams>,
    directory: &Arc<Directory>,
    query: &[u8],
    envelope: Envelope,
) {
    let send = move |socket: &Datagrams, bytes: &[u8]| {
        // Whoever asked may be gone.
        if let Err(error) = socket.answer(&envelope, bytes) {
            tracing::debug!(to = %envelope.from, "cannot answer: {error}");
        }
    };
    let (decision, limit) = decide(query, envelope.server, envelope.from.ip(), directory);
    let (asked, beyond) = match decision {
        Decision::Ignore => return,
        Decision::Answer(answer) => return send(socket, &encode(&answer, limit)),
        Decision::Forward(asked, beyond) => (asked, beyond),
    };
    if let Some(answer) = shared.forwarder.remembered(&asked, &beyond, directory) {
        return send(socket, &encode(&answer, limit));
    }
    let Some(permit) = shared.forwarder.permit(directory.asker(envelope.server, envelope.from.ip())) else {
        return send(socket, &encode(&asked.refused(), limit));
    };
    let (shared, socket, directory) = (Arc::clone(shared), Arc::clone(socket), Arc::clone(directory));
    let runtime = shared.runtime.clone();
    runtime.spawn(async move {
        let answer = shared.forwarder.ask(&asked, &beyond, &directory).await;
        send(&socket, &encode(&answer, limit));
        drop(permit);
    });
}

fn accept(shared: &Arc<Shared>, listener: TcpListener) -> Result<(), Error> {
    let listener = tokio::net::TcpListener::from_std(listener).map_err(Error::socket("use a socket"))?;
    let (shared, places) = (Arc::clone(shared), Arc::new(Semaphore::new(CONNECTIONS)));
    let shares = Shares::new(CONNECTIONS, CONNECTIONS_EACH);
    tokio::spawn(async move {
        // It is never closed.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let Ok(server) = stream.local_addr() else { continue };
                    let asker = shared.source.current().asker(server.ip(), from.ip());
                    let Some(share) = shares.take(asker) else { continue };
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        if let Err(error) = converse(&shared, stream).await {
                            tracing::debug!("a connection ended: {error}");
                        }
                        drop((place, share));
                    });
                }
                Err(error) => {
                    tracing::warn!("cannot take a connection: {error}");
                    tokio::time::sleep(IDLE / 100).await;
                }
            }
        }
    });
    Ok(())
}

/// One query after the other, each with its length before it, until the client ends or says nothing.
async fn converse(shared: &Arc<Shared>, mut stream: TcpStream) -> io::Result<()> {
    let (server, from) = (stream.local_addr()?.ip(), stream.peer_addr()?.ip());
    while let Ok(Ok(length)) = timeout(IDLE, stream.read_u16()).await {
        let mut query = vec![0; length.into()];
        timeout(IDLE, stream.read_exact(&mut query)).await??;
        let directory = shared.source.current();
        let (decision, _) = decide(&query, server, from, &directory);
        let answer = match decision {
            Decision::Ignore => return Ok(()),
            Decision::Answer(answer) => answer,
            Decision::Forward(asked, beyond) => {
                match (
                    shared.forwarder.remembered(&asked, &beyond, &directory),
                    shared.forwarder.permit(directory.asker(server, from)),
                ) {
                    (Some(answer), _) => answer,
                    (None, Some(_permit)) => shared.forwarder.ask(&asked, &beyond, &directory).await,
                    (None, None) => asked.refused(),
                }
            }
        };
        let bytes = encode(&answer, u16::MAX);
        let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        timeout(IDLE, stream.write_all(&[&length.to_be_bytes(), &bytes[..]].concat())).await??;
    }
    Ok(())
}
