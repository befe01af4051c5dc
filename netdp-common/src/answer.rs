//! What netdp says itself to who has sent a packet that goes no further: which ICMP error, how much of it, and how often.
//!
//! The host's stack would answer some of it, but not behind a bridge of IPv6 before Linux 6.17, and not for a packet whose
//! flow it does not know.

use crate::reason::Reason;

/// An ICMP error that is made here.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The time to live has ended (RFC 792, RFC 4443, 3.3).
    TimeExceeded,
    /// Too big for the next link, with that link's MTU (RFC 1191; RFC 4443, 3.2).
    TooBig,
    /// Not let through for want of room (RFC 5508, REQ-8; RFC 4443, 3.1).
    Prohibited,
}

impl Answer {
    /// What a packet that is dropped for this reason is answered with.
    #[inline(always)]
    pub const fn to(reason: Reason) -> Option<Self> {
        match reason {
            Reason::TtlExceeded => Some(Self::TimeExceeded),
            Reason::FragNeeded => Some(Self::TooBig),
            reason if reason.is_limit() => Some(Self::Prohibited),
            _ => None,
        }
    }

    /// Whether it belongs to the ordinary work of a router: then the packet counts as answered, and not as dropped.
    #[inline(always)]
    pub const fn is_routine(self) -> bool {
        !matches!(self, Self::Prohibited)
    }

    /// Type and code of the message.
    #[inline(always)]
    pub const fn kind(self, is_v4: bool) -> [u8; 2] {
        match (self, is_v4) {
            (Self::TimeExceeded, true) => [11, 0],
            (Self::TimeExceeded, false) => [3, 0],
            (Self::TooBig, true) => [3, 4],
            (Self::TooBig, false) => [2, 0],
            (Self::Prohibited, true) => [3, 13],
            (Self::Prohibited, false) => [1, 1],
        }
    }
}

/// Whether an ICMP message of this type is itself one that nothing is answered to (RFC 1122, 3.2.2; RFC 4443, 2.4 (e)): an
/// error or a redirect.
#[inline(always)]
pub const fn is_error(is_v4: bool, kind: u8) -> bool {
    if is_v4 { matches!(kind, 3..=5 | 11 | 12) } else { kind < 128 || kind == 137 }
}

/// How long an answer is at most, from its IP header on: what every station takes in one piece (RFC 1812, 4.3.2.3; RFC 4443,
/// 2.4 (c)).
#[inline(always)]
pub const fn longest(is_v4: bool) -> u32 {
    if is_v4 { 576 } else { 1280 }
}

/// The smallest MTU that a link of the family has (RFC 791; RFC 8200, 5): no answer tells of a smaller one.
#[inline(always)]
pub const fn smallest_mtu(is_v4: bool) -> u32 {
    if is_v4 { 68 } else { 1280 }
}

/// Nanoseconds between two answers of an interface in the long run: a thousand a second.
const INTERVAL: u64 = 1_000_000;
/// Answers of an interface that may come at once.
const BURST: u64 = 50;

/// Asks a bucket of tokens for one at the time `now`. The bucket is the time at which it will be full again; what it is
/// afterwards is returned, and `None` when it is empty.
#[inline(always)]
pub const fn spend(full: u64, now: u64) -> Option<u64> {
    let full = if full < now { now } else { full };
    if full - now > (BURST - 1) * INTERVAL { None } else { Some(full + INTERVAL) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of these times have an answer.
    fn answered(times: impl Iterator<Item = u64>) -> usize {
        let mut full = 0;
        times.filter(|now| spend(full, *now).inspect(|next| full = *next).is_some()).count()
    }

    #[test]
    fn fifty_at_once_and_a_thousand_a_second_are_answered() {
        assert_eq!(answered((0..10_000).map(|_| 77)), 50);
        assert_eq!(answered((0..10_000).map(|n| n * 100_000)), 1049, "ten thousand within a second");
        assert_eq!(answered((0..1000).map(|n| n * INTERVAL)), 1000, "one in each millisecond");
    }

    #[test]
    fn bucket_is_full_again_after_silence() {
        assert_eq!(answered((0..100).map(|_| 0).chain((0..100).map(|_| 50 * INTERVAL))), 100);
    }

    #[test]
    fn errors_are_no_queries() {
        for (is_v4, kind, error) in [
            (true, 8, false),
            (true, 3, true),
            (true, 5, true),
            (false, 128, false),
            (false, 1, true),
            (false, 137, true),
        ] {
            assert_eq!(is_error(is_v4, kind), error, "{is_v4} {kind}");
        }
    }

    #[test]
    fn every_answer_is_itself_an_error() {
        for reason in Reason::ALL.iter().filter(|reason| Answer::to(**reason).is_some()) {
            let answer = Answer::to(*reason).expect("filtered");
            assert!(reason.is_drop());
            for is_v4 in [true, false] {
                let [kind, _] = answer.kind(is_v4);
                assert!(is_error(is_v4, kind), "{answer:?}");
            }
        }
    }
}
