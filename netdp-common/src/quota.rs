//! What one container may have of the flow table and of outside ports, and how it is counted (R1 to R5, S15; RFC 6888,
//! REQ-4).
//!
//! A flow is paid for by one payer, from the moment on at which the entry of its replies is inserted until that is deleted. Who
//! pays, the entry itself says ([`Payer::of`]), so that whoever deletes it knows what to give back.

use crate::assert_size;
use crate::flow::{Exit, Flow, FlowKey};
use crate::timers::State;

/// What a container pays for.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Kind(pub u32);

impl Kind {
    /// Flows that it begins.
    pub const BEGINS: Self = Self(1);
    /// Flows that others begin to its published ports.
    pub const SERVES: Self = Self(2);
    /// Outside ports that are its own.
    pub const PORTS: Self = Self(3);
    /// All flows of all containers.
    pub const ALL: Self = Self(4);
}

/// Who pays, and for what: key of the map `QUOTAS`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Payer {
    /// `ifindex` of the container's host-side veth; zero in the row of [`Kind::ALL`].
    pub ifindex: u32,
    /// For what.
    pub kind: Kind,
}
assert_size!(Payer, 8);

impl Payer {
    /// Nobody.
    pub const NONE: Self = Self { ifindex: 0, kind: Kind(0) };
    /// The row of all flows.
    pub const ALL: Self = Self { ifindex: 0, kind: Kind::ALL };

    /// Who pays for a flow, given the entry of its replies: where replies go into a container, that one has begun it. Else
    /// somebody outside or a process of the host has, and the container that it leads to pays.
    #[inline(always)]
    pub const fn of(reply: &Flow) -> Self {
        Self::by(reply.exit, reply.ifindex, reply.owner)
    }

    /// The same, given where its replies go and whose it is.
    #[inline(always)]
    pub const fn by(exit: Exit, ifindex: u32, owner: u32) -> Self {
        if exit.0 == Exit::ENDPOINT.0 {
            Self { ifindex, kind: Kind::BEGINS }
        } else {
            Self { ifindex: owner, kind: Kind::SERVES }
        }
    }

    /// Who pays for an outside port, given the container's veth.
    #[inline(always)]
    pub const fn of_port(owner: u32) -> Self {
        Self { ifindex: owner, kind: Kind::PORTS }
    }
}

/// What a payer has (map `QUOTAS`). Each field is changed by atomic additions alone, which the compiler has of 64 bits only.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Quota {
    /// Flows or ports. A two's complement: what was counted before the row was there may be given back to it.
    pub used: u64,
    /// How often that was changed.
    pub changes: u64,
    /// The place in the ring of half-open flows whose turn is next.
    pub next: u64,
}
assert_size!(Quota, 24);

impl Quota {
    /// Nothing.
    pub const NONE: Self = Self { used: 0, changes: 0, next: 0 };
}

/// Whether one more is too many.
#[inline(always)]
pub const fn is_spent(used: u64, limit: u32) -> bool {
    used.cast_signed() >= limit as i64
}

/// What a controller that has deleted flows gives back (queue `RELEASED`).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Release {
    /// To whom.
    pub payer: Payer,
    /// How much; a two's complement, for the recount may also find that more is there than was counted.
    pub count: u64,
}
assert_size!(Release, 16);

/// A place in a payer's ring of half-open flows: key of the map `HALF_OPEN`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// Whose ring.
    pub payer: Payer,
    /// Below the number of half-open flows that one may have.
    pub number: u32,
}
assert_size!(Place, 12);

/// Places that are looked at, beside the one whose turn it is, before a half-open flow is evicted: with half of a ring taken,
/// all of them are once in 32 000 flows.
pub const PROBES: u32 = 15;

/// Slots of the ledger that one packet looks at, at most ([`SWEEP_SHIFT`]).
pub const SWEEP_SLOTS: u32 = 512;
/// `CLOCK_MONOTONIC` in ns, shifted right by this, is the time in which the table is swept once: 4 ms.
pub const SWEEP_SHIFT: u32 = 22;
/// Slots of the ledger that one flow may stand in.
pub const LEDGER_TRIES: u32 = 8;

