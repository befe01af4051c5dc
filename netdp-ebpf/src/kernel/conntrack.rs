//! The flow table: find, follow, begin, end.

use core::ffi::c_void;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_loop};
use netdp_common::mapping::QUERY_SILENCE;
use netdp_common::settings;
use netdp_common::timers::{FINAL_SILENCE, State, silence};
use netdp_common::tracker;
use netdp_common::translate::{Delivery, NewFlow, PORT_TRIES, candidate, mirror};
use netdp_common::{Exit, Flow, FlowKey, Numbers, Payer, Reason, Zone, proto};

use super::access::Packet;
use super::call;
use super::clock;
use super::mapping::{self, Outcome};
use super::maps::{FLOWS, LINKS, SETTINGS};
use super::parse::{self, Tuple};
use super::quota::{self, charge};
use super::scratch;
use super::sockets;

/// Update flags and errors of `linux/bpf.h` and `errno.h`.
pub(super) const BPF_ANY: u64 = 0;
pub(super) const BPF_NOEXIST: u64 = 1;
pub(super) const EEXIST: i32 = -17;

/// The live entry of a packet, with its state, stamp and counts brought up to date. One look-up, and a second one
/// only when the state changes or the entry seems to have expired.
#[inline(always)]
pub(super) fn follow(packet: &Packet, tuple: &Tuple) -> Option<*mut Flow> {
    let flow = FLOWS.get_ptr_mut(&tuple.key)?;
    let now = clock::now();
    // SAFETY: the kernel keeps the value in place while the program runs. Other CPUs may write the same fields;
    // each is a single aligned store of a value that is right by itself.
    unsafe {
        if (*flow).seen != now && conntrack_refresh(flow, now, packet.ifindex()) == ENDED {
            return None;
        }
        track(packet, tuple, flow);
        let segments = packet.gso_segs();
        (*flow).packets += u64::from(if segments == 0 { 1 } else { segments });
        (*flow).bytes += u64::from(packet.len());
    }
    Some(flow)
}

/// The entry of a tuple that was followed just before: of a fragment, by the first one of its datagram.
#[inline(always)]
pub(super) fn followed(tuple: &mut Tuple) -> Option<*mut Flow> {
    let flow = FLOWS.get_ptr_mut(&tuple.key)?;
    // What follows the header is no transport header.
    tuple.key.proto = proto::NONE;
    Some(flow)
}

/// The live entry of a tuple, left as it is.
#[inline(always)]
pub(super) fn peek(key: &FlowKey) -> Option<&'static Flow> {
    let flow = FLOWS.get_ptr(key)?;
    // SAFETY: the kernel keeps the value in place while the program runs; it is read only.
    unsafe { if has_ended(flow, &(*flow).twin_key(key), clock::now()) { None } else { Some(&*flow) } }
}

/// What [`conntrack_refresh`] returns of a flow that has expired, and of one that lives.
const ENDED: u32 = 0;
const LIVES: u32 = 1;

/// Stamps an entry that was last seen in another tick, in a packet that came in by `ifindex`; ends it when it has expired. A
/// call that is verified once, as is `conntrack_weigh`; and their keys are not to lie on the stack of every packet.
///
/// `flow` is the value that the kernel returned for the tuple's key.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn conntrack_refresh(flow: *mut Flow, now: u32, ifindex: u32) -> u32 {
    let Some(Tuple { key, .. }) = scratch::known() else { return ENDED };
    if flow.is_null() {
        return ENDED;
    }
    // SAFETY: the kernel keeps the value in place while the program runs.
    unsafe {
        let twin = (*flow).twin_key(key);
        if has_ended(flow, &twin, now) {
            end(key, &twin);
            return ENDED;
        }
        (*flow).seen = now;
        mapping::touch(key, &*flow, now);
        if FLOWS.get_ptr(&twin).is_none() {
            heal(key, &*flow, &twin, ifindex);
        }
    }
    LIVES
}

