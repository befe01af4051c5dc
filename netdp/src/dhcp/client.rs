//! Conversations: an address is asked for, kept, or given back.

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::Error;
use super::frame::{self, Way};
use super::message::{Answer, Client, Question, Refused, Terms};
use super::socket::{self, Socket};
use crate::model::{Lease, Mac};
use crate::names::random_bytes;

/// How long an address is asked for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a better answer is waited for after one that cannot be taken.
const HOPE: Duration = Duration::from_secs(2);
/// How long an answer to a renewal is waited for.
const RENEWAL: Duration = Duration::from_secs(4);
/// When a question is asked again; twice as long each time after (RFC 2131, 4.1, but quicker: somebody waits).
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// As long as a frame can be.
const FRAME: usize = 2048;
/// Everybody on the link.
const EVERYBODY: (Mac, Ipv4Addr) = (Mac([0xff; 6]), Ipv4Addr::BROADCAST);

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The interface of the host that is on the LAN.
    pub parent: &'a str,
    /// The MAC that the address is for.
    pub mac: Mac,
    /// The name that the server is told.
    pub hostname: &'a str,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// This address and no other.
    pub address: Option<Ipv4Addr>,
    /// Addresses that somebody has; the word says who.
    pub taken: &'a dyn Fn(Ipv4Addr) -> Option<String>,
}

/// What became of a lease that was to be renewed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Renewed {
    /// It goes on.
    Extended(Box<Lease>),
    /// A server says that it is over.
    Refused,
    /// Nobody has answered.
    Unanswered,
}

/// Gets an address from a server of the LAN. Before the server is told that its offer is taken, `offered` is told what that is:
/// whoever writes it down can give it back also when this is cut short.
pub async fn acquire(
    identity: Identity<'_>,
    asked: Asked<'_>,
    mut offered: impl AsyncFnMut(&Lease) -> Result<(), crate::Error>,
) -> Result<Lease, crate::Error> {
    let mut conversation = Conversation::begin(identity, PATIENCE)?;
    loop {
        let (terms, mac) = conversation.offer(asked).await?;
        let offer = conversation.lease(terms, mac);
        offered(&offer).await?;
        if let Some(lease) = conversation.select(&offer).await? {
            return Ok(lease);
        }
    }
}

/// Asks for more time: its own server by itself, or with `any` every server of the LAN.
pub async fn renew(lease: &Lease, any: bool) -> Result<Renewed, crate::Error> {
    let identity = Identity { parent: &lease.parent, mac: lease.mac, hostname: &lease.hostname };
    let mut conversation = Conversation::begin(identity, RENEWAL)?;
    let to = if any { EVERYBODY } else { (lease.server_mac, lease.server) };
    let way = Way { from: (lease.mac, lease.address.addr()), to };
    loop {
        conversation.say(way, Question::Extend(lease.address.addr()))?;
        while let Some((answer, mac)) = conversation.hear().await? {
            match answer {
                Answer::Ack(terms) if terms.address.addr() == lease.address.addr() => {
                    return Ok(Renewed::Extended(Box::new(conversation.lease(terms, mac))));
                }
                // One that did not lend it cannot say that it is over.
                Answer::Nak(server) if any || server == Some(lease.server) => return Ok(Renewed::Refused),
                Answer::Nak(_) | Answer::Ack(_) | Answer::Offer(_) => {}
            }
        }
        if conversation.is_over() {
            return Ok(Renewed::Unanswered);
        }
    }
}

/// Gives an address back. Nobody says whether that has arrived.
pub fn release(lease: &Lease) -> Result<(), Error> {
    let failed = |source| Error::Socket { parent: lease.parent.clone(), source };
    let client = Client { mac: lease.mac, hostname: "", xid: xid().map_err(failed)? };
    let (address, server) = (lease.address.addr(), lease.server);
    let message = client.encode(Question::Release { address, server }, 0);
    let message = message.map_err(|error| failed(io::Error::other(error)))?;
    let way = Way { from: (lease.mac, address), to: (lease.server_mac, server) };
    socket::send_once(&lease.parent, lease.mac, &frame::encode(way, &message)).map_err(failed)
}

fn xid() -> io::Result<u32> {
    Ok(u32::from_ne_bytes(random_bytes()?))
}

/// One conversation, until its time is up.
struct Conversation<'a> {
    client: Client<'a>,
    parent: &'a str,
    socket: Socket,
    begun: Instant,
    deadline: Instant,
    patience: Duration,
    /// How long the next answer is waited for before the question is asked again, and until when.
    pause: Duration,
    again: Instant,
    /// What was wrong with the first answer that could not be taken.
    refused: Option<String>,
}

