//! The state machine of a flow: state and packet in, state out. Pure; the programs write the result.
//!
//! A TCP segment changes the state only when its numbers are such as nobody can guess: one of them exactly what the
//! other end has said, the other one near it (RFC 5961; RFC 7857, 2.2). All else passes, and the state stays: the
//! receiver, who knows better, answers with a challenge ACK or with a RST that fits.

use crate::proto;
use crate::timers::State;

/// TCP flags as they stand in byte 13 of the header (RFC 9293, 3.1).
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgment field is valid.
    pub const ACK: u8 = 0x10;
}
use tcp_flags::{ACK, FIN, RST, SYN};

/// Types of ICMP messages that ask (RFC 792, RFC 4443).
pub mod icmp_query {
    /// Echo.
    pub const ECHO: u8 = 8;
    /// Time stamp.
    pub const TIMESTAMP: u8 = 13;
    /// Echo of `ICMPv6`.
    pub const V6_ECHO: u8 = 128;
}

/// Whether a TCP header may have these flags together (`tcp_valid_flags` of `nf_conntrack_proto_tcp.c`): one of SYN, RST
/// and FIN at most, and an acknowledgment with everything but the first segment and a reset.
#[inline(always)]
pub const fn is_sensible(flags: u8) -> bool {
    match flags & (SYN | RST | FIN | ACK) {
        SYN | RST | ACK => true,
        controls => controls & ACK != 0 && matches!(controls & (SYN | RST | FIN), SYN | RST | FIN),
    }
}

/// SCTP chunk types (RFC 9260, 3.2) that tell something about the association.
pub mod sctp_chunk {
    /// Begins an association.
    pub const INIT: u8 = 1;
    /// Answers it; the association is not there yet.
    pub const INIT_ACK: u8 = 2;
    /// Ends the association at once.
    pub const ABORT: u8 = 6;
    /// Asks for the end.
    pub const SHUTDOWN: u8 = 7;
    /// Agrees to the end.
    pub const SHUTDOWN_ACK: u8 = 8;
    /// Says what was wrong with a packet.
    pub const ERROR: u8 = 9;
    /// Returns the cookie of INIT ACK.
    pub const COOKIE_ECHO: u8 = 10;
    /// The end is complete.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}

/// How far a number may be from the one that is expected: the largest window that a receiver is likely to offer
/// (Linux's `tcp_rmem` ends at 6 MiB by default, and some raise it).
const NEAR: u32 = 1 << 24;

/// Bytes that may be on their way before anything was acknowledged, or when what was acknowledged cannot be true.
const FIRST_WINDOW: u32 = 0xffff;

/// What a TCP header says beside its flags, in host order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Sequence number of the first byte.
    pub seq: u32,
    /// Acknowledgment number; means nothing without the flag.
    pub ack: u32,
    /// Bytes of payload, of a large segment all.
    pub len: u32,
}

impl Segment {
    /// Of a packet that is not TCP, or not read yet.
    pub const NONE: Self = Self { seq: 0, ack: 0, len: 0 };

    /// The sequence number after this segment: SYN and FIN count one each (RFC 9293, 3.4).
    #[inline(always)]
    pub const fn end(&self, flags: u8) -> u32 {
        let controls = (flags & FIN) as u32 + (flags & SYN != 0) as u32;
        self.seq.wrapping_add(self.len).wrapping_add(controls)
    }
}

/// What one direction of a TCP flow has said, in host order (part of [`crate::Flow`]). Zero stands for nothing yet.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Numbers {
    /// The end of what was sent: the highest sequence number and length.
    pub sent: u32,
    /// The highest acknowledgment.
    pub acked: u32,
}

impl Numbers {
    /// Of a direction without a packet.
    pub const NONE: Self = Self { sent: 0, acked: 0 };

    /// After one more segment of this direction.
    #[must_use]
    #[inline(always)]
    pub const fn after(self, flags: u8, segment: &Segment) -> Self {
        let end = segment.end(flags);
        Self {
            sent: if flags & SYN == 0 { later(self.sent, end) } else { end },
            acked: if flags & ACK == 0 { self.acked } else { later(self.acked, segment.ack) },
        }
    }
}

/// The later of two numbers. One far from what is known takes its place also when it seems to be earlier: so what
/// somebody made up lasts until the next packet of the true sender.
#[inline(always)]
const fn later(known: u32, new: u32) -> u32 {
    if known != 0 && known.wrapping_sub(new) <= NEAR { known } else { new }
}