/// Writes a lost direction anew. Nothing evicts an entry, but whoever deletes both directions may be killed between
/// the two. The table may be full: then the next tick tries again.
#[inline(always)]
fn heal(key: &FlowKey, flow: &Flow, twin: &FlowKey, ifindex: u32) {
    let back = match key.zone {
        Zone::UPLINK => Delivery::uplink(ifindex),
        Zone::HOST => Delivery::loopback(ifindex),
        // SAFETY: the controller replaces entries whole, and the map is not preallocated.
        _ => match unsafe { LINKS.get(&ifindex) } {
            Some(link) => Delivery::link(ifindex, link),
            None => return,
        },
    };
    let Ok(beginning) = beginning() else { return };
    beginning.flow = mirror(key, flow, back);
    if FLOWS.insert(twin, &beginning.flow, BPF_NOEXIST).is_ok() {
        quota::healed(&beginning.flow);
    }
}

/// Whether both directions have been silent for the timeout. A direction alone may be silent for as long as it
/// likes: the twin is asked before either dies.
///
/// # Safety
/// `flow` is a value that the kernel returned; `twin` is the key of its other direction.
#[inline(always)]
unsafe fn has_ended(flow: *const Flow, twin: &FlowKey, now: u32) -> bool {
    // SAFETY: by the contract of this function; the twin is a value that the kernel returned.
    unsafe {
        is_silent(flow, now, timeout) && FLOWS.get_ptr(twin).is_none_or(|twin| is_silent(twin, now, timeout))
    }
}

/// The same for a flow that is in the way of another one: over for both ends is enough, when both have become silent.
///
/// # Safety
/// As for [`has_ended`].
#[inline(always)]
pub(super) unsafe fn may_make_room(flow: *const Flow, twin: &FlowKey, now: u32) -> bool {
    // SAFETY: as in `has_ended`.
    unsafe {
        if is_query(flow) {
            return is_silent(flow, now, query)
                && FLOWS.get_ptr(twin).is_none_or(|twin| is_silent(twin, now, query));
        }
        is_silent(flow, now, shortest)
            && FLOWS.get_ptr(twin).is_none_or(|twin| is_silent(twin, now, shortest))
    }
}

/// Whether an entry was not seen for longer than `patience` has with its state. That is not asked about an entry that
/// was seen in this tick or the one before.
///
/// # Safety
/// `flow` is a value that the kernel returned.
#[inline(always)]
unsafe fn is_silent(flow: *const Flow, now: u32, patience: fn(State) -> u32) -> bool {
    // SAFETY: by the contract of this function.
    let (seen, state) = unsafe { ((*flow).seen, (*flow).state) };
    let ticks = silence(seen, now);
    ticks > 1 && ticks > patience(State::from_number(state))
}

/// The timeout of a state in ticks.
#[inline(always)]
pub(super) fn timeout(state: State) -> u32 {
    let row = SETTINGS.get(u32::from(state.number())).copied();
    settings::timeout(state, row.unwrap_or(0))
}

/// The time in ticks after which a state does not keep others out.
#[inline(always)]
fn shortest(state: State) -> u32 {
    if state.is_final() { FINAL_SILENCE - 1 } else { timeout(state) }
}

/// Whether a flow is a query to a resolver by UDP.
///
/// # Safety
/// `flow` is a value that the kernel returned.
#[inline(always)]
unsafe fn is_query(flow: *const Flow) -> bool {
    // SAFETY: by the contract of this function.
    let (state, sport, dport) = unsafe { ((*flow).state, (*flow).sport, (*flow).dport) };
    let is_udp = state == State::UdpUnreplied.number() || state == State::UdpReplied.number();
    is_udp && netdp_common::mapping::is_query(sport, dport)
}

/// The time in ticks after which a query does not keep others out.
#[inline(always)]
fn query(_: State) -> u32 {
    QUERY_SILENCE
}

/// Brings state and numbers up to date.
///
/// # Safety
/// `flow` is the value that the kernel returned for the tuple's key.
#[inline(always)]
unsafe fn track(packet: &Packet, tuple: &Tuple, flow: *mut Flow) {
    let (proto, flags) = (tuple.key.proto, tuple.flags);
    // SAFETY: by the contract of this function.
    unsafe {
        if !tracker::is_settled((*flow).state, proto, (*flow).is_reply(), flags) {
            conntrack_weigh(packet.skb(), tuple, flow);
        } else if proto == proto::TCP
            && let Some(segment) = parse::segment(packet, tuple)
        {
            (*flow).numbers = (*flow).numbers.after(flags, &segment);
        }
    }
}

