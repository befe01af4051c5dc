//! What a client says, and what of the answers it takes. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use dhcproto::v4::{DhcpOption, Flags, MIN_PACKET_SIZE, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use ipnet::{IpNet, Ipv4Net};

use crate::model::{Lease, Mac, NetworkRoute};

/// Ethernet, as a kind of hardware (RFC 1700).
const ETHERNET: u8 = 1;
/// Bytes of a MAC.
const MAC: u8 = 6;
/// Bytes before the options, their mark included.
const FIXED: usize = 240;
/// What the options begin with (RFC 2131, 3).
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// An option that is one byte alone (RFC 2132, 3.1), and the last one (3.2).
const PAD: u8 = 0;
const END: u8 = 255;
/// What a message may be long: no more fits an Ethernet frame.
const LONGEST: u16 = 1472;
/// The smallest MTU of IPv4 (RFC 791, 3.2).
const LEAST_MTU: u16 = 68;
/// So many name servers a `resolv.conf` takes.
const NAME_SERVERS: usize = 3;
/// So many routes are taken from a server.
const ROUTES: usize = 64;
/// What a client wants to be told.
const WANTED: [OptionCode; 8] = [
    OptionCode::SubnetMask,
    OptionCode::ClasslessStaticRoute,
    OptionCode::Router,
    OptionCode::DomainNameServer,
    OptionCode::InterfaceMtu,
    OptionCode::AddressLeaseTime,
    OptionCode::Renewal,
    OptionCode::Rebinding,
];

/// One conversation of one client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client<'a> {
    pub(super) mac: Mac,
    /// The name that it is known by, if it has one.
    pub(super) hostname: &'a str,
    /// Tells this conversation from others.
    pub(super) xid: u32,
}

/// What a client says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Question {
    /// Who has an address for me, best this one?
    Discover(Option<Ipv4Addr>),
    /// I take the address that this server has offered.
    Select { address: Ipv4Addr, server: Ipv4Addr },
    /// I have this address and would like to keep it.
    Extend(Ipv4Addr),
    /// I give this address back to the server that lent it.
    Release { address: Ipv4Addr, server: Ipv4Addr },
}

/// What a server answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    Offer(Terms),
    Ack(Terms),
    /// Not that address, says this server.
    Nak(Option<Ipv4Addr>),
}

/// Under which terms an address can be had.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Terms {
    pub(super) server: Ipv4Addr,
    pub(super) address: Ipv4Net,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) name_servers: Vec<IpAddr>,
    pub(super) mtu: Option<u16>,
    pub(super) routes: Vec<NetworkRoute>,
    /// T1, T2 and the end, in seconds.
    pub(super) times: [u32; 3],
}

/// Why a message is not taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    /// It is no answer to this client.
    NotForUs,
    /// It is one, and cannot be used.
    Unfit(String),
}

impl Client<'_> {
    /// A message of a client that began to ask so many seconds ago.
    pub(super) fn encode(
        &self,
        question: Question,
        seconds: u16,
    ) -> Result<Vec<u8>, dhcproto::v4::EncodeError> {
        let mut message = Message::default();
        message.set_opcode(Opcode::BootRequest).set_xid(self.xid).set_secs(seconds).set_chaddr(&self.mac.0);
        let client_id = [&[ETHERNET][..], &self.mac.0].concat();
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(question.kind()));
        options.insert(DhcpOption::ClientIdentifier(client_id));
        if !matches!(question, Question::Release { .. }) {
            options.insert(DhcpOption::ParameterRequestList(WANTED.to_vec()));
            options.insert(DhcpOption::MaxMessageSize(LONGEST));
            if !self.hostname.is_empty() {
                options.insert(DhcpOption::Hostname(self.hostname.to_owned()));
            }
        }
        match question {
            Question::Discover(asked) => {
                if let Some(asked) = asked {
                    options.insert(DhcpOption::RequestedIpAddress(asked));
                }
                message.set_flags(Flags::default().set_broadcast());
            }
            Question::Select { address, server } => {
                options.insert(DhcpOption::RequestedIpAddress(address));
                options.insert(DhcpOption::ServerIdentifier(server));
                message.set_flags(Flags::default().set_broadcast());
            }
            Question::Extend(address) => drop(message.set_ciaddr(address)),
            Question::Release { address, server } => {
                options.insert(DhcpOption::ServerIdentifier(server));
                message.set_ciaddr(address);
            }
        }
        let mut bytes = Vec::with_capacity(MIN_PACKET_SIZE);
        message.encode(&mut Encoder::new(&mut bytes))?;
        // Servers and relays of the time of BOOTP take nothing shorter.
        bytes.resize(bytes.len().max(MIN_PACKET_SIZE), 0);
        Ok(bytes)
    }

    /// The answer that a message is.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<Answer, Refused> {
        if !self.is_for_us(bytes) {
            return Err(Refused::NotForUs);
        }
        let Some(sound) = sound(bytes) else {
            return Err(Refused::Unfit("an answer is cut off".to_owned()));
        };
        let message = Message::decode(&mut Decoder::new(&sound))
            .map_err(|error| Refused::Unfit(format!("an answer cannot be read: {error}")))?;
        match message.opts().msg_type() {
            Some(MessageType::Offer) => terms(&message).map(Answer::Offer),
            Some(MessageType::Ack) => terms(&message).map(Answer::Ack),
            Some(MessageType::Nak) => Ok(Answer::Nak(server(&message))),
            _ => Err(Refused::NotForUs),
        }
    }

    /// Looked at before the message is read: its reader takes the length of a MAC for what it says.
    fn is_for_us(&self, bytes: &[u8]) -> bool {
        let reply = [u8::from(Opcode::BootReply), ETHERNET, MAC];
        bytes.len() >= FIXED
            && bytes[..3] == reply
            && bytes[4..8] == self.xid.to_be_bytes()
            && bytes[28..34] == self.mac.0
            && bytes[FIXED - MAGIC.len()..FIXED] == MAGIC
    }
}

