//! The translation of a new flow: from its first packet to the two entries of the flow table. Pure.

use crate::addr::{Addr, Mac, Port};
use crate::endpoint::Link;
use crate::flow::{Exit, Flow, FlowKey, Zone, flow_flags};
use crate::port::Backend;
use crate::proto;
use crate::timers::State;
use crate::tracker::Numbers;

/// How often a source port is tried before the flow is refused. Bounded, because the search runs in the
/// packet's own softirq; with 16 random tries a range that is 90 % taken still yields a port four times in five.
pub const PORT_TRIES: u32 = 16;

/// Where one direction of a flow is delivered.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// [`Flow::exit`].
    pub exit: Exit,
    /// [`Flow::ifindex`].
    pub ifindex: u32,
    /// [`Flow::mac`].
    pub mac: Mac,
    /// [`Flow::gateway_mac`].
    pub gateway_mac: Mac,
}

impl Delivery {
    const NO_MAC: Mac = Mac([0; 6]);

    /// To the outside, first by this uplink.
    #[inline(always)]
    pub const fn uplink(ifindex: u32) -> Self {
        Self { exit: Exit::UPLINK, ifindex, mac: Self::NO_MAC, gateway_mac: Self::NO_MAC }
    }

    /// To a process of the host.
    #[inline(always)]
    pub const fn loopback(ifindex: u32) -> Self {
        Self { exit: Exit::LOOPBACK, ifindex, mac: Self::NO_MAC, gateway_mac: Self::NO_MAC }
    }

    /// To the container on this veth.
    #[inline(always)]
    pub const fn link(ifindex: u32, link: &Link) -> Self {
        Self { exit: Exit::ENDPOINT, ifindex, mac: link.mac, gateway_mac: link.gateway_mac }
    }

    /// To the container behind a published port.
    #[inline(always)]
    pub const fn backend(backend: &Backend) -> Self {
        Self {
            exit: Exit::ENDPOINT,
            ifindex: backend.ifindex,
            mac: backend.mac,
            gateway_mac: backend.gateway_mac,
        }
    }
}

/// A flow that is about to begin.
#[derive(Clone, Copy, Debug)]
pub struct NewFlow {
    /// The first packet, before translation.
    pub key: FlowKey,
    /// Its source after translation.
    pub src: Addr,
    /// Its destination after translation.
    pub dst: Addr,
    /// Its source port after translation; chosen last ([`candidate`]).
    pub sport: Port,
    /// Its destination port after translation.
    pub dport: Port,
    /// Where its packets go.
    pub there: Delivery,
    /// Where the replies go.
    pub back: Delivery,
    /// Where the replies come in.
    pub reply_zone: Zone,
    /// [`Flow::state`].
    pub state: State,
    /// Its source is the outside endpoint of a mapping ([`crate::mapping`]).
    pub is_mapped: bool,
    /// [`Flow::owner`].
    pub owner: u32,
    /// [`Flow::seen`].
    pub now: u32,
}

impl NewFlow {
    /// A container talks to the outside: its address becomes the uplink's.
    #[inline(always)]
    pub const fn masquerade(
        key: FlowKey,
        from: (u32, &Link),
        uplink: (u32, Addr),
        state: State,
        now: u32,
    ) -> Self {
        Self {
            key,
            src: uplink.1,
            dst: key.dst,
            sport: key.sport,
            dport: key.dport,
            there: Delivery::uplink(uplink.0),
            back: Delivery::link(from.0, from.1),
            reply_zone: Zone::UPLINK,
            state,
            is_mapped: true,
            owner: from.0,
            now,
        }
    }

    /// Somebody talks to a published port: the destination becomes the container. `src` is what the container
    /// sees: the client itself, the gateway for a process of the host, the host's address for a neighbour.
    #[inline(always)]
    pub const fn publish(
        key: FlowKey,
        src: Addr,
        backend: &Backend,
        back: Delivery,
        state: State,
        now: u32,
    ) -> Self {
        Self {
            key,
            src,
            dst: backend.addr,
            sport: key.sport,
            dport: backend.port,
            there: Delivery::backend(backend),
            back,
            reply_zone: Zone::CONTAINER,
            state,
            is_mapped: false,
            owner: backend.ifindex,
            now,
        }
    }