/// [`weigh`], as a call that is verified once. Zero.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn conntrack_weigh(skb: *mut __sk_buff, tuple: *const Tuple, flow: *mut Flow) -> u32 {
    if tuple.is_null() || flow.is_null() {
        return 0;
    }
    // SAFETY: the kernel keeps the value in place while the program runs; the tuple is the caller's.
    unsafe { weigh(&Packet::of(skb), &*tuple, flow) };
    0
}

/// Holds a packet that may change the state against what the other direction has said: it changes both entries, one,
/// or nothing.
///
/// # Safety
/// `flow` is the value that the kernel returned for the tuple's key.
#[inline(always)]
unsafe fn weigh(packet: &Packet, tuple: &Tuple, flow: *mut Flow) {
    let (proto, flags) = (tuple.key.proto, tuple.flags);
    // SAFETY: by the contract of this function; the twin is a value that the kernel returned.
    unsafe {
        let (reply, own) = ((*flow).is_reply(), (*flow).numbers);
        let twin = FLOWS.get_ptr_mut((*flow).twin_key(&tuple.key));
        let state = State::from_number((*flow).state);
        if proto != proto::TCP {
            let next = tracker::next(state, reply, flags);
            return if next != state {
                change(flow, twin, next)
            };
        }
        let Some(segment) = parse::segment(packet, tuple) else { return };
        let other = twin.map_or(Numbers::NONE, |twin| (*twin).numbers);
        let next = tracker::next_tcp(state, reply, flags, &segment, own, other);
        if next != state {
            change(flow, twin, next);
        }
        if tracker::is_kept(state, next, reply, flags) {
            (*flow).numbers = (*flow).numbers.after(flags, &segment);
        }
    }
}

/// Writes a new state to both directions. A connection that begins anew knows nothing of the one before.
///
/// # Safety
/// Both are values that the kernel returned.
#[inline(always)]
unsafe fn change(flow: *mut Flow, twin: Option<*mut Flow>, next: State) {
    let anew = matches!(next, State::TcpSynSent);
    // SAFETY: by the contract of this function.
    unsafe {
        for entry in [Some(flow), twin].into_iter().flatten() {
            (*entry).state = next.number();
            // That of UDP changes by a reply alone, and who waited for one may send now.
            if (*entry).exit == Exit::WAITING {
                (*entry).exit = Exit::ENDPOINT;
            }
            if anew {
                (*entry).numbers = Numbers::NONE;
            }
        }
    }
}

/// Ends the flow whose replies have this tuple, if there is one that was masqueraded.
#[inline(always)]
pub(super) fn give_way(reply: &FlowKey) {
    let Some(flow) = FLOWS.get_ptr(reply) else { return };
    // SAFETY: the kernel keeps the value in place while the program runs; it is read only.
    unsafe {
        if (*flow).is_reply() {
            end(reply, &(*flow).twin_key(reply));
            mapping::give_way(reply);
        }
    }
}

/// Forgets both directions. That either was gone already is what is wanted.
#[inline(always)]
pub(super) fn end(key: &FlowKey, twin: &FlowKey) {
    quota::forget(key);
    quota::forget(twin);
}

/// A flow that is being begun, and the row that is being written.
#[repr(C)]
pub(super) struct Beginning {
    pub(super) new: NewFlow,
    pub(super) reply_key: FlowKey,
    twin_key: FlowKey,
    flow: Flow,
    /// [`charge`].
    pub(super) charge: u32,
    /// Who has paid for an entry that was written over.
    pub(super) replaced: Payer,
}

/// The place for a flow that is to be begun.
#[inline(always)]
pub(super) fn prepare() -> Result<&'static mut NewFlow, Reason> {
    Ok(&mut beginning()?.new)
}

#[inline(always)]
pub(super) fn beginning() -> Result<&'static mut Beginning, Reason> {
    scratch::beginning().ok_or(Reason::FlowTableFull)
}

/// Begins the prepared flow. Its source port is the client's own; only one that has used it already for another
/// published port of the same container is given another one, for the container answers both from one port.
#[inline(always)]
pub(super) fn begin(packet: &Packet) -> Result<(), Reason> {
    paid(|| match conntrack_begin_as_it_is() {
        TAKEN => conntrack_begin(packet.skb()),
        number => number,
    })
}

