//! Names that no network has: the servers of the endpoint, the network or the host are asked, from this host's own addresses.
//!
//! A client gives up after 5 s. So the first server has `STAGGER` to itself, then the next is asked too, and so on; whoever
//! answers first has answered, and one that refuses or fails makes way for the next at once. A server that was of no use just
//! now is asked last for a while.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep, sleep_until};

use super::answer::{Asked, MAX_DATAGRAM};
use super::cache::{Cache, Key, Reply};
use super::directory::{Asker, Beyond, Directory};
use super::resolv_conf::ResolvConf;
use super::shares::{Share, Shares};

/// Where servers listen.
const PORT: u16 = 53;
/// What is asked at a time, as in Docker; more are refused, and their clients ask again.
const MOST: usize = 1024;
/// And of it for one asker, so that one whose server is silent leaves room for the others.
const EACH: usize = 256;
/// The time that a server has before another is asked beside it.
const STAGGER: Duration = Duration::from_millis(800);
/// All of it: a little less than the 5 s of the C library.
const PATIENCE: Duration = Duration::from_millis(4500);
/// Datagrams are lost: this often they are sent to each server.
const ROUNDS: usize = 2;
/// How long a server that was of no use is asked last.
const DISGRACE: Duration = Duration::from_secs(10);
/// How often whoever waits for the end of all of it looks.
const INTERVAL: Duration = Duration::from_millis(10);

/// Asks others, and remembers what they say.
#[derive(Debug)]
pub struct Forwarder {
    /// Where servers listen.
    port: u16,
    shares: Shares,
    host: ResolvConf,
    cache: Mutex<Cache>,
    failed: Mutex<HashMap<IpAddr, Instant>>,
}

impl Forwarder {
    /// With the servers of the host as its file has them.
    pub fn new(host: ResolvConf) -> Self {
        Self {
            port: PORT,
            shares: Shares::new(MOST, EACH),
            host,
            cache: Mutex::default(),
            failed: Mutex::default(),
        }
    }

    /// The right to ask for somebody; `None` when too much is being asked already.
    pub fn permit(&self, asker: Asker) -> Option<Share> {
        self.shares.take(asker)
    }

    /// Waits until nothing is being asked any more.
    pub async fn rest(&self) {
        while !self.shares.are_free() {
            sleep(INTERVAL).await;
        }
    }

    /// The answer from what was said before, if that is still good.
    pub fn remembered(&self, asked: &Asked, beyond: &Beyond, directory: &Directory) -> Option<Message> {
        let key = self.key(asked, beyond, directory);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        Some(complete(asked, cache.get(&key, Instant::now().into_std())?))
    }

    /// Asks, and says what came of it within the time that a client waits.
    pub async fn ask(&self, asked: &Asked, beyond: &Beyond, directory: &Directory) -> Message {
        let key = self.key(asked, beyond, directory);
        let Some(reply) = self.race(asked, &self.in_order(&key.servers)).await else {
            let mut failed = asked.draft.clone();
            failed.metadata.response_code = ResponseCode::ServFail;
            return failed;
        };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.put(key, &reply, Instant::now().into_std());
        complete(asked, reply)
    }

    fn key(&self, asked: &Asked, beyond: &Beyond, directory: &Directory) -> Key {
        let mut servers = match beyond {
            Beyond::Nowhere => Vec::new(),
            Beyond::Host => self.host.servers(),
            Beyond::Servers(servers) => servers.clone(),
        };
        // One that is our own would ask us in turn.
        servers.retain(|server| !directory.is_ours(*server));
        let Asked { query, dnssec, checking_disabled, .. } = asked;
        Key { query: query.clone(), dnssec: *dnssec, checking_disabled: *checking_disabled, servers }
    }

