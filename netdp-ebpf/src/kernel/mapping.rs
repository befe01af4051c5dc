//! Which outside port an inside endpoint has ([`netdp_common::mapping`]): find, claim, keep, forget. Looked at when a flow
//! begins, and once a tick while it lives.

use core::ffi::c_void;
use core::ptr::null_mut;

use aya_ebpf::helpers::bpf_loop;
use netdp_common::mapping::{self, INSIDE_SLOTS, Kind, Mapping, MappingKey, QUERY_SILENCE, Side};
use netdp_common::quota::LEDGER_TRIES;
use netdp_common::timers::{State, silence};
use netdp_common::translate::{Delivery, NewFlow};
use netdp_common::{Addr, Exit, Flow, FlowKey, Link, Port, Reason, Zone, link_flags, proto};

use super::access::Packet;
use super::clock;
use super::conntrack::{self, BPF_ANY, BPF_NOEXIST, EEXIST};
use super::maps::{HELD, INSIDE, LINKS, MAPPINGS};
use super::parse::Tuple;
use super::quota;
use super::scratch;
use super::sockets;

/// The mapping of the flow that is being begun, and the rows that are looked at.
#[repr(C)]
pub(super) struct Claiming {
    inside: MappingKey,
    outside: MappingKey,
    /// Key of another mapping's inside endpoint.
    other: MappingKey,
    row: Mapping,
    /// [`Kind`] as a number: what a map holds is no enum.
    kind: u32,
    /// Whether the flow that is prepared needs a port that its endpoint has not got.
    wants: u32,
    /// Outside rows of the endpoint that were written, without those that were deleted; a two's complement.
    taken: u64,
    /// Whose outside row was taken.
    loser: u32,
    /// Whether an inside row was written.
    written: u32,
    /// Where the search for a slot is.
    at: u32,
}

impl Claiming {
    #[inline(always)]
    fn is(&self, kind: Kind) -> bool {
        self.kind == kind as u32
    }
}

/// What asking for a port has come to.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The port of the prepared flow, which may have been changed to one that the endpoint has already.
    Ours,
    /// Another endpoint has it.
    Taken,
    /// The table is full.
    Full,
}

/// Gives the prepared flow the port that its endpoint has already, if it has one.
#[inline(never)]
pub(super) fn prefer(flags: u32) -> Result<(), Reason> {
    let new = conntrack::prepare()?;
    let claiming = scratch::claiming().ok_or(Reason::FlowTableFull)?;
    claiming.kind = mapping::kind(new.key.proto, flags & link_flags::DEPENDENT_MAPPING != 0) as u32;
    if claiming.is(Kind::Dependent) {
        return Ok(());
    }
    claiming.inside = MappingKey::inside(new.key.src, new.key.sport, new.key.proto, new.src);
    claiming.wants = u32::from(claiming.is(Kind::Exclusive));
    if let Some(held) = MAPPINGS.get_ptr(&claiming.inside) {
        // SAFETY: the kernel keeps the value in place while the program runs; it is read only.
        unsafe {
            if mapping::is_ahead((*held).until, new.now) {
                new.sport = (*held).port;
                claiming.wants = 0;
            }
        }
    }
    Ok(())
}

/// Whether the prepared flow needs a port that its endpoint has not got. Asked once for each flow, before it is begun.
#[inline(always)]
pub(super) fn wants_port() -> bool {
    let Some(claiming) = scratch::claiming() else { return false };
    let wants = claiming.wants != 0;
    (claiming.wants, claiming.taken, claiming.loser, claiming.written) = (0, 0, 0, 0);
    wants
}

/// How many ports the prepared flow has taken for its endpoint, once it is begun or not: a two's complement. What it has taken from
/// somebody else is given back for that one, and the inside row enters the ledger.
#[inline(never)]
pub(super) fn taken_ports() -> u64 {
    let Some(claiming) = scratch::claiming() else { return 0 };
    if claiming.loser != 0 {
        quota::forget_port(claiming.loser);
        claiming.loser = 0;
    }
    if claiming.written != 0 {
        claiming.written = 0;
        enter(claiming);
    }
    claiming.taken
}

