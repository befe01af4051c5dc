//! Who reaches whom: Docker's seven rules as one decision, for the programs and for `netdp trace` alike. Pure.
//!
//! It is asked about the first packet of a flow, and about what passes between neighbours, which has no flow. What belongs to
//! a known flow is established: it is translated and passes (Docker's rule 2, "established, related").
//!
//! | from \ to | neighbour | container of another network | published port | gateway | host | outside |
//! |---|---|---|---|---|---|---|
//! | host | | 7 passes | 5 passes | | | |
//! | same network | 2 passes, or `icc_disabled` | | | | | |
//! | other network | | 1 `inter_network`, unless 2 opens it | 5 passes | 7 passes | 7 passes | 6 |
//! | network on a LAN | as above; 2 passes to machines of the LAN | | | | | |
//! | internal network | as above | 4 `internal_network` | 4 `internal_network` | 7 passes | 4 `internal_network` | 4 `internal_network` |
//! | outside | | 1 `direct_routing`, unless 2 opens it | 5 passes; 1 on loopback | | | |
//!
//! Rule 2 opens a container's address where its network is `routed` (ICMP, published ports; else `unpublished`) or
//! `nat-unprotected` (all), and its published ports (else `unpublished`) where direct routing is allowed, or trusted where the
//! packet comes in. A published port that is for some sources only is for no others (5 `source_denied`); the host asks
//! for none of that.

use crate::endpoint::{Link, link_flags};
use crate::port::port_flags;
use crate::proto;
use crate::reason::Reason;

/// Where a packet comes from.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Origin {
    /// A process of the host.
    Host = 0,
    /// A container.
    Container = 1,
    /// An uplink.
    Outside = 2,
}

/// What its destination is to who sends it.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Target {
    /// A container of the sender's own network; for the host, any.
    Neighbour = 0,
    /// An address of another network that is reached by published ports of the host alone, if at all.
    Container = 1,
    /// The same of a network that is `nat-unprotected`.
    Unprotected = 2,
    /// ICMP to a container of a `routed` network.
    RoutedIcmp = 3,
    /// A published port of a container of a `routed` network, at the container's own address.
    RoutedPort = 4,
    /// Anything else of a container of a `routed` network.
    Routed = 5,
    /// A published port at an address of the host.
    Published = 6,
    /// A loopback address; for the host and for the outside, one where the port is published.
    Loopback = 7,
    /// The gateway of the sender's network, where nothing is published.
    Gateway = 8,
    /// Another address of the host, where nothing is published.
    Host = 9,
    /// Neither the host nor a container.
    Outside = 10,
    /// Who is beside the sender on its own link and no container: a machine on the LAN that the network's bridge is on.
    Lan = 11,
    /// A published port that is for other sources, at whichever address.
    Unlisted = 12,
    /// A published port at the own address of a container that is let in directly.
    DirectPort = 13,
    /// Anything else of such a container.
    Direct = 14,
}

impl Target {
    /// Every kind there is.
    pub const ALL: [Self; 15] = [
        Self::Neighbour,
        Self::Container,
        Self::Unprotected,
        Self::RoutedIcmp,
        Self::RoutedPort,
        Self::Routed,
        Self::Published,
        Self::Loopback,
        Self::Gateway,
        Self::Host,
        Self::Outside,
        Self::Lan,
        Self::Unlisted,
        Self::DirectPort,
        Self::Direct,
    ];

    /// All who are on the sender's link together. On a LAN the bridge itself keeps containers apart that are not to hear one
    /// another, and the others are to hear them.
    #[inline(always)]
    pub const fn of_group(sender: u32) -> Self {
        if sender & link_flags::LAN != 0 { Self::Lan } else { Self::Neighbour }
    }

