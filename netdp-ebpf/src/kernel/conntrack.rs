//! The flow table: find, follow, begin, end.

use core::ffi::c_void;
use core::ptr::addr_of;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::{bpf_for_each_map_elem, bpf_get_prandom_u32, bpf_ktime_get_coarse_ns, bpf_loop};
use netdp_common::timers::{State, ticks};
use netdp_common::tracker;
use netdp_common::translate::{Delivery, NewFlow, PORT_TRIES, candidate, mirror};
use netdp_common::{Flow, FlowKey, Reason, Zone};

use super::access::Packet;
use super::maps::{BEGINNING, FLOWS, LINKS, SWEPT};
use super::parse::Tuple;
use super::sockets;

/// Update flags and errors of `linux/bpf.h` and `errno.h`.
const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;
const EEXIST: i32 = -17;
const E2BIG: i32 = -7;

/// The time in ticks.
#[inline(always)]
pub(super) fn now() -> u32 {
    // SAFETY: the helper takes nothing and reads a clock.
    ticks(unsafe { bpf_ktime_get_coarse_ns() })
}

/// The live entry of a packet, with its state, stamp and counts brought up to date. One look-up, and a second one
/// only when the state changes or the entry seems to have expired.
#[inline(always)]
pub(super) fn follow(packet: &Packet, tuple: &Tuple) -> Option<*mut Flow> {
    let flow = FLOWS.get_ptr_mut(&tuple.key)?;
    let now = now();
    // SAFETY: the kernel keeps the value in place while the program runs. Other CPUs may write the same fields;
    // each is a single aligned store of a value that is right by itself.
    unsafe {
        if (*flow).seen != now && !refresh(&tuple.key, flow, now, packet.ifindex()) {
            return None;
        }
        let state = State::from_number((*flow).state);
        let next = tracker::next(state, (*flow).is_reply(), tuple.flags);
        if next != state {
            change(&tuple.key, flow, next);
        }
        let segments = packet.gso_segs();
        (*flow).packets += u64::from(if segments == 0 { 1 } else { segments });
        (*flow).bytes += u64::from(packet.len());
    }
    Some(flow)
}

/// The live entry of a tuple, left as it is.
#[inline(always)]
pub(super) fn peek(key: &FlowKey) -> Option<&'static Flow> {
    let flow = FLOWS.get_ptr(key)?;
    // SAFETY: the kernel keeps the value in place while the program runs; it is read only.
    unsafe { if has_ended(flow, &(*flow).twin_key(key), now()) { None } else { Some(&*flow) } }
}

/// Stamps an entry that was last seen in another tick, in a packet that came in by `ifindex`; ends it and says `false`
/// when it has expired. A call of its own, as is `change`: both are rare, and their keys are not to lie on the stack of every packet.
///
/// # Safety
/// `flow` is the value that the kernel returned for `key`.
#[inline(never)]
unsafe fn refresh(key: &FlowKey, flow: *mut Flow, now: u32, ifindex: u32) -> bool {
    // SAFETY: by the contract of this function.
    unsafe {
        let twin = (*flow).twin_key(key);
        if has_ended(flow, &twin, now) {
            end(key, &twin);
            return false;
        }
        (*flow).seen = now;
        if FLOWS.get_ptr(&twin).is_none() {
            heal(key, &*flow, &twin, ifindex);
        }
    }
    true
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
    let _ = FLOWS.insert(twin, &beginning.flow, BPF_NOEXIST);
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
        let state = State::from_number((*flow).state);
        if !state.has_expired((*flow).seen, now) {
            return false;
        }
        match FLOWS.get_ptr(twin) {
            Some(twin) => State::from_number((*twin).state).has_expired((*twin).seen, now),
            None => true,
        }
    }
}

/// Writes a new state to both directions.
///
/// # Safety
/// `flow` is the value that the kernel returned for `key`.
#[inline(never)]
unsafe fn change(key: &FlowKey, flow: *mut Flow, next: State) {
    // SAFETY: by the contract of this function; the twin is a value that the kernel returned.
    unsafe {
        (*flow).state = next.number();
        if let Some(twin) = FLOWS.get_ptr_mut((*flow).twin_key(key)) {
            (*twin).state = next.number();
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
        }
    }
}

/// Forgets both directions. That either was gone already is what is wanted.
#[inline(always)]
fn end(key: &FlowKey, twin: &FlowKey) {
    let _ = FLOWS.remove(key);
    let _ = FLOWS.remove(twin);
}

/// A flow that is being begun, and the row that is being written: too large for the 512 bytes of stack.
#[repr(C)]
pub(super) struct Beginning {
    new: NewFlow,
    reply_key: FlowKey,
    twin_key: FlowKey,
    flow: Flow,
}

/// The place on this CPU for a flow that is to be begun. Programs run with softirqs off and are not nested, so it is
/// the caller's until it returns its verdict.
#[inline(always)]
pub(super) fn prepare() -> Result<&'static mut NewFlow, Reason> {
    Ok(&mut beginning()?.new)
}

#[inline(always)]
fn beginning() -> Result<&'static mut Beginning, Reason> {
    let slot = BEGINNING.get_ptr_mut(0).ok_or(Reason::FlowTableFull)?;
    // SAFETY: the slot is this CPU's, zeroed by the kernel at first and a whole `Beginning`; nobody else uses it
    // while this program runs (above). All of its fields are integers.
    Ok(unsafe { &mut *slot })
}