/// Has the sweep find the row of `claiming.inside`.
#[inline(always)]
fn enter(claiming: &mut Claiming) {
    claiming.at = claiming.inside.slot();
    // SAFETY: the callback has the signature that the helper calls, and takes no context.
    unsafe { bpf_loop(LEDGER_TRIES, try_slot as *mut c_void, null_mut(), 0) };
}

/// Enters an inside row at one of the slots that its key leads to.
unsafe extern "C" fn try_slot(n: u32, _context: *mut c_void) -> i64 {
    let Some(claiming) = scratch::claiming() else { return 1 };
    let Some(slot) = INSIDE.get_ptr_mut(claiming.at.wrapping_add(n) % INSIDE_SLOTS) else { return 1 };
    // SAFETY: the kernel keeps the value in place while the program runs. Another CPU may write it meanwhile: a key of two halves
    // is that of no row, and its slot is free.
    unsafe {
        claiming.other = *slot;
        let is_free = claiming.other == claiming.inside || MAPPINGS.get_ptr(&claiming.other).is_none();
        if is_free {
            *slot = claiming.inside;
        }
        i64::from(is_free)
    }
}

/// Deletes the mapping of a slot when its time is over.
#[inline(always)]
pub(super) fn sweep_slot(number: u32, now: u32) {
    let Some(claiming) = scratch::claiming() else { return };
    let Some(slot) = INSIDE.get_ptr_mut(number % INSIDE_SLOTS) else { return };
    // SAFETY: as in `try_slot`; rows are read only.
    unsafe {
        claiming.other = *slot;
        if claiming.other.side == Side(0) {
            return;
        }
        if let Some(row) = MAPPINGS.get_ptr(&claiming.other) {
            if mapping::is_ahead((*row).until, now) {
                return;
            }
            let owner = (*row).owner;
            claiming.outside = MappingKey::outside((*row).addr, (*row).port, claiming.other.proto);
            let _ = MAPPINGS.remove(&claiming.other);
            if leads_here(claiming) && MAPPINGS.remove(&claiming.outside).is_ok() {
                quota::forget_port(owner);
            }
        }
        *slot = MappingKey::NONE;
    }
}

/// Whether the outside row is of the endpoint `other`.
#[inline(always)]
fn leads_here(claiming: &Claiming) -> bool {
    let Some(held) = MAPPINGS.get_ptr(&claiming.outside) else { return false };
    // SAFETY: the kernel keeps the value in place while the program runs; it is read only.
    unsafe { (*held).addr == claiming.other.inside && (*held).port == claiming.other.port }
}

/// Asks for the port of the prepared flow; [`agree`] comes next.
#[inline(never)]
pub(super) fn claim() -> Outcome {
    let (Ok(new), Some(claiming)) = (conntrack::prepare(), scratch::claiming()) else { return Outcome::Full };
    claiming.outside = MappingKey::outside(new.src, new.sport, new.key.proto);
    if !claiming.is(Kind::Exclusive) {
        // TCP has no rows of outside endpoints, so this is about a network whose UDP depends on the remote.
        return match MAPPINGS.get_ptr(&claiming.outside) {
            Some(held) if !may_take(new, claiming, held) => Outcome::Taken,
            _ => Outcome::Ours,
        };
    }
    claiming.row =
        Mapping { addr: new.key.src, port: new.key.sport, pad: 0, until: new.now, owner: new.owner };
    match insert(&claiming.outside, &claiming.row) {
        0 => {
            claiming.taken = claiming.taken.wrapping_add(1);
            Outcome::Ours
        }
        EEXIST => take(new, claiming),
        _ => Outcome::Full,
    }
}