impl<'a> Conversation<'a> {
    fn begin(identity: Identity<'a>, patience: Duration) -> Result<Self, Error> {
        let Identity { parent, mac, hostname } = identity;
        let failed = |source| Error::Socket { parent: parent.to_owned(), source };
        let now = Instant::now();
        Ok(Self {
            client: Client { mac, hostname, xid: xid().map_err(failed)? },
            parent,
            socket: Socket::on(parent, mac).map_err(failed)?,
            begun: now,
            deadline: now + patience,
            patience,
            pause: FIRST_PAUSE,
            again: now,
            refused: None,
        })
    }

    /// The first offer that can be taken.
    async fn offer(&mut self, asked: Asked<'_>) -> Result<(Terms, Mac), Error> {
        let way = Way { from: (self.client.mac, Ipv4Addr::UNSPECIFIED), to: EVERYBODY };
        loop {
            self.say(way, Question::Discover(asked.address))?;
            while let Some((answer, mac)) = self.hear().await? {
                let Answer::Offer(terms) = answer else { continue };
                match wrong(&terms, asked) {
                    None => return Ok((terms, mac)),
                    Some(why) => self.refuse(why),
                }
            }
            if self.is_over() {
                return Err(self.failure());
            }
        }
    }

    /// Takes an offer; none when the server has thought better of it.
    async fn select(&mut self, offer: &Lease) -> Result<Option<Lease>, Error> {
        let way = Way { from: (self.client.mac, Ipv4Addr::UNSPECIFIED), to: EVERYBODY };
        let (address, server) = (offer.address.addr(), offer.server);
        self.pause = FIRST_PAUSE;
        loop {
            self.say(way, Question::Select { address, server })?;
            while let Some((answer, mac)) = self.hear().await? {
                match answer {
                    Answer::Ack(terms) if (terms.server, terms.address.addr()) == (server, address) => {
                        return Ok(Some(self.lease(terms, mac)));
                    }
                    Answer::Nak(by) if by.is_none_or(|by| by == server) => {
                        self.refuse(format!("{server} offered {address}, and then refused it"));
                        return Ok(None);
                    }
                    Answer::Ack(_) | Answer::Nak(_) | Answer::Offer(_) => {}
                }
            }
            if self.is_over() {
                self.refuse(format!("{server} offered {address}, and did not answer when it was taken"));
                return Err(self.failure());
            }
        }
    }

    fn lease(&self, terms: Terms, server_mac: Mac) -> Lease {
        terms.lease(self.parent, &self.client, server_mac, crate::instance::now())
    }

    fn say(&mut self, way: Way, question: Question) -> Result<(), Error> {
        let seconds = u16::try_from(self.begun.elapsed().as_secs()).unwrap_or(u16::MAX);
        let message =
            self.client.encode(question, seconds).map_err(|error| self.failed(io::Error::other(error)))?;
        self.socket.send(&frame::encode(way, &message)).map_err(|error| self.failed(error))?;
        self.again = (Instant::now() + self.pause).min(self.deadline);
        self.pause *= 2;
        Ok(())
    }

    /// The next answer to this client, with the MAC that it came from; none when it is time to ask again.
    async fn hear(&mut self) -> Result<Option<(Answer, Mac)>, Error> {
        let mut buffer = [0; FRAME];
        loop {
            let left = self.again.min(self.deadline).saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let Ok(received) = timeout(left, self.socket.receive(&mut buffer)).await else { return Ok(None) };
            let length = received.map_err(|error| self.failed(error))?;
            let Some(frame) = buffer.get(..length).and_then(frame::decode) else { continue };
            match self.client.decode(frame.payload) {
                Ok(answer) => return Ok(Some((answer, frame.mac))),
                Err(Refused::NotForUs) => {}
                Err(Refused::Unfit(why)) => self.refuse(why),
            }
        }
    }

    /// Another server may answer better, but not for long.
    fn refuse(&mut self, why: String) {
        tracing::debug!(parent = self.parent, "an answer by DHCP is not taken: {why}");
        if self.refused.is_none() {
            self.refused = Some(why);
            self.deadline = self.deadline.min(Instant::now() + HOPE);
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Socket { parent: self.parent.to_owned(), source }
    }

    fn failure(&self) -> Error {
        let parent = self.parent.to_owned();
        match &self.refused {
            Some(why) => Error::Refused { parent, why: why.clone() },
            None => Error::NoServer { parent, seconds: self.patience.as_secs() },
        }
    }
}

/// Why an offer is not taken.
fn wrong(terms: &Terms, asked: Asked<'_>) -> Option<String> {
    let (server, address) = (terms.server, terms.address.addr());
    if let Some(wanted) = asked.address.filter(|wanted| *wanted != address) {
        return Some(format!("{server} offers {address} instead of {wanted}"));
    }
    (asked.taken)(address).map(|by| format!("{server} offers {address}, which {by} has"))
}
