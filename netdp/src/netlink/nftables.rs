//! The one table of nftables that netdp has: in a namespace of its own, where fragments are put in order.
//!
//! nftables is asked for what nothing else asks the kernel for: `nf_defrag_ipv4` and `nf_defrag_ipv6`, which a rule brings
//! that looks at the state of a connection. No connection is tracked, as the rule before it says so. The number of the
//! interface that a fragment came in by crosses the router in the packet's mark, as its Ethernet header does not.

use std::io;
use std::os::fd::AsRawFd;

use netdp_common::fragments::FROM;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::Error;
use super::error::Request;

const TABLE: &str = "netdp";

/// `nfnetlink.h`: the subsystem, and what a batch begins and ends with.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// `nf_tables.h`: messages.
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
/// `netfilter.h`: families and hooks.
const INET: u8 = 1;
const NETDEV: u8 = 5;
const PRE_ROUTING: u32 = 0;
const EGRESS: u32 = 1;
/// Before fragments are put together, which is at -400, and after that but before connections are tracked, at -200.
const BEFORE: i32 = -450;
const BETWEEN: i32 = -300;
/// A nested attribute.
const NESTED: u16 = 0x8000;
/// Register of 16 bytes.
const REGISTER: u32 = 1;
/// `NFT_META_MARK`, `NFT_CT_STATE`, `NFT_PAYLOAD_LL_HEADER`.
const MARK: u32 = 3;
const CT_STATE: u32 = 0;
const LINK_LAYER: u32 = 0;

/// Attributes, one after the other, each padded to four bytes.
#[derive(Default)]
struct Attributes(Vec<u8>);

impl Attributes {
    fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(len.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    fn nested(self, kind: u16, value: &Self) -> Self {
        self.bytes(kind | NESTED, &value.0)
    }
}

/// One expression of a rule: its name, and its attributes.
fn expression(list: Attributes, name: &str, data: &Attributes) -> Attributes {
    list.nested(1, &Attributes::default().text(1, name).nested(2, data))
}

/// A message of the batch.
fn message(batch: &mut Vec<u8>, kind: u16, flags: u16, family: u8, resource: u16, attributes: &Attributes) {
    let len = u32::try_from(20 + attributes.0.len()).unwrap_or(u32::MAX);
    batch.extend(len.to_ne_bytes());
    batch.extend(kind.to_ne_bytes());
    batch.extend((flags | super::NLM_F_REQUEST).to_ne_bytes());
    batch.extend([0; 8]);
    batch.extend([family, 0]);
    batch.extend(resource.to_be_bytes());
    batch.extend(&attributes.0);
}

/// A hook with its rules. `device` is for a family whose hooks have one.
struct Chain<'a> {
    family: u8,
    name: &'a str,
    hook: u32,
    priority: i32,
    device: Option<&'a str>,
    rule: Attributes,
}

impl Chain<'_> {
    fn add_to(&self, batch: &mut Vec<u8>) {
        let hook = Attributes::default().number(1, self.hook).number(2, self.priority.cast_unsigned());
        let hook = match self.device {
            Some(device) => hook.text(3, device),
            None => hook,
        };
        let chain =
            Attributes::default().text(1, TABLE).text(3, self.name).nested(4, &hook).text(7, "filter");
        message(batch, NEW_CHAIN, super::NLM_F_CREATE, self.family, 0, &chain);
        let rule = Attributes::default().text(1, TABLE).text(2, self.name).nested(4, &self.rule);
        message(batch, NEW_RULE, super::NLM_F_CREATE | NLM_F_APPEND, self.family, 0, &rule);
    }
}

/// `NLM_F_APPEND`.
const NLM_F_APPEND: u16 = 0x800;

/// Has the calling thread's namespace put fragments together, and keep where they came from. `device` is its interface.
pub fn sort_fragments(device: &str) -> Result<(), Error> {
    let what = Request { operation: "have fragments put in order by", object: "nftables" };
    let refused = |errno: Errno| what.refused_with(-(errno as i32), None);
    let flags = SockFlag::SOCK_CLOEXEC;
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)
        .map_err(|errno| Error::Socket { cause: io::Error::from(errno) })?;
    let batch = batch(device);
    send(netlink.as_raw_fd(), &batch, MsgFlags::empty()).map_err(refused)?;
    let mut answer = [0; 4096];
    // Without an error there is one answer, to the only message that asks for one.
    let len = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty()).map_err(refused)?;
    match answer.get(16..20).filter(|_| len >= 20).and_then(|code| code.try_into().ok()) {
        Some(code) => match i32::from_ne_bytes(code) {
            0 => Ok(()),
            code => Err(what.refused_with(code, None)),
        },
        None => Err(what.no_answer()),
    }
}

fn batch(device: &str) -> Vec<u8> {
    let place = |list: Attributes, register: u16| list.number(register, REGISTER);
    let from = |data: Attributes| data.number(2, LINK_LAYER).number(3, FROM).number(4, 4);
    let empty = Attributes::default;
    let keep = expression(empty(), "payload", &from(place(empty(), 1)));
    let keep = expression(keep, "meta", &empty().number(2, MARK).number(3, REGISTER));
    let untracked = expression(empty(), "notrack", &empty());
    let untracked = expression(untracked, "ct", &empty().number(1, REGISTER).number(2, CT_STATE));
    let say = expression(empty(), "meta", &empty().number(1, REGISTER).number(2, MARK));
    let say = expression(say, "payload", &from(place(empty(), 5)));
    let inet =
        |name, priority, rule| Chain { family: INET, name, hook: PRE_ROUTING, priority, device: None, rule };
    let out =
        Chain { family: NETDEV, name: "say", hook: EGRESS, priority: 0, device: Some(device), rule: say };
    let mut batch = Vec::new();
    message(&mut batch, BATCH_BEGIN, 0, 0, SUBSYSTEM, &empty());
    for family in [INET, NETDEV] {
        message(&mut batch, NEW_TABLE, super::NLM_F_CREATE, family, 0, &empty().text(1, TABLE));
    }
    for chain in [inet("keep", BEFORE, keep), inet("untracked", BETWEEN, untracked), out] {
        chain.add_to(&mut batch);
    }
    // Asks for an answer after all the others: a second table of that name, which may be there.
    message(&mut batch, NEW_TABLE, super::NLM_F_CREATE | super::NLM_F_ACK, INET, 0, &empty().text(1, TABLE));
    message(&mut batch, BATCH_END, 0, 0, SUBSYSTEM, &empty());
    batch
}
