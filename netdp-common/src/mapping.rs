//! Mappings: which outside address and port an inside one has towards everybody (RFC 4787, REQ-1).
//!
//! A mapping has two rows in one map. That of the inside endpoint says which port it has, and until when; that of the
//! outside endpoint says whose it is. Both are only ever inserted where nothing is, so that two CPUs agree: the outside row
//! decides who has the port, the inside row which of two ports the endpoint has.

use crate::addr::{Addr, Port};
use crate::assert_size;
use crate::proto;
use crate::quota::mix;
use crate::timers::timeout_ticks;

/// Ticks of silence after which a query to a resolver makes room for others (RFC 4787, REQ-5a): a resolver that asks from a
/// new port each time would else hold every port there is within two minutes. Resolvers wait for an answer for
/// 5 s (`resolv.conf(5)`, `timeout`).
pub const QUERY_SILENCE: u32 = 10;

/// Slots of the map `INSIDE`.
pub const INSIDE_SLOTS: u32 = 131_072;

/// The port of DNS.
const DOMAIN: Port = Port::new(53);

/// Which of its two rows a key is of.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Side(pub u8);

impl Side {
    /// That of the inside endpoint.
    pub const INSIDE: Self = Self(1);
    /// That of the outside endpoint.
    pub const OUTSIDE: Self = Self(2);
    /// Neither: a protocol without ports that the host itself speaks to a remote.
    pub const HOST: Self = Self(3);
}

/// Key of the map `MAPPINGS`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MappingKey {
    /// The container's address; [`Addr::UNSPECIFIED`] in the row of the outside endpoint, and the remote's in the host's.
    pub inside: Addr,
    /// The host's address: an endpoint has one port on each.
    pub outside: Addr,
    /// Port or echo identifier of the endpoint that the row is of.
    pub port: Port,
    /// [`crate::proto`].
    pub proto: u8,
    /// [`Side`].
    pub side: Side,
}
assert_size!(MappingKey, 36);

impl MappingKey {
    /// Of nobody: an empty slot.
    pub const NONE: Self = Self {
        inside: Addr::UNSPECIFIED,
        outside: Addr::UNSPECIFIED,
        port: Port::NONE,
        proto: 0,
        side: Side(0),
    };

    /// The first slot of `INSIDE` that an inside endpoint may stand in.
    #[inline(always)]
    pub const fn slot(&self) -> u32 {
        let (inside, outside) = (self.inside.0, self.outside.0);
        let mut hash = mix(0, self.port.0 as u32 | (self.proto as u32) << 16);
        let mut word = 0;
        while word < 4 {
            hash = mix(mix(hash, inside[word]), outside[word]);
            word += 1;
        }
        hash ^ hash >> 16
    }

    /// Key of the row of an inside endpoint.
    #[inline(always)]
    pub const fn inside(inside: Addr, port: Port, proto: u8, outside: Addr) -> Self {
        Self { inside, outside, port, proto, side: Side::INSIDE }
    }

    /// Key of the row of an outside endpoint.
    #[inline(always)]
    pub const fn outside(outside: Addr, port: Port, proto: u8) -> Self {
        Self { inside: Addr::UNSPECIFIED, outside, port, proto, side: Side::OUTSIDE }
    }

    /// Key of the row that keeps a protocol without ports between these two for the host.
    #[inline(always)]
    pub const fn host(remote: Addr, outside: Addr, proto: u8) -> Self {
        Self { inside: remote, outside, port: Port::NONE, proto, side: Side::HOST }
    }
}

/// A row of the map `MAPPINGS`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mapping {
    /// The address of the other endpoint.
    pub addr: Addr,
    /// Port or identifier of the other endpoint.
    pub port: Port,
    /// Zero.
    pub pad: u16,
    /// In ticks ([`crate::timers`]). Inside: as long as its flows live, and written once a tick. Outside: when it was made.
    /// Host: as long as the host keeps it.
    pub until: u32,
    /// `ifindex` of the host-side veth of the container; zero is the host.
    pub owner: u32,
}
assert_size!(Mapping, 28);

/// Whether a time has not passed yet.
#[inline(always)]
pub const fn is_ahead(until: u32, now: u32) -> bool {
    until.wrapping_sub(now) < 1 << 31
}