/// Begins the prepared flow. Its source port is the client's own; only one that has used it already for another
/// published port of the same container is given another one, for the container answers both from one port.
#[inline(always)]
pub(super) fn begin(packet: &Packet) -> Result<(), Reason> {
    match begin_untranslated() {
        Claim::Ours => Ok(()),
        Claim::Taken => begin_translated(packet),
        Claim::Full => Err(Reason::FlowTableFull),
    }
}

#[inline(never)]
fn begin_untranslated() -> Claim {
    let Ok(beginning) = beginning() else { return Claim::Full };
    match claim(beginning) {
        Claim::Ours if complete(beginning).is_err() => Claim::Full,
        claim => claim,
    }
}

/// The search for a source port: the context of its callback.
struct Search {
    skb: *mut __sk_buff,
    claim: Claim,
}

/// Begins the prepared flow with its source translated: the port is kept when it is free, else chosen.
#[inline(never)]
pub(super) fn begin_translated(packet: &Packet) -> Result<(), Reason> {
    let mut search = Search { skb: packet.skb(), claim: Claim::Taken };
    let context = core::ptr::from_mut(&mut search).cast::<c_void>();
    // SAFETY: the callback has the signature that the helper calls, and the context outlives the call.
    unsafe { bpf_loop(PORT_TRIES, try_port as *mut c_void, context, 0) };
    match search.claim {
        Claim::Ours => complete(beginning()?),
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
        new.sport = candidate(new.key.proto, new.key.sport, n, bpf_get_prandom_u32());
        beginning.reply_key = new.reply_key();
        if sockets::holds((*search).skb, &beginning.reply_key) {
            return 0;
        }
        (*search).claim = claim(beginning);
        match (*search).claim {
            Claim::Taken => 0,
            Claim::Ours | Claim::Full => 1,
        }
    }
}

/// The outcome of asking for the tuple of the replies.
#[derive(Clone, Copy)]
enum Claim {
    Ours,
    Taken,
    Full,
}

/// Takes the tuple of the replies, which is what makes a translated port ours: the insertion is atomic, so two
/// CPUs never take one tuple.
#[inline(always)]
fn claim(beginning: &mut Beginning) -> Claim {
    beginning.reply_key = beginning.new.reply_key();
    beginning.flow = beginning.new.reply();
    match insert(&beginning.reply_key, &beginning.flow) {
        0 => Claim::Ours,
        EEXIST => reclaim(beginning),
        _ => Claim::Full,
    }
}

/// Takes a tuple that is held already, if by a flow that has ended, or by what is left of this very flow.
#[inline(never)]
fn reclaim(beginning: &mut Beginning) -> Claim {
    let Beginning { new, reply_key: key, flow: reply, twin_key: twin } = beginning;
    let Some(held) = FLOWS.get_ptr(&*key) else { return Claim::Taken };
    // SAFETY: the kernel keeps the value in place while the program runs; it is read only.
    let ours = unsafe {
        *twin = (*held).twin_key(key);
        *twin == new.key || has_ended(held, twin, reply.seen)
    };
    if !ours {
        return Claim::Taken;
    }
    // What the ended flow left in the other direction would lead here: it goes first.
    let _ = FLOWS.remove(&*twin);
    match FLOWS.insert(&*key, &*reply, BPF_ANY) {
        Ok(()) => Claim::Ours,
        Err(_) => Claim::Full,
    }
}

/// Enters the direction of the first packet, and takes the claim back when that fails.
#[inline(always)]
fn complete(beginning: &mut Beginning) -> Result<(), Reason> {
    beginning.flow = beginning.new.original();
    match insert(&beginning.new.key, &beginning.flow) {
        0 => Ok(()),
        error => {
            let _ = FLOWS.remove(&beginning.reply_key);
            // Another CPU began the same flow with another packet: that one counts.
            if error == EEXIST { Ok(()) } else { Err(Reason::FlowTableFull) }
        }
    }
}

/// Inserts a key that is not there yet. A full table is swept of ended flows, at most once a tick; what is live
/// stays, and the new flow is refused. So the table needs no process beside it to stay usable. Zero, or an errno.
#[inline(never)]
fn insert(key: &FlowKey, flow: &Flow) -> i32 {
    match FLOWS.insert(key, flow, BPF_NOEXIST) {
        Err(E2BIG) if sweep(flow.seen) => FLOWS.insert(key, flow, BPF_NOEXIST).err().unwrap_or(0),
        Err(error) => error,
        Ok(()) => 0,
    }
}

/// Deletes the flows that have ended; `false` when that was done in this tick already.
#[inline(always)]
fn sweep(now: u32) -> bool {
    let Some(swept) = SWEPT.get_ptr_mut(0) else { return false };
    let mut now = now;
    // SAFETY: the slot is an aligned u32; two CPUs that both find it old both sweep, which is harmless. The
    // callback has the signature that the helper calls, and `now` outlives the call.
    unsafe {
        if *swept == now {
            return false;
        }
        *swept = now;
        let map = addr_of!(FLOWS).cast_mut().cast::<c_void>();
        let context = core::ptr::from_mut(&mut now).cast::<c_void>();
        bpf_for_each_map_elem(map, sweep_one as *mut c_void, context, 0);
    }
    true
}

unsafe extern "C" fn sweep_one(
    _map: *mut c_void,
    key: *const FlowKey,
    flow: *mut Flow,
    now: *mut u32,
) -> i64 {
    // SAFETY: the kernel calls this with a key and value of the map, and with the context given to the helper.
    unsafe {
        if has_ended(flow, &(*flow).twin_key(&*key), *now) {
            let _ = FLOWS.remove(&*key);
        }
    }
    0
}