/// Whether a router may have seen a segment that begins at `seq`, so that an error about it is to be believed (RFC 5927,
/// 4.1): it was sent, and is not acknowledged yet. `own` are the numbers of its direction, `other` those of the other one.
/// Its sender asks the same again; here it is asked for those whose sender does not.
#[inline(always)]
pub const fn is_on_its_way(seq: u32, own: Numbers, other: Numbers) -> bool {
    // Nothing of this direction is known: the twin was lost and is written anew.
    if own.sent == 0 {
        return true;
    }
    let unacknowledged = own.sent.wrapping_sub(other.acked);
    let window = if other.acked == 0 || unacknowledged > NEAR { FIRST_WINDOW } else { unacknowledged };
    own.sent.wrapping_sub(seq) <= window
}

/// The state that the first packet of a flow puts it in; `None` when it cannot begin one. `flags` are those of TCP, the
/// type of ICMP, or that of the first chunk of SCTP.
///
/// A TCP packet in mid-stream begins a flow where nobody else can be meant by it (`pick_up`), as Linux's
/// `nf_conntrack_tcp_loose` does: a connection must survive a datapath that has lost its state.
#[inline(always)]
pub const fn first(proto: u8, flags: u8, pick_up: bool) -> Option<State> {
    match proto {
        proto::UDP => Some(State::UdpUnreplied),
        // An answer that nobody asked for begins nothing.
        proto::ICMP if matches!(flags, icmp_query::ECHO | icmp_query::TIMESTAMP) => Some(State::Icmp),
        proto::ICMPV6 if flags == icmp_query::V6_ECHO => Some(State::Icmp),
        proto::ICMP | proto::ICMPV6 => None,
        proto::TCP => first_tcp(flags, pick_up),
        proto::SCTP => first_sctp(flags, pick_up),
        _ => Some(State::GenericUnreplied),
    }
}

/// Whether a TCP packet with these flags asks for a new connection.
#[inline(always)]
pub const fn begins(flags: u8) -> bool {
    flags & (SYN | ACK | RST | FIN) == SYN
}

#[inline(always)]
const fn first_tcp(flags: u8, pick_up: bool) -> Option<State> {
    if begins(flags) {
        return Some(State::TcpSynSent);
    }
    if pick_up && flags & (SYN | RST | FIN) == 0 && flags & ACK != 0 {
        return Some(State::TcpPickedUp);
    }
    None
}

#[inline(always)]
const fn first_sctp(chunk: u8, pick_up: bool) -> Option<State> {
    match chunk {
        sctp_chunk::INIT => Some(State::SctpInit),
        sctp_chunk::INIT_ACK
        | sctp_chunk::ABORT
        | sctp_chunk::SHUTDOWN_ACK
        | sctp_chunk::ERROR
        | sctp_chunk::SHUTDOWN_COMPLETE => None,
        _ if pick_up => Some(State::SctpInit),
        _ => None,
    }
}

/// The state of a flow that is not TCP after one more packet, in the direction of the replies or not. `chunk` is the
/// type of the first chunk of SCTP.
#[inline(always)]
pub const fn next(state: State, reply: bool, chunk: u8) -> State {
    match state {
        State::UdpUnreplied if reply => State::UdpReplied,
        State::GenericUnreplied if reply => State::GenericReplied,
        State::SctpInit | State::SctpEstablished | State::SctpShutdown => next_sctp(state, reply, chunk),
        _ => state,
    }
}

/// Nothing is checked, for nothing is lost: an association whose end was made up goes on with its next packet, which
/// is a heartbeat at the latest, and that comes before the timer ends (RFC 9260, 8.3).
#[inline(always)]
const fn next_sctp(state: State, reply: bool, chunk: u8) -> State {
    match chunk {
        sctp_chunk::ABORT
        | sctp_chunk::SHUTDOWN
        | sctp_chunk::SHUTDOWN_ACK
        | sctp_chunk::SHUTDOWN_COMPLETE => State::SctpShutdown,
        sctp_chunk::INIT if !reply => match state {
            State::SctpShutdown => State::SctpInit,
            _ => state,
        },
        sctp_chunk::INIT | sctp_chunk::INIT_ACK | sctp_chunk::COOKIE_ECHO | sctp_chunk::ERROR => state,
        _ => match state {
            State::SctpInit if !reply => state,
            _ => State::SctpEstablished,
        },
    }
}

/// States, a bit at the number of each, that no packet changes but a TCP one with SYN, FIN or RST.
const SETTLED: u64 = bit(State::TcpEstablished)
    | bit(State::TcpFinOriginal)
    | bit(State::TcpFinReply)
    | bit(State::TcpTimeWait)
    | bit(State::TcpClose)
    | bit(State::UdpReplied)
    | bit(State::Icmp)
    | bit(State::GenericReplied);