/// Takes a port that is held already, if by this very endpoint or by one whose flows have ended.
#[inline(always)]
fn take(new: &NewFlow, claiming: &mut Claiming) -> Outcome {
    let Some(held) = MAPPINGS.get_ptr(&claiming.outside) else { return Outcome::Taken };
    if is_own(new, held) {
        return Outcome::Ours;
    }
    if !may_take(new, claiming, held) {
        return Outcome::Taken;
    }
    // SAFETY: as in `is_own`.
    let owner = unsafe { (*held).owner };
    // `other` is its inside endpoint now.
    let _ = MAPPINGS.remove(&claiming.other);
    if MAPPINGS.remove(&claiming.outside).is_ok() {
        claiming.loser = owner;
    }
    match insert(&claiming.outside, &claiming.row) {
        0 => {
            claiming.taken = claiming.taken.wrapping_add(1);
            Outcome::Ours
        }
        EEXIST => Outcome::Taken,
        _ => Outcome::Full,
    }
}

#[inline(always)]
fn is_own(new: &NewFlow, held: *const Mapping) -> bool {
    // SAFETY: the callers have the value from the kernel, which keeps it in place while the program runs.
    unsafe { (*held).addr == new.key.src && (*held).port == new.key.sport }
}

/// Whether an outside row, that of `claiming.outside`, keeps nobody out.
#[inline(always)]
fn may_take(new: &NewFlow, claiming: &mut Claiming, held: *const Mapping) -> bool {
    // SAFETY: as in `is_own`.
    let made = unsafe {
        if is_own(new, held) {
            return true;
        }
        claiming.other =
            MappingKey::inside((*held).addr, (*held).port, claiming.outside.proto, claiming.outside.outside);
        (*held).until
    };
    // Its inside row may be about to be written on another CPU.
    silence(made, new.now) > 1 && !is_live(&claiming.other, claiming.outside.port, new.now)
}

/// Whether an inside endpoint has this port now.
#[inline(always)]
fn is_live(inside: &MappingKey, port: Port, now: u32) -> bool {
    let Some(row) = MAPPINGS.get_ptr(inside) else { return false };
    // SAFETY: the kernel keeps the value in place while the program runs; it is read only.
    unsafe { (*row).port == port && mapping::is_ahead((*row).until, now) }
}

/// Writes the inside row of an exclusive mapping whose port was claimed. Another CPU may have found another port for the endpoint meanwhile: that one counts.
#[inline(never)]
pub(super) fn agree() -> Outcome {
    let (Ok(new), Some(claiming)) = (conntrack::prepare(), scratch::claiming()) else { return Outcome::Full };
    if !claiming.is(Kind::Exclusive) {
        return Outcome::Ours;
    }
    let until =
        new.now.wrapping_add(lifetime(new.key.proto, mapping::is_query(new.key.sport, new.key.dport)));
    claiming.row = Mapping { addr: new.src, port: new.sport, pad: 0, until, owner: new.owner };
    match insert(&claiming.inside, &claiming.row) {
        0 => {
            claiming.written = 1;
            return Outcome::Ours;
        }
        EEXIST => {}
        _ => {
            hand_back(claiming);
            return Outcome::Full;
        }
    }
    let Some(held) = MAPPINGS.get_ptr_mut(&claiming.inside) else { return Outcome::Taken };
    // SAFETY: the kernel keeps the value in place while the program runs. Other CPUs may write the time; each is a single
    // aligned store of a value that is right by itself.
    unsafe {
        if (*held).port == new.sport {
            keep(held, until);
        } else if mapping::is_ahead((*held).until, new.now) {
            hand_back(claiming);
            new.sport = (*held).port;
        } else if MAPPINGS.insert(&claiming.inside, &claiming.row, BPF_ANY).is_err() {
            return Outcome::Full;
        }
    }
    claiming.written = 1;
    Outcome::Ours
}

/// Deletes the outside row, which is the endpoint's own.
#[inline(always)]
fn hand_back(claiming: &mut Claiming) {
    if MAPPINGS.remove(&claiming.outside).is_ok() {
        claiming.taken = claiming.taken.wrapping_sub(1);
    }
}