    /// A container's address of another network, by what stands in `PORTS` beside it ([`port_flags`]; zero when nothing does),
    /// whether the packet comes in where that is trusted (asked only of what is `FILTERED`), and whether it is for a port
    /// of the container that is published.
    #[inline(always)]
    pub const fn of_container(beside: u16, is_trusted: bool, protocol: u8, is_published: bool) -> Self {
        if beside & port_flags::UNPROTECTED != 0 {
            Self::Unprotected
        } else if beside & port_flags::DIRECT != 0 && (beside & port_flags::FILTERED == 0 || is_trusted) {
            if is_published { Self::DirectPort } else { Self::Direct }
        } else if beside & port_flags::ROUTED == 0 {
            Self::Container
        } else if proto::is_icmp(protocol) {
            Self::RoutedIcmp
        } else if is_published {
            Self::RoutedPort
        } else {
            Self::Routed
        }
    }

    /// An address that is asked for no port, as the packet names none or none that is known: whether a container has it.
    #[inline(always)]
    pub const fn of_address(is_container: bool) -> Self {
        if is_container { Self::Container } else { Self::Outside }
    }

    /// An address of the host, for the host itself and for the outside: whether it is one of loopback, and whether the port is
    /// published there.
    #[inline(always)]
    pub const fn of_port(is_loopback: bool, is_published: bool) -> Self {
        if !is_published {
            Self::Host
        } else if is_loopback {
            Self::Loopback
        } else {
            Self::Published
        }
    }

    /// A published port once more, when it is known whether it is for the source of the packet.
    #[must_use]
    #[inline(always)]
    pub const fn for_source(self, is_listed: bool) -> Self {
        match self {
            Self::Published | Self::RoutedPort | Self::DirectPort if !is_listed => Self::Unlisted,
            _ => self,
        }
    }

    /// An address of the host, for a container: whether it is the gateway of its network, and whether the port is published
    /// there. An internal network asks its gateway for nothing that is published.
    #[inline(always)]
    pub const fn of_host(is_gateway: bool, is_published: bool, sender: u32) -> Self {
        if is_gateway && (!is_published || sender & link_flags::INTERNAL != 0) {
            Self::Gateway
        } else if is_published {
            Self::Published
        } else {
            Self::Host
        }
    }
}

macro_rules! rules {
    ($( $(#[$doc:meta])* $name:ident = $number:literal, $docker:literal, $word:literal, $text:literal, $reason:expr; )+) => {
        /// What decides on a packet.
        #[repr(u32)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Rule { $( $(#[$doc])* $name = $number, )+ }

        impl Rule {
            /// Every rule there is.
            pub const ALL: &[Self] = &[ $( Self::$name, )+ ];

            /// The number of Docker's rule that it is a part of, 1 to 7.
            pub const fn docker(self) -> u32 {
                match self { $( Self::$name => $docker, )+ }
            }

            /// Its stable name.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => $word, )+ }
            }

            /// What it says, for people.
            pub const fn text(self) -> &'static str {
                match self { $( Self::$name => $text, )+ }
            }

            /// Whether the packet passes, else what it is dropped for.
            ///
            /// # Errors
            /// It is dropped.
            #[inline(always)]
            pub const fn verdict(self) -> Result<(), Reason> {
                match self { $( Self::$name => $reason, )+ }
            }
        }
    };
}