    /// Somebody talks to a container at its own address: nothing is translated.
    #[inline(always)]
    pub const fn direct(key: FlowKey, to: &Backend, back: Delivery, state: State, now: u32) -> Self {
        Self {
            key,
            src: key.src,
            dst: key.dst,
            sport: key.sport,
            dport: key.dport,
            there: Delivery::backend(to),
            back,
            reply_zone: Zone::CONTAINER,
            state,
            is_mapped: false,
            owner: to.ifindex,
            now,
        }
    }

    /// Somebody outside talks to the outside endpoint of a mapping: the destination becomes the inside one, which is at
    /// this address and port.
    #[inline(always)]
    pub const fn admit(key: FlowKey, to: (Addr, Port, Delivery), back: Delivery, now: u32) -> Self {
        Self {
            key,
            src: key.src,
            dst: to.0,
            sport: key.sport,
            dport: to.1,
            there: to.2,
            back,
            reply_zone: Zone::CONTAINER,
            state: State::UdpUnreplied,
            is_mapped: false,
            owner: to.2.ifindex,
            now,
        }
    }

    /// A container talks to the outside endpoint of a mapping: the destination becomes the inside one, which is at this
    /// address and port, and the source the sender's own outside one, at the address `src` (RFC 4787, REQ-9).
    #[inline(always)]
    pub const fn between(
        key: FlowKey,
        src: Addr,
        from: (u32, &Link),
        to: (Addr, Port, Delivery),
        now: u32,
    ) -> Self {
        Self {
            key,
            src,
            dst: to.0,
            sport: key.sport,
            dport: to.1,
            there: to.2,
            back: Delivery::link(from.0, from.1),
            reply_zone: Zone::CONTAINER,
            state: State::UdpUnreplied,
            is_mapped: true,
            owner: from.0,
            now,
        }
    }

    /// Key of the entry of the replies.
    #[inline(always)]
    pub const fn reply_key(&self) -> FlowKey {
        FlowKey {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            proto: self.key.proto,
            zone: self.reply_zone,
            pad: 0,
        }
    }

    /// Entry of the direction of the first packet.
    #[inline(always)]
    pub const fn original(&self) -> Flow {
        Flow {
            src: self.src,
            dst: self.dst,
            sport: self.sport,
            dport: self.dport,
            exit: self.there.exit,
            state: self.state.number(),
            flags: 0,
            twin_zone: self.reply_zone,
            ifindex: self.there.ifindex,
            seen: self.now,
            owner: self.owner,
            mac: self.there.mac,
            gateway_mac: self.there.gateway_mac,
            numbers: Numbers::NONE,
            packets: 0,
            bytes: 0,
        }
    }

    /// Entry of the direction of the replies.
    #[inline(always)]
    pub const fn reply(&self) -> Flow {
        Flow {
            src: self.key.dst,
            dst: self.key.src,
            sport: self.key.dport,
            dport: self.key.sport,
            exit: self.back.exit,
            state: self.state.number(),
            flags: flow_flags::REPLY,
            twin_zone: self.key.zone,
            ifindex: self.back.ifindex,
            seen: self.now,
            owner: self.owner,
            mac: self.back.mac,
            gateway_mac: self.back.gateway_mac,
            numbers: Numbers::NONE,
            packets: 0,
            bytes: 0,
        }
    }
}

/// The other direction of an entry, written anew: it is delivered where this direction's packets come from.
#[inline(always)]
pub const fn mirror(key: &FlowKey, flow: &Flow, back: Delivery) -> Flow {
    Flow {
        src: key.dst,
        dst: key.src,
        sport: key.dport,
        dport: key.sport,
        exit: back.exit,
        state: flow.state,
        flags: flow.flags ^ flow_flags::REPLY,
        twin_zone: key.zone,
        ifindex: back.ifindex,
        seen: flow.seen,
        owner: flow.owner,
        mac: back.mac,
        gateway_mac: back.gateway_mac,
        numbers: Numbers::NONE,
        packets: 0,
        bytes: 0,
    }
}