/// Slots of the map `INSIDE`: a port is its own index.
pub const PORTS: u32 = 1 << 16;
/// Ticks for which a port is held at most after a packet: RFC 5382, REQ-5, has no connection end before. What is longer
/// would have the host be slow to answer about ports that nobody has had for days.
const HELD_AT_MOST: u32 = timeout_ticks(7_440);
/// Nanoseconds for which a SYN that nobody asked for is not answered (RFC 5382, REQ-4).
const SILENCE: u64 = 6_000_000_000;
/// Nanoseconds after which it is not the same SYN that is sent again, but a new one: when its sender has given up
/// (`tcp_syn_retries` of Linux).
const FORGOTTEN: u64 = 127_000_000_000;

/// Until when a port is held by a flow that was seen now and lives on for this many ticks.
#[inline(always)]
pub const fn held_until(now: u32, timeout: u32) -> u32 {
    now.wrapping_add(if timeout < HELD_AT_MOST { timeout } else { HELD_AT_MOST })
}

/// Whether a SYN that came first this many nanoseconds ago is not answered yet.
#[inline(always)]
pub const fn is_still_silent(waited: u64) -> bool {
    waited < SILENCE
}

/// Whether it may be answered when it comes again.
#[inline(always)]
pub const fn is_answered(waited: u64) -> bool {
    !is_still_silent(waited) && waited < FORGOTTEN
}

/// What a mapping is towards others.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// There is none: every flow has a port of its own.
    Dependent,
    /// Preferred: others may have the port towards other remotes (TCP, where ports would else run short).
    Preferred,
    /// Nobody else has the port towards anybody (RFC 4787, REQ-3).
    Exclusive,
}

/// The kind of mapping that a protocol has; `dependent` is what the network says of UDP.
#[inline(always)]
pub const fn kind(proto: u8, dependent: bool) -> Kind {
    match proto {
        proto::TCP => Kind::Preferred,
        proto::UDP | proto::UDPLITE if dependent => Kind::Dependent,
        proto::UDP | proto::UDPLITE | proto::ICMP | proto::ICMPV6 => Kind::Exclusive,
        _ => Kind::Dependent,
    }
}

/// Whether the packets of a protocol are told apart by their addresses alone, so that host and containers cannot both speak
/// it to one remote.
#[inline(always)]
pub const fn is_by_address(proto: u8) -> bool {
    !proto::has_ports(proto) && !proto::is_icmp(proto)
}

/// Whether a UDP flow between these ports is a query to a resolver.
#[inline(always)]
pub const fn is_query(sport: Port, dport: Port) -> bool {
    sport.0 == DOMAIN.0 || dport.0 == DOMAIN.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_ahead_until_it_has_passed_also_when_the_clock_wraps() {
        assert!(is_ahead(100, 100) && is_ahead(101, 100) && is_ahead(2, u32::MAX));
        assert!(!is_ahead(99, 100) && !is_ahead(u32::MAX, 0));
    }

    #[test]
    fn a_syn_that_nobody_asked_for_is_answered_after_six_seconds_and_is_another_one_after_two_minutes() {
        for (seconds, silent, answered) in
            [(0, true, false), (5, true, false), (6, false, true), (63, false, true), (127, false, false)]
        {
            let waited = seconds * 1_000_000_000;
            assert_eq!((is_still_silent(waited), is_answered(waited)), (silent, answered), "{seconds}");
        }
        // A clock that another CPU has read a moment later.
        assert!(!is_still_silent(u64::MAX) && !is_answered(u64::MAX));
    }

    #[test]
    fn only_udp_can_be_told_to_depend_on_the_remote() {
        assert_eq!(kind(proto::UDP, false), Kind::Exclusive);
        assert_eq!(kind(proto::UDP, true), Kind::Dependent);
        for dependent in [false, true] {
            assert_eq!(kind(proto::ICMP, dependent), Kind::Exclusive);
            assert_eq!(kind(proto::TCP, dependent), Kind::Preferred);
            assert_eq!(kind(proto::SCTP, dependent), Kind::Dependent, "it has several addresses");
        }
    }
}