rules! {
    /// From the outside to a container's address.
    DirectRouting = 0, 1, "direct_routing", "a container's address is not reached from outside", Err(Reason::DirectRouting);
    /// From another network to a container's address.
    InterNetwork = 1, 1, "inter_network", "a container's address is not reached from another network", Err(Reason::InterNetwork);
    /// From the outside to a port that is published on loopback.
    LoopbackFromWire = 2, 1, "loopback_from_wire", "a port published on loopback is not reached from the wire", Err(Reason::LoopbackFromWire);
    /// Between neighbours.
    Icc = 3, 2, "icc", "containers of one network reach one another", Ok(());
    /// Between neighbours that are kept apart.
    IccOff = 4, 2, "icc_off", "icc is off in the network", Err(Reason::IccDisabled);
    /// To a container of a routed network.
    RoutedIcmp = 5, 2, "routed_icmp", "a routed network takes ICMP", Ok(());
    /// To a container of a routed network.
    RoutedPort = 6, 2, "routed_port", "a routed network takes what is for published ports, at the container's address", Ok(());
    /// To a container of a routed network.
    Unpublished = 7, 2, "unpublished", "a routed network takes nothing else", Err(Reason::Unpublished);
    /// To a container of a network without protection.
    Unprotected = 8, 2, "unprotected", "all ports of a nat-unprotected network are reached at the container's address", Ok(());
    /// Into or out of an internal network.
    Internal = 9, 4, "internal", "nothing leaves an internal network but to its gateway", Err(Reason::InternalNetwork);
    /// To a port of the host.
    Published = 10, 5, "published", "a published port leads to its container", Ok(());
    /// Out of a network.
    Masquerade = 11, 6, "masquerade", "what leaves gets an address of the host", Ok(());
    /// Out of a network.
    RoutedOut = 12, 6, "routed_out", "what leaves a routed network keeps its address", Ok(());
    /// Out of a network.
    MasqueradeOff = 13, 6, "masquerade_off", "no container address leaves untranslated, and masquerade is off", Err(Reason::MasqueradeOff);
    /// From the host to a container.
    FromHost = 14, 7, "from_host", "the host reaches its containers", Ok(());
    /// From a container to the host itself.
    ToHost = 15, 7, "to_host", "containers reach the host", Ok(());
    /// From a container to a loopback address.
    LoopbackFromContainer = 17, 1, "loopback_from_container", "no loopback address is reached over a network", Err(Reason::LoopbackFromContainer);
    /// To a machine on the LAN of the sender's network.
    Lan = 18, 2, "lan", "containers on a LAN reach its machines by themselves, with their own addresses", Ok(());
    /// From somebody whom a published port is not for.
    SourceDenied = 19, 5, "source_denied", "a published port that has sources is for no others", Err(Reason::SourceDenied);
    /// To a container that is let in directly.
    DirectPort = 20, 2, "direct_port", "where direct routing is allowed or trusted, published ports are reached at the container's address", Ok(());
    /// To anything else of it.
    DirectUnpublished = 21, 2, "direct_unpublished", "where direct routing is allowed or trusted, nothing else is reached at the container's address", Err(Reason::Unpublished);
    /// Between the host and the outside.
    NotOurs = 16, 7, "not_ours", "it concerns no container", Ok(());
}

/// Decides on a packet: where it comes from, the flags of its sender's network ([`link_flags`], none where a container did
/// not send it), what its destination is, and the family of that.
#[inline(always)]
pub const fn decide(origin: Origin, sender: u32, target: Target, v4: bool) -> Rule {
    match origin {
        Origin::Host => from_host(target),
        Origin::Container => from_container(sender, target, v4),
        Origin::Outside => from_outside(target),
    }
}

#[inline(always)]
const fn from_host(target: Target) -> Rule {
    match target {
        Target::Published | Target::Loopback | Target::Unlisted => Rule::Published,
        Target::Gateway | Target::Host | Target::Outside | Target::Lan => Rule::NotOurs,
        Target::Neighbour
        | Target::Container
        | Target::Unprotected
        | Target::RoutedIcmp
        | Target::RoutedPort
        | Target::Routed
        | Target::DirectPort
        | Target::Direct => Rule::FromHost,
    }
}

#[inline(always)]
const fn from_container(sender: u32, target: Target, v4: bool) -> Rule {
    match target {
        Target::Neighbour if sender & link_flags::NO_ICC != 0 => return Rule::IccOff,
        Target::Neighbour => return Rule::Icc,
        Target::Gateway => return Rule::ToHost,
        Target::Loopback => return Rule::LoopbackFromContainer,
        _ if sender & link_flags::INTERNAL != 0 => return Rule::Internal,
        _ => {}
    }
    match target {
        Target::Neighbour | Target::Gateway | Target::Host => Rule::ToHost,
        Target::Container => Rule::InterNetwork,
        Target::Unprotected => Rule::Unprotected,
        Target::RoutedIcmp => Rule::RoutedIcmp,
        Target::RoutedPort => Rule::RoutedPort,
        Target::Routed => Rule::Unpublished,
        Target::Loopback => Rule::LoopbackFromContainer,
        Target::DirectPort => Rule::DirectPort,
        Target::Direct => Rule::DirectUnpublished,
        Target::Published => Rule::Published,
        Target::Unlisted => Rule::SourceDenied,
        Target::Outside if Link::is_routed_by(sender, v4) => Rule::RoutedOut,
        Target::Outside if sender & link_flags::NO_MASQUERADE != 0 => Rule::MasqueradeOff,
        Target::Outside => Rule::Masquerade,
        Target::Lan => Rule::Lan,
    }
}