/// Remembers the port that a connection was given, so that its endpoint's next ones prefer it. Who has kept the port needs no
/// row for that, and it is a preference: that the table is full is no matter.
#[inline(never)]
pub(super) fn remember() {
    let (Ok(new), Some(claiming)) = (conntrack::prepare(), scratch::claiming()) else { return };
    if !claiming.is(Kind::Preferred) {
        return;
    }
    hold(new.sport, new.now, new.state);
    if new.sport == new.key.sport {
        return;
    }
    let until = new.now.wrapping_add(lifetime(new.key.proto, false));
    claiming.row = Mapping { addr: new.src, port: new.sport, pad: 0, until, owner: new.owner };
    claiming.written = u32::from(MAPPINGS.insert(&claiming.inside, &claiming.row, BPF_ANY).is_ok());
}

/// Forgets the mapping of the prepared flow, whose port cannot be used: the host has taken it, or somebody to whom ports
/// belong by the remote. The flows that it has go on.
#[inline(never)]
pub(super) fn forget() {
    let (Ok(new), Some(claiming)) = (conntrack::prepare(), scratch::claiming()) else { return };
    if claiming.is(Kind::Dependent) {
        return;
    }
    claiming.outside = MappingKey::outside(new.src, new.sport, new.key.proto);
    if let Some(held) = MAPPINGS.get_ptr(&claiming.outside)
        && is_own(new, held)
    {
        hand_back(claiming);
    }
    if is_live(&claiming.inside, new.sport, new.now) {
        let _ = MAPPINGS.remove(&claiming.inside);
    }
}

/// The same where the tuple of the replies is taken. A connection's preference stays: it holds towards other remotes.
#[inline(always)]
pub(super) fn forget_taken() {
    if scratch::claiming().is_some_and(|claiming| claiming.is(Kind::Exclusive)) {
        forget();
    }
}

/// Lets the host have an outside endpoint that it uses itself: the container's next flow is given another one.
#[inline(never)]
pub(super) fn give_way(reply: &FlowKey) {
    let Some(claiming) = scratch::claiming() else { return };
    claiming.outside = MappingKey::outside(reply.dst, reply.dport, reply.proto);
    let Some(held) = MAPPINGS.get_ptr(&claiming.outside) else { return };
    // SAFETY: the kernel keeps the value in place while the program runs; it is read only.
    let owner = unsafe {
        claiming.other = MappingKey::inside((*held).addr, (*held).port, reply.proto, reply.dst);
        (*held).owner
    };
    let _ = MAPPINGS.remove(&claiming.other);
    if MAPPINGS.remove(&claiming.outside).is_ok() {
        quota::forget_port(owner);
    }
}

/// Keeps a protocol without ports between the host and a remote for the host, which has just spoken it.
#[inline(never)]
pub(super) fn hold_for_host(key: &FlowKey) {
    let Some(claiming) = scratch::claiming() else { return };
    claiming.outside = MappingKey::host(key.dst, key.src, key.proto);
    let until = clock::now().wrapping_add(conntrack::timeout(State::GenericReplied));
    if let Some(held) = MAPPINGS.get_ptr_mut(&claiming.outside) {
        // SAFETY: as in `agree`.
        unsafe { keep(held, until) };
        return;
    }
    claiming.row = Mapping { addr: key.dst, port: key.dport, pad: 0, until, owner: 0 };
    // Where the table is full the flow of a container has ended at least, until it begins again.
    if MAPPINGS.insert(&claiming.outside, &claiming.row, BPF_ANY).is_ok() {
        claiming.inside = claiming.outside;
        enter(claiming);
    }
}

/// Refuses the prepared flow where the host itself speaks its protocol to that remote from that address.
#[inline(never)]
pub(super) fn refuse_held() -> Result<(), Reason> {
    let new = conntrack::prepare()?;
    if !mapping::is_by_address(new.key.proto) {
        return Ok(());
    }
    let claiming = scratch::claiming().ok_or(Reason::FlowTableFull)?;
    claiming.outside = MappingKey::host(new.dst, new.src, new.key.proto);
    let Some(held) = MAPPINGS.get_ptr(&claiming.outside) else { return Ok(()) };
    // SAFETY: the kernel keeps the value in place while the program runs; it is read only.
    if unsafe { mapping::is_ahead((*held).until, new.now) } { Err(Reason::HeldByHost) } else { Ok(()) }
}