/// The message without options that are not asked for, that are longer or shorter than they can be, or that are there once more:
/// its reader takes what it knows for right, and ends the process where it is not. None when an option goes beyond the end.
fn sound(bytes: &[u8]) -> Option<Vec<u8>> {
    let (fixed, mut rest) = bytes.split_at_checked(FIXED)?;
    let mut sound = fixed.to_vec();
    let mut seen = BTreeSet::new();
    while let Some((code, behind)) = rest.split_first() {
        if *code == PAD {
            rest = behind;
            continue;
        }
        if *code == END {
            break;
        }
        let (length, behind) = behind.split_first()?;
        let (value, behind) = behind.split_at_checked(usize::from(*length))?;
        // Of these alone there can be so many that they need several options (RFC 3396).
        let is_first = seen.insert(*code) || *code == u8::from(OptionCode::ClasslessStaticRoute);
        if is_first && can_be(OptionCode::from(*code), value.len()) {
            sound.extend([*code, *length]);
            sound.extend(value);
        }
        rest = behind;
    }
    sound.push(END);
    Some(sound)
}

/// Whether an option is one that is read, and can be so long (RFC 2132, RFC 3442).
fn can_be(code: OptionCode, length: usize) -> bool {
    match code {
        OptionCode::MessageType => length == 1,
        OptionCode::InterfaceMtu => length == 2,
        OptionCode::SubnetMask
        | OptionCode::ServerIdentifier
        | OptionCode::AddressLeaseTime
        | OptionCode::Renewal
        | OptionCode::Rebinding => length == 4,
        OptionCode::Router | OptionCode::DomainNameServer => length > 0 && length.is_multiple_of(4),
        OptionCode::ClasslessStaticRoute => length >= 5,
        _ => false,
    }
}

impl Question {
    fn kind(self) -> MessageType {
        match self {
            Self::Discover(_) => MessageType::Discover,
            Self::Select { .. } | Self::Extend(_) => MessageType::Request,
            Self::Release { .. } => MessageType::Release,
        }
    }
}

impl Terms {
    /// The lease that they are, from `since` in seconds since 1970 on.
    pub(super) fn lease(self, parent: &str, client: &Client<'_>, server_mac: Mac, since: u64) -> Lease {
        let [renew_after, rebind_after, ends_after] = self.times;
        Lease {
            parent: parent.to_owned(),
            mac: client.mac,
            hostname: client.hostname.to_owned(),
            address: self.address,
            gateway: self.gateway,
            name_servers: self.name_servers,
            mtu: self.mtu.map(u32::from),
            routes: self.routes,
            server: self.server,
            server_mac,
            since,
            renew_after,
            rebind_after,
            ends_after,
        }
    }
}

fn server(message: &Message) -> Option<Ipv4Addr> {
    match message.opts().get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) => Some(*server).filter(|server| is_of_one(*server)),
        _ => None,
    }
}

