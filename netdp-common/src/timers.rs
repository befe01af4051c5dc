//! How long a flow lives without a packet: one table, each the larger of Linux's value and of what an RFC asks for.
//! An operator may set others ([`crate::settings`]).
//!
//! Linux's values: `Documentation/networking/nf_conntrack-sysctl.rst`, and `net/netfilter/nf_conntrack_proto_sctp.c`.
//!
//! Time is counted in ticks of 2^30 ns (about 1.07 s): a shift instead of a division on the packet path.

/// `CLOCK_MONOTONIC` in ns, shifted right by this, is the time in ticks.
pub const TICK_SHIFT: u32 = 30;

/// Ticks of a time in ns.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "2^32 ticks are 146 years of uptime")]
pub const fn ticks(ns: u64) -> u32 {
    (ns >> TICK_SHIFT) as u32
}

/// Ticks of a timeout, rounded up.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "2^32 seconds are fewer ticks")]
pub const fn timeout_ticks(seconds: u32) -> u32 {
    let ns = seconds as u64 * 1_000_000_000;
    ((ns + (1 << TICK_SHIFT) - 1) >> TICK_SHIFT) as u32
}

macro_rules! floor {
    (none) => {
        None
    };
    ($seconds:literal $rfc:literal) => {
        Some(($seconds, $rfc))
    };
}

macro_rules! states {
    ($( $(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $seconds:literal, [$($floor:tt)+], $means:literal; )+) => {
        /// The state of a flow. In a [`crate::Flow`] it stands as its number.
        #[repr(u8)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum State { $( #[doc = $means] $(#[$doc])* $name = $number, )+ }

        impl State {
            /// Every state there is.
            pub const ALL: &[Self] = &[ $( Self::$name, )+ ];

            /// The name that `netdp flows` prints, and that of its timer.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => $text, )+ }
            }

            /// What the state says, in a few words.
            pub const fn meaning(self) -> &'static str {
                match self { $( Self::$name => $means, )+ }
            }

            /// Seconds without a packet after which the flow has ended, unless something else is set.
            #[inline(always)]
            pub const fn default_seconds(self) -> u32 {
                match self { $( Self::$name => $seconds, )+ }
            }

            /// The seconds below which an RFC does not allow the timer, and where it says so.
            pub const fn floor(self) -> Option<(u32, &'static str)> {
                match self { $( Self::$name => floor!($($floor)+), )+ }
            }

            /// The state of a number; a number that means nothing is a flow that has ended.
            #[inline(always)]
            pub const fn from_number(number: u8) -> Self {
                match number { $( $number => Self::$name, )+ _ => Self::TcpClose }
            }
        }
    };
}

states! {
    /// Partially open: RFC 7857, 2.1, lets it be shorter than the transitory time.
    TcpSynSent = 1, "syn_sent", 120, [none], "a SYN was seen";
    TcpSynRecv = 2, "syn_recv", 60, [none], "a SYN was answered, and the answer not acknowledged";
    TcpEstablished = 3, "established", 432_000, [7440 "RFC 5382, REQ-5"], "the handshake is complete";
    TcpFinOriginal = 4, "fin_wait", 240, [240 "RFC 5382, REQ-5"], "the originator has sent its FIN";
    TcpFinReply = 5, "close_wait", 240, [240 "RFC 5382, REQ-5"], "the responder has sent its FIN";
    TcpLastAck = 6, "last_ack", 240, [240 "RFC 5382, REQ-5"], "both have sent their FIN";
    TcpTimeWait = 7, "time_wait", 240, [240 "RFC 5382, REQ-5"], "both FINs were acknowledged";
    TcpClose = 8, "close", 240, [240 "RFC 7857, 2.2"], "a RST was believed";
    /// Linux's `timeout_unacknowledged`.
    TcpPickedUp = 9, "picked_up", 300, [240 "RFC 5382, REQ-5"], "TCP met in mid-stream, not answered yet";
    UdpUnreplied = 16, "unreplied", 120, [120 "RFC 4787, REQ-5"], "UDP seen in one direction";
    UdpReplied = 17, "replied", 300, [120 "RFC 4787, REQ-5"], "UDP seen in both directions";
    Icmp = 32, "icmp", 60, [60 "RFC 5508, REQ-2"], "an ICMP query";
    /// Linux has 3 s, which is shorter than the time after which the chunk may be sent again (RFC 9260, 16: RTO.Max).
    SctpInit = 40, "sctp_init", 60, [none], "an SCTP association begins";
    /// Longer than the time between two heartbeats (RFC 9260, 8.3).
    SctpEstablished = 41, "sctp_established", 210, [none], "an SCTP association is there";
    /// As `SctpInit`.
    SctpShutdown = 42, "sctp_shutdown", 60, [none], "an SCTP association ends";
    GenericUnreplied = 48, "generic_unreplied", 600, [none], "another protocol, seen in one direction";
    GenericReplied = 49, "generic_replied", 600, [none], "another protocol, seen in both directions";
}