/// Keeps the mapping of a flow that was seen. Which endpoint is the inside one, its entry says; that of a published port has
/// no mapping, or one that it is as well to keep.
#[inline(never)]
pub(super) fn touch(key: &FlowKey, flow: &Flow, now: u32) {
    let Some(claiming) = scratch::claiming() else { return };
    if key.proto == proto::TCP {
        let state = State::from_number(flow.state);
        // Of what a container has begun, and that by another address than its own. A published port is no such port: once it
        // is withdrawn the host answers for it at once.
        match (key.zone, flow.exit, flow.is_reply()) {
            (Zone::CONTAINER, Exit::UPLINK, false) if flow.src != key.src => hold(flow.sport, now, state),
            (Zone::UPLINK, _, true) if flow.dst != key.dst => hold(key.dport, now, state),
            _ => {}
        }
    }
    claiming.inside = match key.zone {
        Zone::CONTAINER => MappingKey::inside(key.src, key.sport, key.proto, flow.src),
        Zone::UPLINK => MappingKey::inside(flow.dst, flow.dport, key.proto, key.dst),
        _ => return,
    };
    let Some(held) = MAPPINGS.get_ptr_mut(&claiming.inside) else { return };
    let until = now.wrapping_add(lifetime(key.proto, mapping::is_query(key.sport, key.dport)));
    // SAFETY: as in `agree`.
    unsafe { keep(held, until) };
}

/// Notes for how long a port of TCP is one that a container is seen by: no row says so of a port that was kept. The last
/// flow that has it counts for all; one that is published is never asked about.
#[inline(always)]
fn hold(port: Port, now: u32, state: State) {
    let Some(slot) = HELD.get_ptr_mut(u32::from(port.get())) else { return };
    let until = mapping::held_until(now, conntrack::timeout(state));
    // SAFETY: the slot is an aligned u32, and what another CPU writes there is as right.
    unsafe {
        if mapping::is_ahead(until, *slot) {
            *slot = until;
        }
    }
}

/// Whether a container is, or was a while ago, seen by this port of TCP.
#[inline(always)]
pub(super) fn is_held(port: Port, now: u32) -> bool {
    HELD.get(u32::from(port.get())).is_some_and(|until| mapping::is_ahead(*until, now))
}

/// # Safety
/// `held` is a value that the kernel returned.
#[inline(always)]
unsafe fn keep(held: *mut Mapping, until: u32) {
    // SAFETY: by the contract of this function.
    unsafe {
        if mapping::is_ahead(until, (*held).until) {
            (*held).until = until;
        }
    }
}

/// Ticks for which a mapping lives on after a packet: as long as any of its flows may. That of a TCP endpoint is a
/// preference, which is not worth a row for the days that a silent connection may last.
#[inline(always)]
fn lifetime(proto: u8, is_query: bool) -> u32 {
    match proto {
        proto::UDP if is_query => QUERY_SILENCE,
        proto::UDP | proto::UDPLITE => {
            let (one, other) =
                (conntrack::timeout(State::UdpUnreplied), conntrack::timeout(State::UdpReplied));
            if one > other { one } else { other }
        }
        proto::TCP => conntrack::timeout(State::TcpTimeWait),
        _ => conntrack::timeout(State::Icmp),
    }
}

/// Whether a packet that belongs to no flow may begin one.
#[repr(u32)]
pub(super) enum Admission {
    /// It is not for a mapping that is open to everybody.
    None,
    /// A flow is prepared: it is to be begun, and the packet follows it.
    Prepared,
}