/// Begins the prepared flow with its source as it is, or not at all: the container talks to that very remote already, by
/// another outside port. Or it leaves untranslated, and nobody else has its tuple.
#[inline(always)]
pub(super) fn begin_as_it_is() -> Result<(), Reason> {
    paid(|| conntrack_begin_as_it_is())
}

/// Begins the prepared flow with its source translated: the port is kept when it is free, else chosen.
#[inline(always)]
pub(super) fn begin_translated(packet: &Packet) -> Result<(), Reason> {
    paid(|| conntrack_begin(packet.skb()))
}

/// Begins a flow as one of those whose it is: what is not begun costs nothing. Where the table is full, a part of it is swept, and
/// it is tried once more; what is live stays.
#[inline(always)]
fn paid(begin: impl Fn() -> u32) -> Result<(), Reason> {
    quota::enter()?;
    let mut begun = begin();
    if begun == Reason::FlowTableFull.number() && quota::relieve() {
        begun = begin();
    }
    quota::settle();
    call::outcome(begun)
}

/// What [`conntrack_begin_as_it_is`] returns where another flow has the tuple of the replies.
const TAKEN: u32 = Reason::CtInvalid as u32;

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn conntrack_begin_as_it_is() -> u32 {
    let full = Reason::FlowTableFull.number();
    let Ok(beginning) = beginning() else { return full };
    beginning.reply_key = beginning.new.reply_key();
    match claim(beginning) {
        Claim::Ours => call::failed(complete(beginning)),
        Claim::Taken => TAKEN,
        Claim::Full => full,
    }
}

/// The search for a source port: the context of its callback.
struct Search {
    skb: *mut __sk_buff,
    claim: Claim,
}

/// [`begin_translated`], as a call that is verified once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn conntrack_begin(skb: *mut __sk_buff) -> u32 {
    call::failed(search(&Packet::of(skb)))
}

#[inline(always)]
fn search(packet: &Packet) -> Result<(), Reason> {
    let mut search = Search { skb: packet.skb(), claim: Claim::Taken };
    let context = core::ptr::from_mut(&mut search).cast::<c_void>();
    // SAFETY: the callback has the signature that the helper calls, and the context outlives the call.
    unsafe { bpf_loop(PORT_TRIES, try_port as *mut c_void, context, 0) };
    match search.claim {
        Claim::Ours => {
            if is_mapped() {
                mapping::remember();
            }
            complete(beginning()?)
        }
        Claim::Taken => Err(Reason::NatPortExhausted),
        Claim::Full => Err(Reason::FlowTableFull),
    }
}

/// One try; ends the search by returning 1.
unsafe extern "C" fn try_port(n: u32, search: *mut Search) -> i64 {
    let Ok(beginning) = beginning() else { return 1 };
    let new = &mut beginning.new;
    // SAFETY: the helper takes nothing; the kernel passes on the context that was given to `bpf_loop`.
    unsafe {
        if n != 0 {
            new.sport = candidate(new.key.proto, new.key.sport, n, bpf_get_prandom_u32());
        }
        beginning.reply_key = new.reply_key();
        let is_held = sockets::holds((*search).skb, &beginning.reply_key);
        (*search).claim = if is_held { held_by_host(n) } else { claim_mapped() };
        match (*search).claim {
            Claim::Taken => 0,
            Claim::Ours | Claim::Full => 1,
        }
    }
}

/// The host has the port. A mapping that has it too gives way, and the search goes on.
#[inline(always)]
fn held_by_host(n: u32) -> Claim {
    if n == 0 && is_mapped() {
        mapping::forget();
    }
    Claim::Taken
}

/// Whether the source of the prepared flow is the outside endpoint of a mapping.
#[inline(always)]
fn is_mapped() -> bool {
    beginning().is_ok_and(|beginning| beginning.new.is_mapped)
}