    /// Those that were of use first.
    fn in_order(&self, servers: &[IpAddr]) -> Vec<IpAddr> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.retain(|_, since| since.elapsed() < DISGRACE);
        let mut servers = servers.to_vec();
        servers.sort_by_key(|server| failed.contains_key(server));
        servers
    }

    fn remember(&self, server: IpAddr, was_of_use: bool) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if was_of_use {
            failed.remove(&server);
        } else {
            failed.insert(server, Instant::now());
        }
    }

    /// The first answer that helps, else the last that does not.
    async fn race(&self, asked: &Asked, servers: &[IpAddr]) -> Option<Reply> {
        if servers.is_empty() {
            return None;
        }
        let deadline = Instant::now() + PATIENCE;
        let mut turns = servers.iter().copied().cycle().take(servers.len() * ROUNDS);
        let (mut running, mut begun) = (FuturesUnordered::new(), Vec::new());
        let (mut refused, mut last) = (Vec::new(), None);
        loop {
            let mut turn = deadline;
            if let Some(server) = turns.find(|server| !refused.contains(server)) {
                running.push(one(SocketAddr::new(server, self.port), asked));
                begun.push(server);
                turn = deadline.min(Instant::now() + STAGGER);
            }
            tokio::select! {
                biased;
                Some((server, outcome)) = running.next() => {
                    self.remember(server, outcome.is_ok());
                    match outcome {
                        Ok(reply) => {
                            self.blame(begun.iter().take_while(|before| **before != server));
                            return Some(reply);
                        }
                        Err(reply) => last = reply.or(last),
                    }
                    refused.push(server);
                }
                () = sleep_until(turn) => {}
            }
            if servers.iter().all(|server| refused.contains(server)) {
                return last;
            }
            if Instant::now() >= deadline {
                self.blame(servers.iter());
                return last;
            }
        }
    }

    /// These have not answered in time.
    fn blame<'a>(&self, servers: impl Iterator<Item = &'a IpAddr>) {
        servers.for_each(|server| self.remember(*server, false));
    }
}

/// The answer to the client from that of the server.
fn complete(asked: &Asked, reply: Reply) -> Message {
    let mut answer = asked.draft.clone();
    answer.metadata.response_code = reply.code;
    answer.metadata.authentic_data = reply.authentic;
    answer.answers = reply.answers;
    answer.authorities = reply.authorities;
    answer.additionals = reply.additionals;
    answer
}

/// Asks one server. What does not help is an error, with what the server said, if it said anything.
async fn one(server: SocketAddr, asked: &Asked) -> (IpAddr, Result<Reply, Option<Reply>>) {
    let outcome = match exchange(server, asked).await {
        Ok((message, octets)) => judge(message, octets),
        Err(error) => {
            tracing::debug!(%server, "no answer: {error}");
            Err(None)
        }
    };
    (server.ip(), outcome)
}

fn judge(message: Message, octets: usize) -> Result<Reply, Option<Reply>> {
    let reply = Reply {
        code: message.metadata.response_code,
        authentic: message.metadata.authentic_data,
        answers: message.answers,
        authorities: message.authorities,
        additionals: message.additionals,
        octets,
    };
    match reply.code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(reply),
        _ => Err(Some(reply)),
    }
}

/// What the server says, and in how many octets.
async fn exchange(server: SocketAddr, asked: &Asked) -> io::Result<(Message, usize)> {
    let query = query(asked);
    let bytes = query.to_vec().map_err(io::Error::other)?;
    let answer = by_datagram(server, &bytes, &query).await?;
    if answer.0.metadata.truncation {
        return by_connection(server, &bytes, &query).await;
    }
    Ok(answer)
}

/// A query of our own: with a number of its own, by which nobody who does not see it can answer.
fn query(asked: &Asked) -> Message {
    let mut query = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.metadata.checking_disabled = asked.checking_disabled;
    query.add_query(asked.query.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_DATAGRAM).set_dnssec_ok(asked.dnssec);
    query.set_edns(edns);
    query
}

/// From a port of its own, which the kernel chooses at random.
async fn by_datagram(server: SocketAddr, bytes: &[u8], query: &Message) -> io::Result<(Message, usize)> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let message = buffer.get(..length).and_then(|bytes| Message::from_vec(bytes).ok());
        if let Some(message) = message.filter(|message| is_answer(message, query)) {
            return Ok((message, length));
        }
    }
}

async fn by_connection(server: SocketAddr, bytes: &[u8], query: &Message) -> io::Result<(Message, usize)> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    let message = Message::from_vec(&answer).map_err(io::Error::other)?;
    if is_answer(&message, query) {
        Ok((message, answer.len()))
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

fn is_answer(message: &Message, query: &Message) -> bool {
    let same = |one: &[Query], other: &[Query]| one == other;
    message.metadata.message_type == MessageType::Response
        && message.metadata.id == query.metadata.id
        && same(&message.queries, &query.queries)
}

#[cfg(test)]
mod tests;