/// A packet from somebody whom the container has not talked to. Where the network's filter is endpoint-independent (RFC
/// 4787, REQ-8), it begins a flow to the endpoint that has this outside one.
#[inline(never)]
pub(super) fn admit(packet: &Packet, tuple: &Tuple) -> Result<Admission, Reason> {
    let key = &tuple.key;
    if key.proto != proto::UDP {
        return Ok(Admission::None);
    }
    let claiming = scratch::claiming().ok_or(Reason::FlowTableFull)?;
    let now = clock::now();
    let Some(link) = behind(claiming, key, now) else { return Ok(Admission::None) };
    if !is_open(link) || sockets::socket(packet.skb(), key) {
        return Ok(Admission::None);
    }
    if key.src.is_martian() {
        return Err(Reason::SpoofedIp);
    }
    if tuple.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    let to = (claiming.row.addr, claiming.row.port, Delivery::link(claiming.row.owner, link));
    let new = conntrack::prepare()?;
    *new = NewFlow::admit(*key, to, Delivery::uplink(packet.ifindex()), now);
    Ok(Admission::Prepared)
}

/// A container's packet to the outside endpoint of another one, or of itself: it begins a flow between the two, by the outside
/// endpoints of both. Who has not sent to the sender's yet hears nothing, unless its network's filter is open.
#[inline(never)]
pub(super) fn meet(packet: &Packet, tuple: &Tuple, from: (u32, &'static Link)) -> Result<Admission, Reason> {
    let key = &tuple.key;
    let claiming = scratch::claiming().ok_or(Reason::FlowTableFull)?;
    let now = clock::now();
    let Some(link) = behind(claiming, key, now) else { return Ok(Admission::None) };
    if sockets::socket(packet.skb(), key) {
        return Ok(Admission::None);
    }
    let mut delivery = Delivery::link(claiming.row.owner, link);
    if !is_open(link) {
        delivery.exit = Exit::WAITING;
    }
    let new = conntrack::prepare()?;
    *new = NewFlow::between(*key, key.dst, from, (claiming.row.addr, claiming.row.port, delivery), now);
    let snat = from.1.snat(key.dst.is_v4());
    if snat != Addr::UNSPECIFIED {
        new.src = snat;
    }
    Ok(Admission::Prepared)
}

/// Whether a packet of a container is for an outside endpoint: it belongs to no flow, and to nobody's published port.
#[inline(never)]
pub(super) fn is_outside(key: &FlowKey) -> bool {
    let Some(claiming) = scratch::claiming() else { return false };
    if key.proto != proto::UDP {
        return false;
    }
    claiming.outside = MappingKey::outside(key.dst, key.dport, key.proto);
    MAPPINGS.get_ptr(&claiming.outside).is_some()
}

/// The container whose outside endpoint a packet is for; its mapping is copied to `claiming.row`.
#[inline(always)]
fn behind(claiming: &mut Claiming, key: &FlowKey, now: u32) -> Option<&'static Link> {
    claiming.outside = MappingKey::outside(key.dst, key.dport, key.proto);
    let held = MAPPINGS.get_ptr(&claiming.outside)?;
    // SAFETY: the kernel keeps the value in place while the program runs; it is read only.
    unsafe {
        claiming.row = *held;
    }
    claiming.inside = MappingKey::inside(claiming.row.addr, claiming.row.port, key.proto, key.dst);
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    let link = unsafe { LINKS.get(&claiming.row.owner) }?;
    let addr = if claiming.row.addr.is_v4() { link.addr4 } else { link.addr6 };
    // Still the endpoint of that veth.
    (addr == claiming.row.addr && is_live(&claiming.inside, key.dport, now)).then_some(link)
}

/// Whether the network lets everybody in.
#[inline(always)]
fn is_open(link: &Link) -> bool {
    link.flags & link_flags::OPEN_FILTER != 0
}

/// Inserts a row where none is. Zero, or an errno.
#[inline(always)]
fn insert(key: &MappingKey, row: &Mapping) -> i32 {
    MAPPINGS.insert(key, row, BPF_NOEXIST).err().unwrap_or(0)
}
