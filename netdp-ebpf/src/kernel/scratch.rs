//! What is known of the packet that is being decided on, outside of the stack.
//!
//! Two reasons: a chain of calls has 512 bytes of stack in all; and the verifier follows what it knows of a value on the
//! stack through every branch behind it, protocol by protocol, but not of one in a map.

use core::ptr::{addr_of, addr_of_mut};

use netdp_common::crc32c::Change;

use super::clock::Clock;
use super::conntrack::Beginning;
use super::icmp::Inner;
use super::mapping::Claiming;
use super::maps::SCRATCH;
use super::parse::Tuple;
use super::quota::Account;
use super::route::Answer;
use super::sockets::Asked;
use super::sum::Summing;

/// One packet's state.
#[repr(C)]
pub(super) struct Scratch {
    tuple: Tuple,
    beginning: Beginning,
    answer: Answer,
    change: Change,
    asked: Asked,
    inner: Inner,
    summing: Summing,
    claiming: Claiming,
    account: Account,
    clock: Clock,
}

/// What is known of the packet. Programs run with softirqs off and are not nested, so it is the caller's until it returns
/// its verdict. There is always one: the map has it.
#[inline(always)]
pub(super) fn tuple() -> Option<&'static mut Tuple> {
    let slot = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: the slot is this CPU's; nobody else uses it while this program runs (above), and it is asked for once, by
    // the hook. The caller writes all of it before it reads.
    Some(unsafe { &mut *addr_of_mut!((*slot).tuple) })
}

/// The same for a call that is verified by itself: before 6.2 a pointer that it was given is none that a map takes for a
/// key, and this one is.
#[inline(always)]
pub(super) fn known() -> Option<&'static Tuple> {
    let slot = SCRATCH.get_ptr(0)?;
    // SAFETY: as in `tuple`; it is read only, while the hook does not write.
    Some(unsafe { &*addr_of!((*slot).tuple) })
}

/// What the routing table says of the packet.
#[inline(always)]
pub(super) fn answer() -> Option<&'static mut Answer> {
    let slot = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as in `tuple`; any bytes are a value of this struct of integers and unions of integers. `route::ask` and
    // who asked it have it one after the other.
    Some(unsafe { &mut *addr_of_mut!((*slot).answer) })
}

/// The time that was read last. It is kept from packet to packet, and is the one thing that is.
#[inline(always)]
pub(super) fn clock() -> Option<&'static mut Clock> {
    let slot = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as in `answer`; one call of `clock` has it at a time.
    Some(unsafe { &mut *addr_of_mut!((*slot).clock) })
}

/// What changes in a checksum of SCTP.
#[inline(always)]
pub(super) fn change() -> Option<&'static mut Change> {
    let slot = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as in `answer`; one call of `nat` has it at a time.
    Some(unsafe { &mut *addr_of_mut!((*slot).change) })
}

/// What is asked of the host's ports and sockets.
#[inline(always)]
pub(super) fn asked() -> Option<&'static mut Asked> {
    let slot = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as in `answer`; one call of `sockets` has it at a time.
    Some(unsafe { &mut *addr_of_mut!((*slot).asked) })
}

/// The packet inside of an ICMP error.
#[inline(always)]
pub(super) fn inner() -> Option<&'static mut Inner> {
    let slot = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as in `answer`; one call of `icmp` has it at a time.
    Some(unsafe { &mut *addr_of_mut!((*slot).inner) })
}

/// The checksum that is being made.
#[inline(always)]
pub(super) fn summing() -> Option<&'static mut Summing> {
    let slot = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as in `answer`; one call of `sum` has it at a time.
    Some(unsafe { &mut *addr_of_mut!((*slot).summing) })
}

/// The mapping that is being looked for.
#[inline(always)]
pub(super) fn claiming() -> Option<&'static mut Claiming> {
    let slot = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as in `answer`; one call of `mapping` after the other has it, and what one leaves for the next is its own fields.
    Some(unsafe { &mut *addr_of_mut!((*slot).claiming) })
}

/// What is counted for a flow that begins or ends.
#[inline(always)]
pub(super) fn account() -> Option<&'static mut Account> {
    let slot = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as in `answer`; calls of `quota` have it, and none holds on to what another one writes.
    Some(unsafe { &mut *addr_of_mut!((*slot).account) })
}

/// The flow that is being begun.
#[inline(always)]
pub(super) fn beginning() -> Option<&'static mut Beginning> {
    let slot = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as in `tuple`; zeroed by the kernel at first, which is a value of all its fields, integers and states that
    // are written before they are read. One call of `conntrack` after the other has it, never two.
    Some(unsafe { &mut *addr_of_mut!((*slot).beginning) })
}