/// Takes the port for the endpoint, and then the tuple. The tuple of a port that nobody else has may still be that of a flow
/// whose network has no such mappings: then it is no port for a mapping.
#[inline(always)]
fn claim_mapped() -> Claim {
    if is_mapped() {
        // One call after the other, as ever.
        let mut outcome = mapping::claim();
        if let Outcome::Ours = outcome {
            outcome = mapping::agree();
        }
        match outcome {
            Outcome::Ours => {}
            Outcome::Full => return Claim::Full,
            Outcome::Taken => return Claim::Taken,
        }
    }
    let claim = claim_tuple();
    if let Claim::Taken = claim
        && is_mapped()
    {
        mapping::forget_taken();
    }
    claim
}

#[inline(always)]
fn claim_tuple() -> Claim {
    let Ok(beginning) = beginning() else { return Claim::Full };
    beginning.reply_key = beginning.new.reply_key();
    claim(beginning)
}

/// The outcome of asking for the tuple of the replies.
#[derive(Clone, Copy)]
enum Claim {
    Ours,
    Taken,
    Full,
}

/// Takes the tuple of the replies (`reply_key`), which is what makes a translated port ours: the insertion is atomic, so two
/// CPUs never take one tuple.
#[inline(always)]
fn claim(beginning: &mut Beginning) -> Claim {
    beginning.flow = beginning.new.reply();
    match insert(&beginning.reply_key, &beginning.flow) {
        0 => {
            beginning.charge = charge::NEW;
            Claim::Ours
        }
        EEXIST => reclaim(beginning),
        _ => Claim::Full,
    }
}

/// Takes a tuple that is held already, if by a flow that has ended or is over, or by what is left of this very flow.
#[inline(never)]
fn reclaim(beginning: &mut Beginning) -> Claim {
    let Beginning { new, reply_key: key, flow: reply, twin_key: twin, charge, replaced } = beginning;
    let Some(held) = FLOWS.get_ptr(&*key) else { return Claim::Taken };
    // SAFETY: the kernel keeps the value in place while the program runs; it is read only.
    let ours = unsafe {
        *twin = (*held).twin_key(key);
        *replaced = if (*held).is_reply() { Payer::of(&*held) } else { Payer::NONE };
        *twin == new.key || may_make_room(held, twin, reply.seen)
    };
    if !ours {
        *replaced = Payer::NONE;
        return Claim::Taken;
    }
    if *twin != new.key {
        // What the ended flow left in the other direction would lead here: it goes first.
        let _ = FLOWS.remove(&*twin);
    } else if FLOWS.get_ptr(&new.key).is_some() {
        // Another CPU has begun this very flow with another packet, and both its entries are there.
        *replaced = Payer::NONE;
        return Claim::Ours;
    }
    match FLOWS.insert(&*key, &*reply, BPF_ANY) {
        Ok(()) => {
            *charge = charge::IN_PLACE;
            Claim::Ours
        }
        Err(_) => {
            *replaced = Payer::NONE;
            Claim::Full
        }
    }
}

/// Enters the direction of the first packet, and takes the claim back when that fails. A call of its own, so that the search
/// for a port has the stack.
#[inline(never)]
fn complete(beginning: &mut Beginning) -> Result<(), Reason> {
    beginning.flow = beginning.new.original();
    match insert(&beginning.new.key, &beginning.flow) {
        0 => Ok(()),
        // Another CPU began the same flow with another packet: that one counts.
        EEXIST => {
            give_back(beginning);
            Ok(())
        }
        _ => {
            if FLOWS.remove(&beginning.reply_key).is_ok() {
                beginning.charge = charge::OPEN;
            }
            Err(Reason::FlowTableFull)
        }
    }
}

/// Takes a claim back that the flow which is there does not use: it was begun with another port. One that it does use is
/// its own.
#[inline(always)]
fn give_back(beginning: &mut Beginning) {
    let Beginning { new, reply_key: key, twin_key: twin, charge, .. } = beginning;
    let Some(there) = FLOWS.get_ptr(&new.key) else { return };
    // SAFETY: the kernel keeps the value in place while the program runs; it is read only.
    unsafe { *twin = (*there).twin_key(&new.key) };
    if *twin != *key && FLOWS.remove(&*key).is_ok() {
        *charge = charge::OPEN;
    }
}

/// Inserts a key that is not there yet. Zero, or an errno.
#[inline(never)]
fn insert(key: &FlowKey, flow: &Flow) -> i32 {
    FLOWS.insert(key, flow, BPF_NOEXIST).err().unwrap_or(0)
}
