//! What a query is answered with, as far as that can be told without asking anybody. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable as _, BinEncoder};
use rand::seq::SliceRandom as _;

use super::directory::{Beyond, Directory, View};

/// Seconds that a client may keep the address of a container: none. It may be another's in the next second, a query costs
/// microseconds, and caches that kept Docker's 600 are the most common complaint about its names.
const TTL: u32 = 0;

/// The largest datagram that is sent, whatever the client takes: no path splits it (DNS flag day 2020).
pub const MAX_DATAGRAM: u16 = 1232;
/// What a client takes that says nothing (RFC 1035, 4.2.1).
const PLAIN_DATAGRAM: u16 = 512;
/// Octets of a header, without which there is nobody to answer to.
const HEADER: usize = 12;

/// What becomes of a query.
#[derive(Debug)]
pub enum Decision {
    /// Nothing: it is no query.
    Ignore,
    /// The answer.
    Answer(Message),
    /// Somebody else has to be asked.
    Forward(Asked, Beyond),
}

/// A query that somebody else has to be asked, with what its answer must repeat.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What is asked for.
    pub query: Query,
    /// DNSSEC records are wanted.
    pub dnssec: bool,
    /// The answer need not be checked.
    pub checking_disabled: bool,
    /// The answer without its records.
    pub draft: Message,
}

/// Decides on the bytes of a query that came `from` somebody to a `server` address of ours, and says how many octets its
/// client takes in one datagram.
pub fn decide(bytes: &[u8], server: IpAddr, from: IpAddr, directory: &Directory) -> (Decision, u16) {
    let Ok(message) = Message::from_vec(bytes) else { return (malformed(bytes), PLAIN_DATAGRAM) };
    let taken = message.edns.as_ref().map_or(PLAIN_DATAGRAM, Edns::max_payload);
    (decide_on(&message, server, from, directory), taken.clamp(PLAIN_DATAGRAM, MAX_DATAGRAM))
}

fn decide_on(message: &Message, server: IpAddr, from: IpAddr, directory: &Directory) -> Decision {
    if message.metadata.message_type != MessageType::Query {
        return Decision::Ignore;
    }
    let mut draft = draft(message);
    let [query] = &message.queries[..] else { return failed(draft, ResponseCode::FormErr) };
    if message.metadata.op_code != OpCode::Query {
        return failed(draft, ResponseCode::NotImp);
    }
    if message.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return failed(draft, ResponseCode::BADVERS);
    }
    if query.query_class() != DNSClass::IN {
        return failed(draft, ResponseCode::Refused);
    }
    let Some(view) = directory.view(server, from) else { return failed(draft, ResponseCode::Refused) };
    if answer(&view, query, &mut draft) {
        draft.metadata.authoritative = true;
        return Decision::Answer(draft);
    }
    let beyond = view.beyond();
    if beyond == Beyond::Nowhere {
        // With certainty: there are no other names than its own, and nobody else needs to be tried, as a failure would mean.
        return failed(draft, ResponseCode::NXDomain);
    }
    let dnssec = message.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
    let checking_disabled = message.metadata.checking_disabled;
    Decision::Forward(Asked { query: query.clone(), dnssec, checking_disabled, draft }, beyond)
}

/// What the answer to a query has in any case.
fn draft(query: &Message) -> Message {
    let mut draft = Message::response(query.metadata.id, query.metadata.op_code);
    draft.metadata.recursion_desired = query.metadata.recursion_desired;
    draft.metadata.checking_disabled = query.metadata.checking_disabled;
    draft.metadata.recursion_available = true;
    draft.queries.clone_from(&query.queries);
    if let Some(edns) = &query.edns {
        let mut own = Edns::new();
        own.set_max_payload(MAX_DATAGRAM).set_dnssec_ok(edns.flags().dnssec_ok);
        draft.set_edns(own);
    }
    draft
}

fn failed(mut draft: Message, code: ResponseCode) -> Decision {
    draft.metadata.response_code = code;
    Decision::Answer(draft)
}

/// To bytes that are no message: whoever sent them may have meant a query.
fn malformed(bytes: &[u8]) -> Decision {
    let Some([high, low, flags, ..]) = bytes.get(..HEADER) else { return Decision::Ignore };
    let is_response = flags & 0x80 != 0;
    if is_response {
        return Decision::Ignore;
    }
    let id = u16::from_be_bytes([*high, *low]);
    Decision::Answer(Message::error_msg(id, OpCode::Query, ResponseCode::FormErr))
}

/// Answers what concerns names of ours; `false` for any other.
fn answer(view: &View<'_>, query: &Query, draft: &mut Message) -> bool {
    let name = query.name().to_lowercase().to_ascii();
    let name = name.trim_end_matches('.');
    if let Some(addresses) = local(name).or_else(|| view.addresses(name)) {
        draft.answers = records(query, addresses);
        return true;
    }
    let Some(pointer) = arpa(query.name()).and_then(|address| view.pointer(address)) else { return false };
    match pointer.and_then(|name| Name::from_ascii(format!("{name}.")).ok()) {
        Some(target) if query.query_type() == RecordType::PTR => {
            draft.add_answer(Record::from_rdata(query.name().clone(), TTL, RData::PTR(PTR(target))));
        }
        // It has a name, and nothing else.
        Some(_) => {}
        None => draft.metadata.response_code = ResponseCode::NXDomain,
    }
    true
}

/// `localhost` is whoever asks (RFC 6761, 6.3).
fn local(name: &str) -> Option<Vec<IpAddr>> {
    let is_local = name == "localhost" || name.ends_with(".localhost");
    is_local.then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` is about.
fn arpa(name: &Name) -> Option<IpAddr> {
    let is_whole =
        matches!((name.num_labels(), name.to_lowercase().iter().next_back()), (6 | 34, Some(b"arpa")));
    let net = is_whole.then(|| name.parse_arpa_name().ok())??;
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

/// The records of a query's type, in random order, so that several endpoints under one name share the work; none for a type
/// that the name does not have, which nobody else is asked for.
fn records(query: &Query, mut addresses: Vec<IpAddr>) -> Vec<Record> {
    if addresses.len() > 1 {
        addresses.shuffle(&mut rand::rng());
    }
    let wanted = query.query_type();
    let record = |address: IpAddr| {
        let data = match address {
            IpAddr::V4(address) if matches!(wanted, RecordType::A | RecordType::ANY) => RData::A(A(address)),
            IpAddr::V6(address) if matches!(wanted, RecordType::AAAA | RecordType::ANY) => {
                RData::AAAA(AAAA(address))
            }
            _ => return None,
        };
        Some(Record::from_rdata(query.name().clone(), TTL, data))
    };
    addresses.into_iter().filter_map(record).collect()
}

/// The message as bytes. One that is longer than `limit` loses all its records, and says so: its client asks by a connection.
pub fn encode(message: &Message, limit: u16) -> Vec<u8> {
    let emit = |message: &Message| {
        let mut bytes = Vec::with_capacity(512);
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_max_size(u16::MAX);
        message.emit(&mut encoder).map(|()| bytes)
    };
    let whole = emit(message).ok().filter(|bytes| bytes.len() <= limit.into());
    // One question always fits.
    whole.unwrap_or_else(|| emit(&message.truncate()).unwrap_or_default())
}

impl Asked {
    /// That too much is being asked already.
    pub fn refused(mut self) -> Message {
        self.draft.metadata.response_code = ResponseCode::Refused;
        self.draft
    }
}

#[cfg(test)]
mod tests;