#[inline(always)]
const fn from_outside(target: Target) -> Rule {
    match target {
        Target::Neighbour | Target::Container => Rule::DirectRouting,
        Target::Unprotected => Rule::Unprotected,
        Target::RoutedIcmp => Rule::RoutedIcmp,
        Target::RoutedPort => Rule::RoutedPort,
        Target::Routed => Rule::Unpublished,
        Target::DirectPort => Rule::DirectPort,
        Target::Direct => Rule::DirectUnpublished,
        Target::Published => Rule::Published,
        Target::Unlisted => Rule::SourceDenied,
        Target::Loopback => Rule::LoopbackFromWire,
        Target::Gateway | Target::Host | Target::Outside | Target::Lan => Rule::NotOurs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::link_flags::{INTERNAL, NO_ICC, NO_MASQUERADE, ROUTED4, ROUTED6};

    /// Senders, in the order of the columns below: host, network as it comes, icc off, internal, masquerade off, routed, outside.
    const SENDERS: [(Origin, u32); 7] = [
        (Origin::Host, 0),
        (Origin::Container, 0),
        (Origin::Container, NO_ICC),
        (Origin::Container, INTERNAL),
        (Origin::Container, NO_MASQUERADE),
        (Origin::Container, ROUTED4),
        (Origin::Outside, 0),
    ];

    /// The whole truth: by target, what decides for each sender.
    #[rustfmt::skip]
    fn truth(target: Target) -> [Rule; 7] {
        use Rule::{
            DirectPort, DirectRouting, DirectUnpublished, FromHost, Icc, IccOff, InterNetwork, Internal, Lan, LoopbackFromContainer, LoopbackFromWire,
            Masquerade, MasqueradeOff, NotOurs, Published, RoutedIcmp, RoutedOut, RoutedPort, SourceDenied, ToHost, Unprotected, Unpublished,
        };
        match target {
            //                              host       network           icc off           internal  no masquerade     routed            outside
            Target::Neighbour           => [FromHost,  Icc,              IccOff,           Icc,      Icc,              Icc,              DirectRouting],
            Target::Container           => [FromHost,  InterNetwork,     InterNetwork,     Internal, InterNetwork,     InterNetwork,     DirectRouting],
            Target::Unprotected         => [FromHost,  Unprotected,      Unprotected,      Internal, Unprotected,      Unprotected,      Unprotected],
            Target::RoutedIcmp          => [FromHost,  RoutedIcmp,       RoutedIcmp,       Internal, RoutedIcmp,       RoutedIcmp,       RoutedIcmp],
            Target::RoutedPort          => [FromHost,  RoutedPort,       RoutedPort,       Internal, RoutedPort,       RoutedPort,       RoutedPort],
            Target::Routed              => [FromHost,  Unpublished,      Unpublished,      Internal, Unpublished,      Unpublished,      Unpublished],
            Target::Published           => [Published, Published,        Published,        Internal, Published,        Published,        Published],
            Target::Loopback            => [Published, LoopbackFromContainer, LoopbackFromContainer, LoopbackFromContainer, LoopbackFromContainer, LoopbackFromContainer, LoopbackFromWire],
            Target::Gateway             => [NotOurs,   ToHost,           ToHost,           ToHost,   ToHost,           ToHost,           NotOurs],
            Target::Host                => [NotOurs,   ToHost,           ToHost,           Internal, ToHost,           ToHost,           NotOurs],
            Target::Outside             => [NotOurs,   Masquerade,       Masquerade,       Internal, MasqueradeOff,    RoutedOut,        NotOurs],
            Target::Lan                 => [NotOurs,   Lan,              Lan,              Internal, Lan,              Lan,              NotOurs],
            Target::Unlisted            => [Published, SourceDenied,     SourceDenied,     Internal, SourceDenied,     SourceDenied,     SourceDenied],
            Target::DirectPort          => [FromHost,  DirectPort,       DirectPort,       Internal, DirectPort,       DirectPort,       DirectPort],
            Target::Direct              => [FromHost,  DirectUnpublished, DirectUnpublished, Internal, DirectUnpublished, DirectUnpublished, DirectUnpublished],
        }
    }

    #[test]
    fn every_sender_and_every_target_is_decided_as_the_table_says() {
        for target in Target::ALL {
            for ((origin, flags), expected) in SENDERS.into_iter().zip(truth(target)) {
                assert_eq!(decide(origin, flags, target, true), expected, "{origin:?} {flags} {target:?}");
            }
        }
    }

    #[test]
    fn flags_do_not_hide_one_another() {
        for target in Target::ALL {
            for others in 0..64 {
                let internal = decide(Origin::Container, others | INTERNAL, target, true);
                match target {
                    Target::Neighbour => assert!(matches!(internal, Rule::Icc | Rule::IccOff)),
                    Target::Gateway => assert_eq!(internal, Rule::ToHost),
                    Target::Loopback => assert_eq!(internal, Rule::LoopbackFromContainer),
                    _ => assert_eq!(internal, Rule::Internal, "{target:?} {others}"),
                }
            }
            for flags in 0..256 {
                assert_eq!(
                    decide(Origin::Outside, flags, target, true),
                    decide(Origin::Outside, 0, target, true)
                );
                assert_eq!(decide(Origin::Host, flags, target, true), decide(Origin::Host, 0, target, true));
            }
        }
    }

    #[test]
    fn a_network_is_routed_in_one_family_and_masquerades_in_the_other() {
        let leave = |flags, v4| decide(Origin::Container, flags, Target::Outside, v4);
        assert_eq!((leave(ROUTED4, true), leave(ROUTED4, false)), (Rule::RoutedOut, Rule::Masquerade));
        assert_eq!((leave(ROUTED6, true), leave(ROUTED6, false)), (Rule::Masquerade, Rule::RoutedOut));
        assert_eq!(leave(ROUTED4 | NO_MASQUERADE, true), Rule::RoutedOut);
        assert_eq!(leave(ROUTED4 | NO_MASQUERADE, false), Rule::MasqueradeOff);
    }

    #[test]
    fn a_containers_address_is_what_stands_beside_it() {
        use port_flags::{DIRECT, FILTERED, ROUTED, UNPROTECTED};
        let (tcp, udp) = (proto::TCP, proto::UDP);
        for (beside, is_trusted, protocol, is_published, expected) in [
            (0, true, tcp, true, Target::Container),
            (0, false, proto::ICMP, false, Target::Container),
            (UNPROTECTED, false, tcp, false, Target::Unprotected),
            (UNPROTECTED, false, proto::ICMPV6, false, Target::Unprotected),
            (ROUTED, false, proto::ICMP, false, Target::RoutedIcmp),
            (ROUTED, false, proto::ICMPV6, false, Target::RoutedIcmp),
            (ROUTED, false, tcp, true, Target::RoutedPort),
            (ROUTED, false, udp, false, Target::Routed),
            (DIRECT, false, tcp, true, Target::DirectPort),
            (DIRECT, false, tcp, false, Target::Direct),
            (DIRECT, false, proto::ICMP, false, Target::Direct),
            (DIRECT | FILTERED, true, udp, true, Target::DirectPort),
            (DIRECT | FILTERED, true, udp, false, Target::Direct),
            (DIRECT | FILTERED, false, tcp, true, Target::Container),
        ] {
            assert_eq!(
                Target::of_container(beside, is_trusted, protocol, is_published),
                expected,
                "{beside}"
            );
        }
    }

    #[test]
    fn sources_are_asked_of_published_ports_only() {
        for target in Target::ALL {
            assert_eq!(target.for_source(true), target);
            let is_port = matches!(target, Target::Published | Target::RoutedPort | Target::DirectPort);
            assert_eq!(target.for_source(false), if is_port { Target::Unlisted } else { target });
        }
    }

    /// What is known of a first packet.
    #[derive(Clone, Copy, Debug)]
    struct Facts {
        origin: Origin,
        sender: u32,
        is_container: bool,
        beside: u16,
        is_trusted: bool,
        is_icmp: bool,
        is_published: bool,
        is_listed: bool,
        is_loopback: bool,
        is_gateway: bool,
    }

    impl Facts {
        /// Every combination: each bit is a fact.
        fn all() -> impl Iterator<Item = Self> {
            use port_flags::{DIRECT, FILTERED, ROUTED, UNPROTECTED};
            const MODES: [u16; 5] = [0, ROUTED, UNPROTECTED, DIRECT, DIRECT | FILTERED];
            const SENDERS: [(Origin, u32); 4] = [
                (Origin::Host, 0),
                (Origin::Outside, 0),
                (Origin::Container, 0),
                (Origin::Container, INTERNAL),
            ];
            let places = SENDERS.into_iter().flat_map(|sender| MODES.map(|beside| (sender, beside)));
            places.flat_map(|((origin, sender), beside)| {
                (0..128_u32).map(move |bits| {
                    let is = |bit: u32| bits >> bit & 1 != 0;
                    Self {
                        origin,
                        sender,
                        beside,
                        is_container: is(0),
                        is_trusted: is(1),
                        is_icmp: is(2),
                        is_published: is(3) && !is(2),
                        is_listed: is(4),
                        is_loopback: is(5),
                        is_gateway: is(6),
                    }
                })
            })
        }

        /// As the programs do it.
        fn decided(self) -> bool {
            let protocol = if self.is_icmp { proto::ICMP } else { proto::TCP };
            let target = if self.is_container {
                Target::of_container(self.beside, self.is_trusted, protocol, self.is_published)
            } else if self.origin != Origin::Container {
                Target::of_port(self.is_loopback, self.is_published)
            } else if self.is_loopback {
                Target::Loopback
            } else {
                Target::of_host(self.is_gateway, self.is_published, self.sender)
            };
            decide(self.origin, self.sender, target.for_source(self.is_listed), true).verdict().is_ok()
        }

        /// As Docker says it, rule by rule, with `from=` beside them.
        fn passes(self) -> bool {
            let from_internal = self.sender & INTERNAL != 0;
            // 7: nothing that the host sends is filtered.
            if self.origin == Origin::Host {
                return true;
            }
            // 4: out of an internal network nothing goes but to its own bridge; and no container has a loopback address to send to.
            if self.origin == Origin::Container && !self.is_container {
                if self.is_loopback {
                    return false;
                }
                if from_internal {
                    return self.is_gateway;
                }
            }
            if !self.is_container {
                // 1: what is published on loopback is not for the wire. 5: what is published elsewhere is for its sources.
                return !self.is_published || (self.is_listed && !self.is_loopback);
            }
            let lets_in = self.beside & port_flags::DIRECT != 0
                && (self.beside & port_flags::FILTERED == 0 || self.is_trusted);
            // 1: a container's address is reached by its own bridge, unless its network says otherwise; 2: and then as it says.
            let opened = match self.beside {
                port_flags::UNPROTECTED => true,
                port_flags::ROUTED => self.is_icmp || (self.is_published && self.is_listed),
                _ => lets_in && self.is_published && self.is_listed,
            };
            opened && !from_internal
        }
    }

    #[test]
    fn whatever_is_known_of_a_packet_it_passes_where_dockers_rules_say_so() {
        let mut passed = 0;
        for facts in Facts::all() {
            assert_eq!(facts.decided(), facts.passes(), "{facts:?}");
            passed += usize::from(facts.passes());
        }
        assert!((1..Facts::all().count()).contains(&passed), "{passed}");
    }

    #[test]
    fn what_is_dropped_is_counted_as_a_drop_and_every_rule_is_one_of_the_seven() {
        for rule in Rule::ALL {
            assert!((1..=7).contains(&rule.docker()) && !rule.text().is_empty() && !rule.name().is_empty());
            assert!(rule.verdict().err().is_none_or(Reason::is_drop), "{rule:?}");
        }
    }
}