impl State {
    /// The number, as it stands in a [`crate::Flow`].
    #[inline(always)]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether it is one of a TCP connection.
    #[inline(always)]
    pub const fn is_tcp(self) -> bool {
        self.number() < Self::UdpUnreplied.number()
    }

    /// Whether the connection is over for both ends, as far as a middle can know: what is left of the flow waits for
    /// late packets alone, and may make room for another one (RFC 6888, REQ-8, allows it for TCP that is tracked).
    #[inline(always)]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::TcpTimeWait | Self::TcpClose)
    }

    /// [`State::default_seconds`] in ticks, rounded up.
    #[inline(always)]
    pub const fn default_ticks(self) -> u32 {
        timeout_ticks(self.default_seconds())
    }
}

/// For how many ticks nothing was seen at `now` since `seen`. A stamp may be ahead of the clock, which is coarse and is
/// read on several CPUs: that is no time at all.
#[inline(always)]
pub const fn silence(seen: u32, now: u32) -> u32 {
    let ticks = now.wrapping_sub(seen);
    if ticks < 1 << 31 { ticks } else { 0 }
}

/// Ticks of silence in both directions after which a flow in a final state makes room when it is in the way. Within one
/// the last packets of a close may still be under way between two CPUs.
pub const FINAL_SILENCE: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_their_states() {
        for &state in State::ALL {
            assert_eq!(State::from_number(state.number()), state);
        }
    }

    #[test]
    fn a_flow_lives_at_least_its_timeout_and_not_two_ticks_longer() {
        for &state in State::ALL {
            let ns = u64::from(state.default_seconds()) * 1_000_000_000;
            let start = 7_u64 << TICK_SHIFT;
            let silent = |ns: u64| silence(ticks(start), ticks(start + ns));
            assert!(silent(ns) <= state.default_ticks());
            assert!(silent(ns + (2 << TICK_SHIFT)) > state.default_ticks());
        }
    }

    #[test]
    fn a_stamp_ahead_of_the_clock_is_fresh() {
        assert_eq!(silence(101, 100), 0);
        assert_eq!(silence(u32::MAX, 1), 2, "the clock wraps");
    }

    #[test]
    fn every_default_is_at_least_that_of_linux() {
        let linux = [
            ("syn_sent", 120),
            ("syn_recv", 60),
            ("established", 432_000),
            ("fin_wait", 120),
            ("close_wait", 60),
            ("last_ack", 30),
            ("time_wait", 120),
            ("close", 10),
            ("picked_up", 300),
            ("unreplied", 30),
            ("replied", 120),
            ("icmp", 30),
            ("sctp_init", 3),
            ("sctp_established", 210),
            ("sctp_shutdown", 3),
            ("generic_unreplied", 600),
            ("generic_replied", 600),
        ];
        assert_eq!(linux.len(), State::ALL.len());
        for (name, seconds) in linux {
            let state = State::ALL.iter().find(|state| state.name() == name).expect("a state");
            assert!(state.default_seconds() >= seconds, "{name}");
        }
    }
}