/// States that no packet of the originator changes.
const ONE_WAY: u64 = bit(State::UdpUnreplied) | bit(State::GenericUnreplied);

const fn bit(state: State) -> u64 {
    1 << state.number()
}

/// Whether a packet leaves the state as it is, and all that it can do is to move its own direction's [`Numbers`] on.
/// That holds for nearly all packets, and the other direction need not be asked about them. `state` is a number.
#[inline(always)]
pub const fn is_settled(state: u8, proto: u8, reply: bool, flags: u8) -> bool {
    let settled = if reply { SETTLED } else { SETTLED | ONE_WAY };
    settled >> (state & 63) & 1 == 1 && (proto != proto::TCP || flags & (SYN | FIN | RST) == 0)
}

/// Whether a TCP packet's numbers are kept, given the state before and after it. Not those of a RST, which ends them,
/// nor of a SYN that begins nothing, nor of an answer to a SYN that does not acknowledge it.
#[inline(always)]
pub const fn is_kept(state: State, next: State, reply: bool, flags: u8) -> bool {
    if flags & RST != 0 {
        return false;
    }
    match (state, next) {
        (State::TcpSynSent, State::TcpSynSent) => !reply || flags & (SYN | ACK) == SYN,
        (State::TcpSynSent, _) | (_, State::TcpSynSent) => true,
        _ => flags & SYN == 0,
    }
}

/// The state of a TCP flow after one more packet, in the direction of the replies or not. `own` are the numbers of the
/// packet's direction before it, `other` those of the other one.
#[inline(always)]
pub const fn next_tcp(
    state: State,
    reply: bool,
    flags: u8,
    segment: &Segment,
    own: Numbers,
    other: Numbers,
) -> State {
    if flags & RST != 0 {
        return if is_believed_reset(flags, segment, other) { State::TcpClose } else { state };
    }
    let covers = flags & ACK != 0 && other.sent != 0 && segment.ack == other.sent;
    if flags & SYN != 0 {
        return next_on_syn(state, reply, flags, covers && other.acked == segment.end(flags), covers);
    }
    if flags & FIN != 0 && fits(flags, segment, other) {
        let next = next_on_fin(state, reply);
        if next.number() != state.number() {
            return next;
        }
    }
    match state {
        State::TcpSynSent if reply && covers => State::TcpSynRecv,
        State::TcpSynRecv if !reply && covers => State::TcpEstablished,
        State::TcpPickedUp if reply && fits(flags, segment, other) => State::TcpEstablished,
        // Both have seen the other's last byte, which is the FIN.
        State::TcpLastAck if covers && other.acked == own.after(flags, segment).sent => State::TcpTimeWait,
        _ => state,
    }
}

/// Exactly at what its receiver has acknowledged last (RFC 5961, 3.2), whether or not it acknowledges anything. Or with
/// data before it that are not acknowledged yet: then it acknowledges exactly all that its receiver has sent. The
/// latter is also the answer to a SYN (RFC 9293, 3.10.7.3).
#[inline(always)]
const fn is_believed_reset(flags: u8, segment: &Segment, other: Numbers) -> bool {
    let at = other.acked != 0 && segment.seq == other.acked;
    let covers = flags & ACK != 0 && other.sent != 0 && segment.ack == other.sent;
    at || (covers && follows(segment, other))
}

/// Whether one number is exactly what the other direction has said, and the other one near it.
#[inline(always)]
const fn fits(flags: u8, segment: &Segment, other: Numbers) -> bool {
    if flags & ACK == 0 || other.sent == 0 {
        return false;
    }
    let unacknowledged = other.sent.wrapping_sub(segment.ack);
    (unacknowledged == 0 && follows(segment, other))
        || (other.acked != 0 && segment.seq == other.acked && unacknowledged <= NEAR)
}

/// Whether a segment is at or a little after what its receiver has acknowledged last; anywhere when it has not yet
/// acknowledged anything.
#[inline(always)]
const fn follows(segment: &Segment, other: Numbers) -> bool {
    other.acked == 0 || segment.seq.wrapping_sub(other.acked) <= NEAR
}

