//! The state machine of a flow: state and packet in, state out. Pure; the programs write the result.

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

/// The state that the first packet of a flow puts it in; `None` when it cannot begin one.
///
/// A TCP packet in mid-stream begins a flow only for the container's own traffic (`pick_up`), as Linux's
/// `nf_conntrack_tcp_loose` does: a connection must survive a datapath that has lost its state.
#[inline(always)]
pub const fn first(proto: u8, flags: u8, pick_up: bool) -> Option<State> {
    match proto {
        proto::UDP => Some(State::UdpUnreplied),
        proto::ICMP => Some(State::Icmp),
        proto::TCP => first_tcp(flags, pick_up),
        _ => None,
    }
}

#[inline(always)]
const fn first_tcp(flags: u8, pick_up: bool) -> Option<State> {
    if flags & (SYN | ACK | RST | FIN) == SYN {
        return Some(State::TcpSynSent);
    }
    if pick_up && flags & (SYN | RST) == 0 && flags & ACK != 0 {
        return Some(State::TcpPickedUp);
    }
    None
}

/// The state after one more packet, in the direction of the replies or not.
#[inline(always)]
pub const fn next(state: State, reply: bool, flags: u8) -> State {
    match state {
        State::UdpUnreplied if reply => State::UdpReplied,
        State::Icmp | State::UdpReplied | State::UdpUnreplied => state,
        _ => next_tcp(state, reply, flags),
    }
}

#[inline(always)]
const fn next_tcp(state: State, reply: bool, flags: u8) -> State {
    if flags & RST != 0 {
        return State::TcpClose;
    }
    if flags & SYN != 0 {
        return next_on_syn(state, reply, flags & ACK != 0);
    }
    if flags & FIN != 0 {
        return next_on_fin(state, reply);
    }
    if flags & ACK != 0 {
        return next_on_ack(state, reply);
    }
    state
}

#[inline(always)]
const fn next_on_syn(state: State, reply: bool, ack: bool) -> State {
    match state {
        State::TcpSynSent if reply && ack => State::TcpSynRecv,
        // The tuple is used again: the old connection is over for both ends.
        State::TcpClose | State::TcpTimeWait | State::TcpLastAck if !reply && !ack => State::TcpSynSent,
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

#[inline(always)]
const fn next_on_ack(state: State, reply: bool) -> State {
    match state {
        State::TcpSynRecv if !reply => State::TcpEstablished,
        State::TcpPickedUp if reply => State::TcpEstablished,
        State::TcpLastAck => State::TcpTimeWait,
        _ => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(packets: &[(bool, u8)]) -> State {
        let first = first(proto::TCP, packets[0].1, true).expect("begins a flow");
        packets[1..].iter().fold(first, |state, &(reply, flags)| next(state, reply, flags))
    }

    const HANDSHAKE: [(bool, u8); 3] = [(false, SYN), (true, SYN | ACK), (false, ACK)];

    #[test]
    fn a_handshake_establishes() {
        assert_eq!(walk(&HANDSHAKE[..1]), State::TcpSynSent);
        assert_eq!(walk(&HANDSHAKE[..2]), State::TcpSynRecv);
        assert_eq!(walk(&HANDSHAKE), State::TcpEstablished);
    }

    #[test]
    fn either_end_may_close_first() {
        for first_closer in [false, true] {
            let close = [(first_closer, FIN | ACK), (!first_closer, FIN | ACK), (first_closer, ACK)];
            let states: Vec<State> = (1..=3).map(|n| walk(&[&HANDSHAKE[..], &close[..n]].concat())).collect();
            let half = if first_closer { State::TcpFinReply } else { State::TcpFinOriginal };
            assert_eq!(states, [half, State::TcpLastAck, State::TcpTimeWait]);
        }
    }

    #[test]
    fn data_does_not_change_an_established_flow() {
        assert_eq!(next(State::TcpEstablished, false, ACK), State::TcpEstablished);
        assert_eq!(next(State::TcpEstablished, true, ACK | 0x08), State::TcpEstablished);
    }

    #[test]
    fn a_tuple_is_used_again_by_a_new_syn_only() {
        assert_eq!(next(State::TcpTimeWait, false, SYN), State::TcpSynSent);
        assert_eq!(next(State::TcpTimeWait, true, SYN), State::TcpTimeWait);
        assert_eq!(next(State::TcpEstablished, false, SYN), State::TcpEstablished);
    }

    #[test]
    fn what_cannot_begin_a_flow() {
        assert_eq!(first(proto::TCP, RST, true), None);
        assert_eq!(first(proto::TCP, SYN | ACK, true), None);
        assert_eq!(first(proto::TCP, ACK, false), None);
        assert_eq!(first(47, 0, true), None);
    }

    #[test]
    fn a_stream_is_picked_up_and_answered() {
        assert_eq!(walk(&[(false, ACK)]), State::TcpPickedUp);
        assert_eq!(walk(&[(false, ACK), (true, ACK)]), State::TcpEstablished);
    }

    #[test]
    fn udp_is_replied_by_the_other_side_only() {
        assert_eq!(next(State::UdpUnreplied, false, 0), State::UdpUnreplied);
        assert_eq!(next(State::UdpUnreplied, true, 0), State::UdpReplied);
    }
}