/// The source port (or echo identifier) of the `n`-th try: first the original one, then random ones of its
/// class, so that what needed a privileged port keeps one (RFC 4787, REQ-3a; bands of `nf_nat_core.c`). A protocol without
/// ports has nothing to choose from.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low 16 bits are what is wanted")]
pub const fn candidate(proto: u8, original: Port, n: u32, random: u32) -> Port {
    if n == 0 {
        return original;
    }
    if proto::is_icmp(proto) {
        return Port(random as u16);
    }
    // Nothing tells two flows of theirs apart but the addresses: the second one is refused, else its replies would be
    // the first one's.
    if !proto::has_ports(proto) {
        return original;
    }
    let (first, count) = match original.get() {
        0..=511 => (1, 511),
        512..=1023 => (600, 424),
        _ => (1024, 64_512),
    };
    // The high half of a product spreads the random number over the range without a division.
    Port::new((first + (((random as u64) * count) >> 32)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    fn addr(d: u8) -> Addr {
        Addr::from(Ipv4Addr::new(10, 0, 0, d))
    }

    fn key() -> FlowKey {
        FlowKey {
            src: addr(2),
            dst: addr(99),
            sport: Port::new(40_000),
            dport: Port::new(443),
            proto: proto::TCP,
            zone: Zone::CONTAINER,
            pad: 0,
        }
    }

    fn link() -> Link {
        Link {
            addr4: addr(2),
            addr6: Addr::UNSPECIFIED,
            gateway4: addr(1),
            gateway6: Addr::UNSPECIFIED,
            snat4: Addr::UNSPECIFIED,
            snat6: Addr::UNSPECIFIED,
            network: 7,
            bridge: 3,
            flags: 0,
            mac: Mac([2; 6]),
            gateway_mac: Mac([4; 6]),
        }
    }

    #[test]
    fn each_direction_leads_to_the_other() {
        let mut flow = NewFlow::masquerade(key(), (5, &link()), (9, addr(50)), State::TcpSynSent, 1);
        flow.sport = Port::new(50_000);
        let (original, reply) = (flow.original(), flow.reply());
        assert_eq!(original.twin_key(&flow.key), flow.reply_key());
        assert_eq!(reply.twin_key(&flow.reply_key()), flow.key);
    }

    #[test]
    fn a_lost_direction_is_written_anew_from_the_other() {
        let flow = NewFlow::masquerade(key(), (5, &link()), (9, addr(50)), State::TcpSynSent, 1);
        let (original, reply) = (flow.original(), flow.reply());
        assert_eq!(mirror(&flow.key, &original, Delivery::link(5, &link())), reply);
        assert_eq!(mirror(&flow.reply_key(), &reply, Delivery::uplink(9)), original);
    }

    #[test]
    fn a_masqueraded_reply_comes_back_to_the_container_as_if_from_the_outside() {
        let flow = NewFlow::masquerade(key(), (5, &link()), (9, addr(50)), State::TcpSynSent, 1);
        let reply = flow.reply();
        assert_eq!((reply.src, reply.sport), (addr(99), Port::new(443)));
        assert_eq!((reply.dst, reply.dport), (addr(2), Port::new(40_000)));
        assert_eq!((reply.exit, reply.ifindex, reply.mac), (Exit::ENDPOINT, 5, Mac([2; 6])));
        assert_eq!(flow.reply_key().dst, addr(50));
    }

    #[test]
    fn the_first_candidate_is_the_original_and_the_others_keep_its_class() {
        for (original, low, high) in [(80, 1, 511), (1000, 600, 1023), (40_000, 1024, 65_535)] {
            assert_eq!(candidate(proto::TCP, Port::new(original), 0, 1), Port::new(original));
            for random in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
                let port = candidate(proto::TCP, Port::new(original), 1, random).get();
                assert!((low..=high).contains(&port), "{original} -> {port}");
            }
        }
    }

    #[test]
    fn a_protocol_without_ports_has_one_candidate() {
        for (number, chosen) in [(47, Port::NONE), (50, Port::NONE), (proto::ICMP, Port(7))] {
            assert_eq!(candidate(number, Port::NONE, 1, 7), chosen);
        }
    }
}