/// `covers`: it acknowledges all that the other end has sent; `both`: and that has acknowledged this SYN already, as
/// when both have begun at once (RFC 9293, figure 7).
#[inline(always)]
const fn next_on_syn(state: State, reply: bool, flags: u8, both: bool, covers: bool) -> State {
    match state {
        State::TcpSynSent if reply && both => State::TcpEstablished,
        State::TcpSynSent if reply && covers => State::TcpSynRecv,
        State::TcpSynRecv if !reply && covers => State::TcpEstablished,
        // The tuple is used again: the old connection is over for both ends.
        State::TcpClose | State::TcpTimeWait if !reply && flags & ACK == 0 => State::TcpSynSent,
        _ => state,
    }
}

#[inline(always)]
const fn next_on_fin(state: State, reply: bool) -> State {
    match state {
        State::TcpFinOriginal if reply => State::TcpLastAck,
        State::TcpFinReply if !reply => State::TcpLastAck,
        State::TcpSynRecv | State::TcpEstablished | State::TcpPickedUp if reply => State::TcpFinReply,
        State::TcpSynRecv | State::TcpEstablished | State::TcpPickedUp => State::TcpFinOriginal,
        _ => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flow as the programs keep it: one state, and numbers by direction (false: of the originator).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Tracked {
        state: State,
        numbers: [Numbers; 2],
    }

    impl Tracked {
        /// As conntrack.rs does it.
        fn sees(mut self, reply: bool, flags: u8, segment: Segment) -> Self {
            let (own, other) = (usize::from(reply), usize::from(!reply));
            let next = next_tcp(self.state, reply, flags, &segment, self.numbers[own], self.numbers[other]);
            if next == State::TcpSynSent && self.state != next {
                self.numbers = [Numbers::NONE; 2];
            }
            if is_kept(self.state, next, reply, flags) {
                self.numbers[own] = self.numbers[own].after(flags, &segment);
            }
            if is_settled(self.state.number(), proto::TCP, reply, flags) {
                assert_eq!(next, self.state, "a packet that is settled changes nothing");
                assert!(is_kept(self.state, next, reply, flags), "and its numbers are kept");
            }
            Self { state: next, ..self }
        }

        fn walk(self, packets: &[Sent]) -> Self {
            packets.iter().fold(self, |flow, &(reply, flags, seq, ack, len)| {
                flow.sees(reply, flags, Segment { seq, ack, len })
            })
        }

        fn begun(packets: &[Sent]) -> Self {
            let state = first(proto::TCP, packets[0].1, true).expect("begins a flow");
            Self { state, numbers: [Numbers::NONE; 2] }.walk(packets)
        }
    }

    /// Direction of the replies or not, flags, sequence number, acknowledgment, length.
    type Sent = (bool, u8, u32, u32, u32);

    /// Initial sequence numbers; one close to where the numbers wrap.
    const A: u32 = 1000;
    const B: u32 = u32::MAX - 20;
    const B1: u32 = B.wrapping_add(1);
    const SYN_ACK: u8 = SYN | ACK;
    const FIN_ACK: u8 = FIN | ACK;
    const HANDSHAKE: [Sent; 3] =
        [(false, SYN, A, 0, 0), (true, SYN_ACK, B, A + 1, 0), (false, ACK, A + 1, B1, 0)];
    /// A request of 100 bytes and an answer of 50, over the wrap, each acknowledged.
    const DATA: [Sent; 3] = [
        (false, ACK, A + 1, B1, 100),
        (true, ACK, B1, A + 101, 50),
        (false, ACK, A + 101, B1.wrapping_add(50), 0),
    ];
    /// Where both stand after that.
    const A_AT: u32 = A + 101;
    const B_AT: u32 = B1.wrapping_add(50);

    fn established() -> Tracked {
        let flow = Tracked::begun(&[&HANDSHAKE[..], &DATA].concat());
        assert_eq!(flow.state, State::TcpEstablished);
        flow
    }

    #[test]
    fn a_handshake_establishes() {
        assert_eq!(Tracked::begun(&HANDSHAKE[..1]).state, State::TcpSynSent);
        assert_eq!(Tracked::begun(&HANDSHAKE[..2]).state, State::TcpSynRecv);
        let flow = established();
        assert_eq!(flow.numbers[0], Numbers { sent: A_AT, acked: B_AT });
        assert_eq!(flow.numbers[1], Numbers { sent: B_AT, acked: A_AT });
    }

    #[test]
    fn either_end_may_close_first() {
        for first in [false, true] {
            let (one, other) = if first { (B_AT, A_AT) } else { (A_AT, B_AT) };
            let (one1, other1) = (one.wrapping_add(1), other.wrapping_add(1));
            let close = [
                (first, FIN_ACK, one, other, 0),
                (!first, FIN_ACK, other, one1, 0),
                (first, ACK, one1, other1, 0),
            ];
            let states: Vec<_> = (1..=3).map(|n| established().walk(&close[..n]).state).collect();
            let half = if first { State::TcpFinReply } else { State::TcpFinOriginal };
            assert_eq!(states, [half, State::TcpLastAck, State::TcpTimeWait]);
        }
    }

    #[test]
    fn both_ends_may_close_at_once() {
        let close = [
            (false, FIN_ACK, A_AT, B_AT, 0),
            (true, FIN_ACK, B_AT, A_AT, 0),
            (false, ACK, A_AT + 1, B_AT.wrapping_add(1), 0),
            (true, ACK, B_AT.wrapping_add(1), A_AT + 1, 0),
        ];
        assert_eq!(established().walk(&close[..2]).state, State::TcpLastAck);
        assert_eq!(established().walk(&close[..3]).state, State::TcpLastAck, "one FIN is not acknowledged");
        assert_eq!(established().walk(&close).state, State::TcpTimeWait);
    }

    #[test]
    fn a_last_ack_that_does_not_cover_the_fin_leaves_the_state() {
        let close = [(false, FIN_ACK, A_AT, B_AT, 0), (true, FIN_ACK, B_AT, A_AT + 1, 0)];
        let waiting = established().walk(&close);
        assert_eq!(waiting.walk(&[(false, ACK, A_AT + 1, B_AT, 0)]).state, State::TcpLastAck);
    }

    #[test]
    fn half_closed_flow_goes_on_in_the_other_direction() {
        let flow = established().walk(&[(false, FIN_ACK, A_AT, B_AT, 0), (true, ACK, B_AT, A_AT + 1, 1000)]);
        assert_eq!(flow.state, State::TcpFinOriginal);
        assert_eq!(flow.numbers[1].sent, B_AT.wrapping_add(1000));
    }

    #[test]
    fn reset_is_believed_at_the_number_that_its_receiver_expects() {
        for (reply, flags, seq, ack, believed) in [
            (true, RST, B_AT, 0, true),
            (true, RST | ACK, B_AT, 77, true),
            (true, RST, B_AT + 1, 0, false),
            (true, RST, B_AT - 1, 0, false),
            (true, RST, 0, 0, false),
            // The end of data that are still on their way: with the right acknowledgment, and near.
            (true, RST | ACK, B_AT + 5000, A_AT, true),
            (true, RST | ACK, B_AT + 5000, A_AT - 1, false),
            (true, RST, B_AT + 5000, A_AT, false),
            (true, RST | ACK, B_AT - 1, A_AT, false),
            (true, RST | ACK, B_AT + NEAR + 1, A_AT, false),
            (false, RST, A_AT, 0, true),
            (false, RST, A_AT + 1, 0, false),
        ] {
            let before = established();
            let after = before.walk(&[(reply, flags, seq, ack, 0)]);
            let state = if believed { State::TcpClose } else { State::TcpEstablished };
            assert_eq!(after, Tracked { state, ..before }, "{reply} {flags:x} {seq} {ack}");
        }
    }

    #[test]
    fn reset_that_answers_a_syn_acknowledges_it() {
        let flow = Tracked::begun(&HANDSHAKE[..1]);
        assert_eq!(flow.walk(&[(true, RST | ACK, 0, A + 1, 0)]).state, State::TcpClose);
        for (flags, seq, ack) in [(RST | ACK, 0, A), (RST | ACK, 0, A + 2), (RST, 0, 0), (RST, A + 1, A + 1)]
        {
            assert_eq!(flow.walk(&[(true, flags, seq, ack, 0)]), flow);
        }
    }

    /// Selftest `conntrack_synack_old`: the answer to an earlier incarnation, and the RST that it gets.
    #[test]
    fn old_answer_and_its_reset_leave_a_syn_waiting() {
        let flow = Tracked::begun(&HANDSHAKE[..1]);
        let after =
            flow.walk(&[(true, SYN_ACK, 145_824_453, 643_160_523, 0), (false, RST, 643_160_523, 0, 0)]);
        assert_eq!(after, flow);
        assert_eq!(after.walk(&HANDSHAKE[1..]).state, State::TcpEstablished);
    }

    /// Selftest `conntrack_syn_challenge_ack`: the client has forgotten the connection, and the server has not.
    #[test]
    fn syn_on_a_live_flow_restarts_it_when_both_ends_agree() {
        let syn = (false, SYN, 77_000, 0, 0);
        let flow = established().walk(&[syn]);
        assert_eq!(flow, established(), "the SYN changes nothing");
        let challenged = flow.walk(&[(true, ACK, B_AT, A_AT, 0)]);
        assert_eq!(challenged, flow, "nor does the challenge ACK");
        let reset = challenged.walk(&[(false, RST, A_AT, 0, 0)]);
        assert_eq!(reset.state, State::TcpClose);
        let again = reset.walk(&[syn]);
        assert_eq!(again.state, State::TcpSynSent);
        assert_eq!(again.numbers, [Numbers { sent: 77_001, acked: 0 }, Numbers::NONE]);
        let rest = [(true, SYN_ACK, 5, 77_001, 0), (false, ACK, 77_001, 6, 0)];
        assert_eq!(again.walk(&rest).state, State::TcpEstablished);
    }

    #[test]
    fn both_may_open_at_once_in_any_order() {
        let (syn_a, syn_b) = ((false, SYN, A, 0, 0), (true, SYN, B, 0, 0));
        let (both_a, both_b) = ((false, SYN_ACK, A, B1, 0), (true, SYN_ACK, B, A + 1, 0));
        for packets in [[syn_a, syn_b, both_a, both_b], [syn_a, syn_b, both_b, both_a]] {
            assert_eq!(Tracked::begun(&packets[..2]).state, State::TcpSynSent);
            assert_ne!(Tracked::begun(&packets[..3]).state, State::TcpEstablished);
            assert_eq!(Tracked::begun(&packets).state, State::TcpEstablished);
        }
        let guessed = [syn_a, syn_b, (false, SYN_ACK, A, B1 + 1, 0), both_b];
        assert_eq!(Tracked::begun(&guessed).state, State::TcpSynRecv);
    }

    #[test]
    fn a_syn_flood_with_guessed_acknowledgments_establishes_nothing() {
        let half = Tracked::begun(&HANDSHAKE[..2]);
        assert_eq!(half.walk(&[(false, ACK, A + 1, B1 + 1, 0)]).state, State::TcpSynRecv);
        assert_eq!(half.walk(&[HANDSHAKE[1], HANDSHAKE[1]]), half, "nor does the answer sent again");
    }

    #[test]
    fn a_tuple_is_used_again_by_a_new_syn_of_the_originator_only() {
        for state in [State::TcpTimeWait, State::TcpClose] {
            let flow = Tracked { state, ..established() };
            assert_eq!(flow.walk(&[(false, SYN, 5, 0, 0)]).state, State::TcpSynSent);
            assert_eq!(flow.walk(&[(true, SYN, 5, 0, 0)]), flow);
            assert_eq!(flow.walk(&[(false, SYN_ACK, 5, 6, 0)]), flow);
        }
        let last = Tracked { state: State::TcpLastAck, ..established() };
        assert_eq!(last.walk(&[(false, SYN, 5, 0, 0)]), last);
    }

    #[test]
    fn flags_that_contradict_one_another_are_not_sensible() {
        for flags in [SYN, SYN | ACK, ACK, RST, RST | ACK, FIN | ACK, ACK | 0x08, SYN | 0xc0] {
            assert!(is_sensible(flags), "{flags:x}");
        }
        for flags in [0, FIN, SYN | FIN, SYN | RST, FIN | RST | ACK, 0x3f, 0x29, SYN | FIN | ACK] {
            assert!(!is_sensible(flags), "{flags:x}");
        }
    }

    #[test]
    fn only_a_query_begins_a_flow_of_icmp() {
        for (proto, kind, begins) in [
            (proto::ICMP, icmp_query::ECHO, true),
            (proto::ICMP, 0, false),
            (proto::ICMP, 14, false),
            (proto::ICMPV6, icmp_query::V6_ECHO, true),
            (proto::ICMPV6, 129, false),
            (proto::ICMPV6, icmp_query::ECHO, false),
        ] {
            assert_eq!(first(proto, kind, true).is_some(), begins, "{proto} {kind}");
        }
    }

    #[test]
    fn what_cannot_begin_a_flow() {
        assert_eq!(first(proto::TCP, RST, true), None);
        assert_eq!(first(proto::TCP, SYN | ACK, true), None);
        assert_eq!(first(proto::TCP, ACK, false), None);
        assert_eq!(first(proto::SCTP, sctp_chunk::ABORT, true), None);
        assert_eq!(first(proto::SCTP, 0, false), None);
    }

    #[test]
    fn a_stream_is_picked_up_and_answered() {
        let picked = Tracked::begun(&[(false, ACK, A, B, 10)]);
        assert_eq!(picked.state, State::TcpPickedUp);
        assert_eq!(picked.walk(&[(true, ACK, B, A + 10, 0)]).state, State::TcpEstablished);
        assert_eq!(picked.walk(&[(true, ACK, B, A + 4, 1460)]).state, State::TcpEstablished);
        assert_eq!(picked.walk(&[(true, ACK, 77, 78, 0)]).state, State::TcpPickedUp, "made up");
    }

    #[test]
    fn an_error_is_believed_about_what_was_sent_and_is_not_acknowledged() {
        let flow = established();
        let believes = |flow: Tracked, reply: bool, seq: u32| {
            let (own, other) = (usize::from(reply), usize::from(!reply));
            is_on_its_way(seq, flow.numbers[own], flow.numbers[other])
        };
        // All is acknowledged: an ACK without data may still be answered, and nothing else.
        assert!(believes(flow, false, A_AT) && believes(flow, true, B_AT));
        for far in [1, 2, 100, 1 << 16, NEAR, 1 << 31, u32::MAX - 1] {
            assert!(!believes(flow, false, A_AT.wrapping_add(far)), "{far}");
            assert!(!believes(flow, false, A_AT.wrapping_sub(far)), "{far}");
        }
        let more = flow.walk(&[(false, ACK, A_AT, B_AT, 3000), (true, ACK, B_AT, A_AT, 3000)]);
        for (ahead, believed) in [(0, true), (1460, true), (3000, true), (3001, false), (u32::MAX, false)] {
            assert_eq!(believes(more, false, A_AT.wrapping_add(ahead)), believed, "{ahead}");
            assert_eq!(believes(more, true, B_AT.wrapping_add(ahead)), believed, "{ahead}");
        }
    }

    #[test]
    fn an_error_about_a_syn_is_believed_and_an_acknowledgment_that_was_made_up_opens_no_window() {
        let syn = Tracked::begun(&HANDSHAKE[..1]).numbers;
        assert!(is_on_its_way(A, syn[0], syn[1]));
        assert!(!is_on_its_way(A + 2, syn[0], syn[1]) && !is_on_its_way(A + (1 << 31), syn[0], syn[1]));
        let poisoned = established().walk(&[(true, ACK, B_AT, A_AT.wrapping_sub(1 << 30), 0)]).numbers;
        assert!(is_on_its_way(A_AT, poisoned[0], poisoned[1]));
        assert!(!is_on_its_way(A_AT.wrapping_sub(1 << 20), poisoned[0], poisoned[1]));
        assert!(is_on_its_way(77, Numbers::NONE, poisoned[1]), "nothing is known");
    }

    #[test]
    fn a_number_that_was_made_up_lasts_until_the_next_true_packet() {
        let poisoned = established().walk(&[(true, ACK, 0x4000_0000, 0x5000_0000, 100)]);
        assert_eq!(poisoned.numbers[1], Numbers { sent: 0x4000_0064, acked: 0x5000_0000 });
        let healed = poisoned.walk(&[(true, ACK, B_AT, A_AT, 0)]);
        assert_eq!(healed, established());
    }

    #[test]
    fn numbers_do_not_go_back_for_what_is_late() {
        let flow = established().walk(&[DATA[1], DATA[0]]);
        assert_eq!(flow, established());
    }

    #[test]
    fn udp_and_unknown_protocols_are_replied_by_the_other_side_only() {
        for (unreplied, replied) in
            [(State::UdpUnreplied, State::UdpReplied), (State::GenericUnreplied, State::GenericReplied)]
        {
            assert_eq!(next(unreplied, false, 0), unreplied);
            assert_eq!(next(unreplied, true, 0), replied);
            assert_eq!(next(replied, false, 0), replied);
        }
        assert_eq!(first(47, 0, true), Some(State::GenericUnreplied));
    }

    #[test]
    fn a_packet_that_is_settled_changes_no_state_of_any_protocol() {
        for &state in State::ALL.iter().filter(|state| !state.is_tcp()) {
            for (reply, flags) in (0..=u8::MAX).flat_map(|flags| [(false, flags), (true, flags)]) {
                if is_settled(state.number(), proto::UDP, reply, flags) {
                    assert_eq!(next(state, reply, flags), state);
                }
            }
        }
    }

    #[test]
    fn an_sctp_association_begins_ends_and_survives_an_abort_that_was_made_up() {
        use sctp_chunk::{ABORT, COOKIE_ECHO, INIT, INIT_ACK, SHUTDOWN, SHUTDOWN_ACK, SHUTDOWN_COMPLETE};
        const COOKIE_ACK: u8 = 11;
        const HEARTBEAT: u8 = 4;
        let walk = |packets: &[(bool, u8)]| {
            let state = first(proto::SCTP, packets[0].1, true).expect("begins a flow");
            packets.iter().fold(state, |state, &(reply, chunk)| next(state, reply, chunk))
        };
        let begin = [(false, INIT), (true, INIT_ACK), (false, COOKIE_ECHO), (true, COOKIE_ACK)];
        assert_eq!(walk(&begin[..3]), State::SctpInit);
        assert_eq!(walk(&begin), State::SctpEstablished);
        let end = [(false, SHUTDOWN), (true, SHUTDOWN_ACK), (false, SHUTDOWN_COMPLETE)];
        assert_eq!(walk(&[&begin[..], &end].concat()), State::SctpShutdown);
        assert_eq!(walk(&[&begin[..], &end, &begin].concat()), State::SctpEstablished);
        let forged = [(true, ABORT), (false, HEARTBEAT)];
        assert_eq!(walk(&[&begin[..], &forged].concat()), State::SctpEstablished);
        assert_eq!(walk(&[(false, 0), (false, 0)]), State::SctpInit, "picked up, not answered");
    }

    mod random {
        use super::*;
        use proptest::prelude::*;

        /// Every state that a connection goes through, with numbers of both ends known.
        fn somewhere() -> impl Strategy<Value = Tracked> {
            let state = prop::sample::select(vec![
                State::TcpSynRecv,
                State::TcpEstablished,
                State::TcpFinOriginal,
                State::TcpFinReply,
                State::TcpLastAck,
                State::TcpPickedUp,
            ]);
            let numbers = (1_u32.., 1_u32.., 1_u32.., 1_u32..);
            (state, numbers).prop_map(|(state, (a, b, c, d))| {
                let numbers = [Numbers { sent: a, acked: b }, Numbers { sent: c, acked: d }];
                Tracked { state, numbers }
            })
        }

        fn anything() -> impl Strategy<Value = (bool, u8, Segment)> {
            let segment = (any::<u32>(), any::<u32>(), 0_u32..70_000);
            let segment = segment.prop_map(|(seq, ack, len)| Segment { seq, ack, len });
            (any::<bool>(), any::<u8>(), segment)
        }

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(20_000))]

            #[test]
            fn a_segment_with_neither_number_right_changes_no_state(
                flow in somewhere(),
                (reply, flags, segment) in anything(),
            ) {
                let other = flow.numbers[usize::from(!reply)];
                prop_assume!(segment.seq != other.acked && segment.ack != other.sent);
                prop_assert_eq!(flow.sees(reply, flags, segment).state, flow.state);
            }

            #[test]
            fn one_end_alone_never_changes_what_the_other_has_said(
                flow in somewhere(),
                (reply, flags, segment) in anything(),
            ) {
                let other = usize::from(!reply);
                prop_assert_eq!(flow.sees(reply, flags, segment).numbers[other], flow.numbers[other]);
            }

            #[test]
            fn an_exact_reset_always_closes(flow in somewhere(), reply: bool, ack: u32, with_ack: bool) {
                let seq = flow.numbers[usize::from(!reply)].acked;
                let flags = if with_ack { RST | ACK } else { RST };
                let after = flow.sees(reply, flags, Segment { seq, ack, len: 0 });
                prop_assert_eq!(after, Tracked { state: State::TcpClose, ..flow });
            }

            #[test]
            fn any_stream_of_true_segments_stays_established_until_its_fin(
                lengths in prop::collection::vec((any::<bool>(), 0_u32..65_536), 0..40),
                start: (u32, u32),
            ) {
                let (a, b) = start;
                let (mut at, plus) = ([a, b], |n: u32| n.wrapping_add(1));
                let mut flow = Tracked::begun(&[(false, SYN, a, 0, 0), (true, SYN_ACK, b, plus(a), 0)]);
                at = at.map(plus);
                flow = flow.walk(&[(false, ACK, at[0], at[1], 0)]);
                for (reply, len) in lengths {
                    let (own, other) = (usize::from(reply), usize::from(!reply));
                    flow = flow.walk(&[(reply, ACK, at[own], at[other], len)]);
                    at[own] = at[own].wrapping_add(len);
                    prop_assert_eq!(flow.state, State::TcpEstablished);
                }
                let close = [(true, FIN_ACK, at[1], at[0], 0), (false, FIN_ACK, at[0], plus(at[1]), 0)];
                flow = flow.walk(&close).walk(&[(true, ACK, plus(at[1]), plus(at[0]), 0)]);
                prop_assert_eq!(flow.state, State::TcpTimeWait);
            }
        }
    }
}