fn terms(message: &Message) -> Result<Terms, Refused> {
    let unfit = |what: String| Err(Refused::Unfit(what));
    let Some(server) = server(message) else {
        return unfit("a server does not say who it is".to_owned());
    };
    let given = message.yiaddr();
    let Some(address) = subnet(message, given).filter(|net| is_host_of(*net)) else {
        return unfit(format!("{server} offers {given}, which no interface can have"));
    };
    let Some(times) = times(message) else {
        return unfit(format!("{server} does not say how long {given} may be used"));
    };
    let (gateway, routes) = routes(message, address);
    let mtu = match message.opts().get(OptionCode::InterfaceMtu) {
        Some(DhcpOption::InterfaceMtu(mtu)) => Some(*mtu).filter(|mtu| *mtu >= LEAST_MTU),
        _ => None,
    };
    Ok(Terms { server, address, gateway, name_servers: name_servers(message), mtu, routes, times })
}

/// Whether it is the address of a single host.
fn is_of_one(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[0], 0 | 127 | 224..)
}

/// An address with the mask that the server says, else that of its class, as before there were masks.
fn subnet(message: &Message, address: Ipv4Addr) -> Option<Ipv4Net> {
    if let Some(DhcpOption::SubnetMask(mask)) = message.opts().get(OptionCode::SubnetMask) {
        return Ipv4Net::with_netmask(address, *mask).ok();
    }
    let length = match address.octets()[0] {
        ..128 => 8,
        128..192 => 16,
        192.. => 24,
    };
    Ipv4Net::new(address, length).ok()
}

fn is_host_of(net: Ipv4Net) -> bool {
    let edge = net.prefix_len() < 31 && [net.network(), net.broadcast()].contains(&net.addr());
    net.prefix_len() > 0 && is_of_one(net.addr()) && !edge
}

/// When it is renewed, rebound and over; what is not said, or in another order, is as RFC 2131, 4.4.5 has it.
fn times(message: &Message) -> Option<[u32; 3]> {
    let options = message.opts();
    let end = match options.get(OptionCode::AddressLeaseTime) {
        Some(DhcpOption::AddressLeaseTime(end)) if *end > 0 => *end,
        _ => return None,
    };
    if end == Lease::FOR_EVER {
        return Some([Lease::FOR_EVER; 3]);
    }
    let (half, late) = ((end / 2).max(1), end - end / 8);
    let rebinding = match options.get(OptionCode::Rebinding) {
        Some(DhcpOption::Rebinding(rebinding)) if (1..=end).contains(rebinding) => *rebinding,
        _ => late,
    };
    let renewal = match options.get(OptionCode::Renewal) {
        Some(DhcpOption::Renewal(renewal)) if (1..=rebinding).contains(renewal) => *renewal,
        _ => half.min(rebinding),
    };
    Some([renewal, rebinding, end])
}

/// The router and the routes beside it. Classless routes, where there are any, are all there is (RFC 3442). One by a router
/// that is on another link is no use.
fn routes(message: &Message, address: Ipv4Net) -> (Option<Ipv4Addr>, Vec<NetworkRoute>) {
    let near =
        |router: &Ipv4Addr| address.contains(router) && *router != address.addr() && is_of_one(*router);
    let options = message.opts();
    if let Some(DhcpOption::ClasslessStaticRoute(routes)) = options.get(OptionCode::ClasslessStaticRoute) {
        let near = || routes.iter().filter(|(_, router)| near(router));
        let default = near().find(|(to, _)| to.prefix_len() == 0).map(|(_, router)| *router);
        let others = near().filter(|(to, _)| to.prefix_len() > 0).take(ROUTES);
        let route = |(to, via): &(Ipv4Net, Ipv4Addr)| {
            let to = IpNet::V4(to.trunc());
            NetworkRoute { to, via: (*via).into() }
        };
        return (default, others.map(route).collect());
    }
    match options.get(OptionCode::Router) {
        Some(DhcpOption::Router(routers)) => (routers.iter().copied().find(near), Vec::new()),
        _ => (None, Vec::new()),
    }
}

fn name_servers(message: &Message) -> Vec<IpAddr> {
    match message.opts().get(OptionCode::DomainNameServer) {
        Some(DhcpOption::DomainNameServer(servers)) => {
            servers.iter().filter(|it| is_of_one(**it)).map(|it| (*it).into()).take(NAME_SERVERS).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