/// The first slot of the ledger that a flow may stand in, by the key of its replies.
#[inline(always)]
pub const fn ledger_slot(key: &FlowKey) -> u32 {
    let (src, dst) = (key.src.0, key.dst.0);
    let ports = key.sport.0 as u32 | (key.dport.0 as u32) << 16;
    let mut hash = mix(mix(0, ports), key.proto as u32 | (key.zone.0 as u32) << 8);
    let mut word = 0;
    while word < 4 {
        hash = mix(mix(hash, src[word]), dst[word]);
        word += 1;
    }
    hash ^ hash >> 16
}

#[inline(always)]
pub(crate) const fn mix(hash: u32, word: u32) -> u32 {
    (hash ^ word).wrapping_mul(0x9e37_79b1).rotate_left(13)
}

/// Whether a flow in this state has not been answered, or its connection not been agreed upon. That of ICMP says nothing about it:
/// there, it is a flow without a reply.
#[inline(always)]
pub const fn is_half_open(state: State) -> bool {
    matches!(
        state,
        State::TcpSynSent
            | State::TcpSynRecv
            | State::TcpPickedUp
            | State::UdpUnreplied
            | State::SctpInit
            | State::GenericUnreplied
    )
}

/// Flows that containers may begin, of a table that has room for so many, so that this many are left for published ports. Never
/// more than half of the table.
#[inline(always)]
pub const fn open_to_containers(capacity: u32, reserve: u32) -> u32 {
    capacity - if reserve < capacity / 2 { reserve } else { capacity / 2 }
}

/// A recount: what is certainly wrong with a count, given what was found while it was changed so often. What came and went
/// meanwhile may have been found or not, so that of a payer who is quiet nothing is left to doubt.
pub const fn drift(counted: u64, found: u64, changes: u64) -> i64 {
    let off = counted.wrapping_sub(found).cast_signed();
    let doubt = if changes > i64::MAX as u64 { i64::MAX } else { changes.cast_signed() };
    if off > doubt {
        off - doubt
    } else if off < -doubt {
        off + doubt
    } else {
        0
    }
}

macro_rules! limits {
    ($( $name:ident = $row:literal, $text:literal, $default:literal, $range:expr, $means:literal; )+) => {
        /// What an operator may limit: a row of the map `SETTINGS` each, behind those of the timers.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Limit { $( #[doc = $means] $name, )+ }

        impl Limit {
            /// Every limit there is.
            pub const ALL: &[Self] = &[ $( Self::$name, )+ ];

            /// The name that `netdp limits` uses.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => $text, )+ }
            }

            /// What it limits, in a few words.
            pub const fn meaning(self) -> &'static str {
                match self { $( Self::$name => $means, )+ }
            }

            /// What holds when nothing else is set.
            #[inline(always)]
            pub const fn default_value(self) -> u32 {
                match self { $( Self::$name => $default, )+ }
            }

            /// The least and the most that can be set.
            pub const fn range(self) -> (u32, u32) {
                match self { $( Self::$name => $range, )+ }
            }

            /// The row of `SETTINGS`.
            #[inline(always)]
            pub const fn row(self) -> u32 {
                match self { $( Self::$name => $row, )+ }
            }
        }
    };
}

limits! {
    Flows = 56, "flows", 32_768, (16, 16_777_216), "flows that one container begins, and as many to its published ports";
    Ports = 57, "ports", 32_768, (16, 65_536), "outside ports of UDP and ICMP that one container has";
    HalfOpen = 58, "half-open", 16_384, (16, 65_536), "of its flows those that are not answered yet; one more evicts the oldest";
    Reserve = 59, "reserve", 8_192, (0, 8_388_608), "flows of the table that are left for published ports";
    Table = 60, "table", 131_072, (1_024, 8_388_608), "flows that the table has room for; holds from the next netdp up after netdp down";
}

