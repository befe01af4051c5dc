//! In the place of the ways out: every one is open.

use netdp_common::Reason;

use super::access::Packet;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(super) enum Action {
    /// An ICMP error, redirected.
    IcmpError,
}

/// Into a container.
#[expect(clippy::unnecessary_wraps, reason = "the kernel may refuse")]
pub(super) fn peer(packet: &Packet, _ifindex: u32, action: Action) -> Result<Action, Reason> {
    packet.mark_for_receiver();
    Ok(action)
}

/// To a neighbour.
#[expect(clippy::unnecessary_wraps, reason = "the kernel may refuse")]
pub(super) fn neighbour(_ifindex: u32, action: Action) -> Result<Action, Reason> {
    Ok(action)
}

/// To a process of the host.
#[expect(clippy::unnecessary_wraps, reason = "the kernel may refuse")]
pub(super) fn loopback(_ifindex: u32, action: Action) -> Result<Action, Reason> {
    Ok(action)
}
