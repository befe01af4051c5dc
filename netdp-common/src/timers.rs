//! How long a flow lives without a packet: one table, with Linux's values
//! (`Documentation/networking/nf_conntrack-sysctl.rst`).
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

macro_rules! states {
    ($( $(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $seconds:literal; )+) => {
        /// The state of a flow. In a [`crate::Flow`] it stands as its number.
        #[repr(u8)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum State { $( $(#[$doc])* $name = $number, )+ }

        impl State {
            /// Every state there is.
            pub const ALL: &[Self] = &[ $( Self::$name, )+ ];

            /// The name that `netdp flows` prints.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => $text, )+ }
            }

            /// Seconds without a packet after which the flow has ended.
            #[inline(always)]
            pub const fn timeout_seconds(self) -> u32 {
                match self { $( Self::$name => $seconds, )+ }
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
    /// A SYN was seen.
    TcpSynSent = 1, "syn_sent", 120;
    /// A SYN and its SYN+ACK were seen.
    TcpSynRecv = 2, "syn_recv", 60;
    /// The handshake is complete.
    TcpEstablished = 3, "established", 432_000;
    /// The originator has sent its FIN.
    TcpFinOriginal = 4, "fin_wait", 120;
    /// The responder has sent its FIN.
    TcpFinReply = 5, "close_wait", 120;
    /// Both have sent their FIN.
    TcpLastAck = 6, "last_ack", 30;
    /// The last FIN was acknowledged.
    TcpTimeWait = 7, "time_wait", 120;
    /// A RST was seen.
    TcpClose = 8, "close", 10;
    /// Picked up in mid-stream, not yet answered: Linux's `timeout_unacknowledged`.
    TcpPickedUp = 9, "picked_up", 300;
    /// UDP seen in one direction.
    UdpUnreplied = 16, "unreplied", 30;
    /// UDP seen in both directions.
    UdpReplied = 17, "replied", 120;
    /// ICMP query.
    Icmp = 32, "icmp", 30;
}

impl State {
    /// The number, as it stands in a [`crate::Flow`].
    #[inline(always)]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Ticks without a packet after which the flow has ended, rounded up.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the largest timeout is five days")]
    pub const fn timeout_ticks(self) -> u32 {
        let ns = self.timeout_seconds() as u64 * 1_000_000_000;
        ((ns + (1 << TICK_SHIFT) - 1) >> TICK_SHIFT) as u32
    }

    /// Whether a flow in this state whose last packet was at `seen` has ended at `now` (both in ticks).
    ///
    /// `seen` may be a tick ahead of `now`: the coarse clock is read on several CPUs.
    #[inline(always)]
    pub const fn has_expired(self, seen: u32, now: u32) -> bool {
        now.wrapping_sub(seen) < 1 << 31 && now.wrapping_sub(seen) > self.timeout_ticks()
    }
}

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
            let ns = u64::from(state.timeout_seconds()) * 1_000_000_000;
            let start = 7_u64 << TICK_SHIFT;
            assert!(!state.has_expired(ticks(start), ticks(start + ns)));
            assert!(state.has_expired(ticks(start), ticks(start + ns + (2 << TICK_SHIFT))));
        }
    }

    #[test]
    fn a_stamp_ahead_of_the_clock_is_fresh() {
        assert!(!State::TcpClose.has_expired(101, 100));
    }
}