impl Limit {
    /// What holds, given the row: zero, as the kernel makes it, stands for the default.
    #[inline(always)]
    pub const fn value(self, row: u32) -> u32 {
        if row == 0 { self.default_value() } else { row - 1 }
    }

    /// The row of a value.
    pub const fn to_row(value: u32) -> u32 {
        value + 1
    }

    /// Whether it can be set so.
    pub const fn takes(self, value: u32) -> bool {
        let (least, most) = self.range();
        value >= least && value <= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ROWS;

    #[test]
    fn limits_have_rows_of_their_own_behind_the_timers() {
        for (n, limit) in Limit::ALL.iter().enumerate() {
            assert!(limit.row() < ROWS);
            assert!(State::ALL.iter().all(|state| u32::from(state.number()) != limit.row()));
            assert!(Limit::ALL[n + 1..].iter().all(|other| other.row() != limit.row()));
            assert!(limit.takes(limit.default_value()));
            assert_eq!(limit.value(0), limit.default_value());
            assert_eq!(limit.value(Limit::to_row(limit.range().0)), limit.range().0);
        }
    }

    #[test]
    fn who_begins_pays_unless_it_is_no_container() {
        let payer = |exit| Payer::by(exit, 7, 9);
        assert_eq!(payer(Exit::ENDPOINT), Payer { ifindex: 7, kind: Kind::BEGINS });
        assert_eq!(payer(Exit::UPLINK), Payer { ifindex: 9, kind: Kind::SERVES });
        assert_eq!(payer(Exit::LOOPBACK), Payer { ifindex: 9, kind: Kind::SERVES });
    }

    #[test]
    fn a_count_below_zero_spends_nothing() {
        assert!(!is_spent(0_u64.wrapping_sub(3), 16) && !is_spent(15, 16));
        assert!(is_spent(16, 16) && is_spent(17, 16));
    }

    #[test]
    fn the_reserve_never_takes_more_than_half_of_the_table() {
        assert_eq!(open_to_containers(131_072, 8_192), 122_880);
        assert_eq!(open_to_containers(1_024, 8_192), 512);
        assert_eq!(open_to_containers(1_024, 0), 1_024);
    }

    #[test]
    fn a_recount_heals_what_is_certain_and_nothing_else() {
        assert_eq!((drift(10, 10, 0), drift(12, 10, 0), drift(8, 10, 0)), (0, 2, -2));
        assert_eq!((drift(12, 10, 2), drift(13, 10, 2), drift(7, 10, 2)), (0, 1, -1));
        assert_eq!(drift(0_u64.wrapping_sub(5), 0, 0), -5);
        assert_eq!(drift(u64::MAX, 0, u64::MAX), 0);
    }

    #[test]
    fn replied_and_established_flows_are_not_half_open() {
        let half_open: Vec<_> =
            State::ALL.iter().filter(|state| is_half_open(**state)).map(|s| s.name()).collect();
        let named = ["syn_sent", "syn_recv", "picked_up", "unreplied", "sctp_init", "generic_unreplied"];
        assert_eq!(half_open, named);
    }

    mod random {
        use super::*;
        use proptest::prelude::*;

        proptest! {
            #[test]
            fn a_recount_of_a_count_that_is_right_finds_nothing_whatever_comes_and_goes(
                before in 0_u64..1_000,
                events in prop::collection::vec((any::<bool>(), any::<bool>()), 0..100),
            ) {
                // Each flow that comes or goes meanwhile is found or not.
                let (mut used, mut found) = (before, before);
                for &(comes, is_met) in &events {
                    let change = if comes { 1 } else { u64::MAX };
                    used = used.wrapping_add(change);
                    found = if is_met { found.wrapping_add(change) } else { found };
                }
                let changes = u64::try_from(events.len()).unwrap();
                prop_assert_eq!(drift(used, found, changes), 0);
                // And what is wrong by more than that is found, and never overdone.
                let off = drift(used.wrapping_add(500), found, changes);
                prop_assert!((1..=500 + 100).contains(&off) || changes >= 500);
            }
        }
    }
}
