//! The flow table under pressure: what each payer has ([`netdp_common::quota`]), the rings of half-open flows, and the sweep.
//!
//! All of it happens when a flow begins or ends, and nothing when a packet follows one. The calls stand beside those that begin
//! a flow, never inside of them: the stack of a chain of calls is 512 bytes in all.

use core::ffi::c_void;
use core::ptr::null_mut;

use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns, bpf_loop, bpf_map_pop_elem};
use netdp_common::quota::{
    self, Kind, LEDGER_TRIES, Limit, PROBES, Payer, Place, Quota, Release, SWEEP_SHIFT, SWEEP_SLOTS,
};
use netdp_common::timers::State;
use netdp_common::{Flow, FlowKey, Reason};

use super::call;
use super::clock;
use super::conntrack::{self, BPF_ANY, BPF_NOEXIST};
use super::mapping;
use super::maps::{FLOW_CAPACITY, FLOWS, HALF_OPEN, LEDGER, QUOTAS, RELEASED, SETTINGS, SWEPT};
use super::scratch;

/// Elements of `RELEASED` that one packet takes in.
const RELEASES: u32 = 64;

/// What is being counted.
#[repr(C)]
pub(super) struct Account {
    /// Who pays for the flow that is begun.
    payer: Payer,
    /// Whose count is changed.
    whose: Payer,
    place: Place,
    release: Release,
    /// A flow of the ring or the ledger, and its other direction.
    key: FlowKey,
    twin: FlowKey,
    /// The time in ticks.
    now: u32,
    /// Where the sweep, or the search for a place, is.
    at: u32,
    /// Whether a port is charged for.
    port: u32,
    /// Whether little is left of what the payer may have.
    is_short: u32,
}

/// What became of the flow that is paid for. As a number, for it stands in a map.
pub(super) mod charge {
    /// Nothing is paid for.
    pub(crate) const NONE: u32 = 0;
    /// Paid for, and not there.
    pub(crate) const OPEN: u32 = 1;
    /// The entry of its replies is new.
    pub(crate) const NEW: u32 = 2;
    /// The entry of its replies has taken the place of another one's.
    pub(crate) const IN_PLACE: u32 = 3;
}

/// Charges for the prepared flow, before it is begun; refuses it when its payer has all that it may have.
#[inline(always)]
pub(super) fn enter() -> Result<(), Reason> {
    call::outcome(quota_enter())
}

/// Gives back what was charged for a flow that was not begun, and enters one that was into ledger and ring.
#[inline(always)]
pub(super) fn settle() {
    quota_settle();
}

/// Sweeps a part of the table, at most once in 4 ms. Whether it did.
#[inline(always)]
pub(super) fn relieve() -> bool {
    quota_relieve() != 0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn quota_enter() -> u32 {
    call::failed(admit())
}

#[inline(always)]
fn admit() -> Result<(), Reason> {
    let (Ok(beginning), Some(account)) = (conntrack::beginning(), scratch::account()) else {
        return Err(Reason::FlowTableFull);
    };
    let new = &beginning.new;
    account.payer = Payer::by(new.back.exit, new.back.ifindex, new.owner);
    (beginning.charge, beginning.replaced) = (charge::NONE, Payer::NONE);
    let wants_port = mapping::wants_port();
    // A container that meets another one, or itself, takes an outside port too.
    account.port = u32::from(wants_port);
    let mut reason = pay();
    if reason != 0 && relieve() {
        reason = pay();
    }
    if reason == 0 {
        beginning.charge = charge::OPEN;
        // Room is made before it is needed.
        if account.is_short != 0 {
            relieve();
        }
    } else {
        account.port = 0;
    }
    call::outcome(reason)
}

/// Takes what the flow needs, or nothing. Zero, or a reason.
#[inline(never)]
fn pay() -> u32 {
    let Some(account) = scratch::account() else { return Reason::FlowTableFull.number() };
    account.is_short = 0;
    account.whose = Payer::ALL;
    let (all, open) = (used(), quota::open_to_containers(FLOW_CAPACITY.load(), limit(Limit::Reserve)));
    if account.payer.kind.0 == Kind::BEGINS.0 && quota::is_spent(all, open) {
        return Reason::FlowTableReserved.number();
    }
    if quota::is_spent(all, open - open / 4) {
        account.is_short = 1;
    }
    account.whose = account.payer;
    if !take(limit(Limit::Flows)) {
        return Reason::Quota.number();
    }
    if account.port != 0 {
        account.whose = Payer::of_port(account.payer.ifindex);
        if !take(limit(Limit::Ports)) {
            account.whose = account.payer;
            add(u64::MAX);
            return Reason::Quota.number();
        }
    }
    account.whose = Payer::ALL;
    add(1);
    0
}

/// What an operator has set.
#[inline(always)]
fn limit(limit: Limit) -> u32 {
    limit.value(SETTINGS.get(limit.row()).copied().unwrap_or(0))
}

/// The row of the payer `whose`, made when it is not there.
#[inline(always)]
fn row() -> Option<*mut Quota> {
    let account = scratch::account()?;
    if let Some(row) = QUOTAS.get_ptr_mut(&account.whose) {
        return Some(row);
    }
    let _ = QUOTAS.insert(&account.whose, &Quota::NONE, BPF_NOEXIST);
    QUOTAS.get_ptr_mut(&account.whose)
}

/// Adds to a field of a row that other CPUs change too, and says what it was before. By the instruction itself: the compiler
/// offers no atomic additions for this target.
///
/// # Safety
/// The field is one of a value that the kernel returned, which it keeps in place while the program runs.
#[inline(always)]
unsafe fn fetch_add(field: *mut u64, count: u64) -> u64 {
    let mut value = count;
    // SAFETY: by the contract of this function; the field is aligned.
    unsafe {
        core::arch::asm!(
            "{value} = atomic_fetch_add((u64 *)({field} + 0), {value})",
            field = in(reg) field,
            value = inout(reg) value,
            options(nostack, preserves_flags),
        );
    }
    value
}

/// What the payer `whose` has.
#[inline(never)]
fn used() -> u64 {
    let Some(account) = scratch::account() else { return 0 };
    match QUOTAS.get_ptr_mut(&account.whose) {
        // SAFETY: the kernel returned it.
        Some(row) => unsafe { (*row).used },
        None => 0,
    }
}

/// One more for the payer `whose`, unless that is more than it may have. Added first and looked at then, so that two CPUs never
/// both take the last one.
#[inline(never)]
fn take(limit: u32) -> bool {
    let (Some(row), Some(account)) = (row(), scratch::account()) else { return false };
    // SAFETY: the kernel returned it.
    unsafe {
        let used = fetch_add(&raw mut (*row).used, 1);
        if quota::is_spent(used, limit - limit / 4) {
            account.is_short = 1;
        }
        if quota::is_spent(used, limit) {
            fetch_add(&raw mut (*row).used, u64::MAX);
            return false;
        }
        fetch_add(&raw mut (*row).changes, 1);
    }
    true
}

/// Adds to what the payer `whose` has; a two's complement. To one whose row is gone, which was deleted with its veth, nothing is
/// given back.
#[inline(never)]
fn add(count: u64) -> u32 {
    let is_less = count.cast_signed() < 0;
    let found = if is_less { scratch::account().and_then(|a| QUOTAS.get_ptr_mut(&a.whose)) } else { row() };
    let Some(row) = found else { return 0 };
    let changes = if is_less { count.wrapping_neg() } else { count };
    // SAFETY: the kernel returned it.
    unsafe {
        fetch_add(&raw mut (*row).used, count);
        fetch_add(&raw mut (*row).changes, changes);
    }
    0
}

/// Adds to the flows of a payer, and to those of all. Never at an end of a chain of calls that is long already.
#[inline(never)]
fn add_flows(count: u64) -> u32 {
    add(count);
    if let Some(account) = scratch::account() {
        account.whose = Payer::ALL;
    }
    add(count)
}

/// Counts an entry that was written without being asked for: a direction that had been lost.
#[inline(always)]
pub(super) fn healed(flow: &Flow) {
    if flow.is_reply()
        && let Some(account) = scratch::account()
    {
        account.whose = Payer::of(flow);
        add_flows(1);
    }
}

/// Deletes an entry of the flow table; what it has cost is given back by the one who has deleted it.
#[inline(never)]
pub(super) fn forget(key: &FlowKey) -> u32 {
    let (Some(account), Some(flow)) = (scratch::account(), FLOWS.get_ptr(key)) else { return 0 };
    // SAFETY: the kernel keeps the value in place while the program runs; it is read only. Who pays is read before it may be
    // another flow's.
    let is_reply = unsafe {
        account.whose = Payer::of(&*flow);
        (*flow).is_reply()
    };
    if FLOWS.remove(key).is_ok() && is_reply {
        add_flows(u64::MAX);
    }
    0
}

/// Gives an outside port back.
#[inline(always)]
pub(super) fn forget_port(owner: u32) {
    if let Some(account) = scratch::account() {
        account.whose = Payer::of_port(owner);
        add(u64::MAX);
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn quota_settle() -> u32 {
    let (Ok(beginning), Some(account)) = (conntrack::beginning(), scratch::account()) else { return 0 };
    if beginning.replaced.ifindex != 0 {
        account.whose = beginning.replaced;
        add_flows(u64::MAX);
    }
    match beginning.charge {
        charge::OPEN => {
            account.whose = account.payer;
            add_flows(u64::MAX);
        }
        charge::NEW => {
            enrol(&beginning.reply_key);
            queue_up();
        }
        charge::IN_PLACE => {
            queue_up();
        }
        _ => {}
    }
    settle_port();
    0
}

/// A port that was charged for and not taken is given back; one that was taken without being charged for is counted.
#[inline(always)]
fn settle_port() {
    let Some(account) = scratch::account() else { return };
    let owed = mapping::taken_ports().wrapping_sub(u64::from(account.port));
    if owed != 0 {
        account.whose = Payer::of_port(account.payer.ifindex);
        add(owed);
    }
    account.port = 0;
}

/// Enters the begun flow into the ring of its payer, if it is half-open. Where the place whose turn it is is taken, some others
/// are looked at; where those are taken too, the flow in the first makes room.
#[inline(never)]
fn queue_up() -> u32 {
    let (Ok(beginning), Some(account)) = (conntrack::beginning(), scratch::account()) else { return 0 };
    if !quota::is_half_open(beginning.new.state) && beginning.new.state as u8 != State::Icmp as u8 {
        return 0;
    }
    account.whose = account.payer;
    let Some(row) = row() else { return 0 };
    // SAFETY: the kernel returned it.
    let turn = unsafe { fetch_add(&raw mut (*row).next, 1) } as u32;
    let places = limit(Limit::HalfOpen);
    (account.place.payer, account.place.number) = (account.payer, rest(turn, places));
    if is_taken() {
        account.at = places;
        // SAFETY: the callback has the signature that the helper calls, and takes no context.
        unsafe { bpf_loop(PROBES, probe as *mut c_void, null_mut(), 0) };
        if account.at != 0 {
            account.place.number = rest(turn, places);
            if is_taken() {
                conntrack::end(&account.key, &account.twin);
            }
        }
    }
    let _ = HALF_OPEN.insert(&account.place, &beginning.new.key, BPF_ANY);
    0
}

/// Looks at any other place; `at` is the number of places, and zero when one is found that is free.
unsafe extern "C" fn probe(_n: u32, _context: *mut c_void) -> i64 {
    let Some(account) = scratch::account() else { return 1 };
    // SAFETY: the helper takes nothing.
    account.place.number = rest(unsafe { bpf_get_prandom_u32() }, account.at);
    if is_taken() {
        return 0;
    }
    account.at = 0;
    1
}

/// Whether there is a half-open flow in the place; if so, its keys are put beside.
#[inline(never)]
fn is_taken() -> bool {
    let Some(account) = scratch::account() else { return false };
    let Some(held) = HALF_OPEN.get_ptr(&account.place) else { return false };
    // SAFETY: the kernel keeps the values in place while the program runs; they are read only.
    unsafe {
        account.key = *held;
        let Some(flow) = FLOWS.get_ptr(&account.key) else { return false };
        account.twin = (*flow).twin_key(&account.key);
        let state = State::from_number((*flow).state);
        if state as u8 != State::Icmp as u8 {
            return quota::is_half_open(state);
        }
        FLOWS.get_ptr(&account.twin).is_none_or(|reply| (*reply).packets == 0)
    }
}

/// What is left of a number; the compiler asks what becomes of a division by zero.
#[inline(always)]
fn rest(number: u32, by: u32) -> u32 {
    number.checked_rem(by).unwrap_or(0)
}

/// Slots of the ledger: two for each flow.
#[inline(always)]
fn slots() -> u32 {
    FLOW_CAPACITY.load() * 2
}

/// Enters a flow into the ledger, at one of a few slots that its key leads to: an empty one, its own of before, or one whose flow
/// is gone. One that finds none is left to the controller's sweep.
#[inline(always)]
fn enrol(reply: &FlowKey) {
    let Some(account) = scratch::account() else { return };
    account.at = quota::ledger_slot(reply);
    // SAFETY: as in `queue_up`.
    unsafe { bpf_loop(LEDGER_TRIES, try_slot as *mut c_void, null_mut(), 0) };
}

unsafe extern "C" fn try_slot(n: u32, _context: *mut c_void) -> i64 {
    let (Ok(beginning), Some(account)) = (conntrack::beginning(), scratch::account()) else { return 1 };
    let Some(slot) = LEDGER.get_ptr_mut(rest(account.at.wrapping_add(n), slots())) else { return 1 };
    // SAFETY: the kernel keeps the value in place while the program runs. Another CPU may write it meanwhile: a key of two halves
    // is that of no flow, and its slot is free.
    unsafe {
        account.key = *slot;
        let is_free = account.key == beginning.reply_key || FLOWS.get_ptr(&account.key).is_none();
        if is_free {
            *slot = beginning.reply_key;
        }
        i64::from(is_free)
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn quota_relieve() -> u32 {
    u32::from(sweep())
}

/// Takes in what the controller has given back, and deletes the flows that have ended or are over, in so many slots: so the table
/// needs no process beside it to stay usable, and no packet pays for all of it.
#[inline(always)]
fn sweep() -> bool {
    let (Some(account), Some(swept)) = (scratch::account(), SWEPT.get_ptr_mut(0)) else { return false };
    // SAFETY: the helper takes nothing and reads a clock.
    let time = unsafe { bpf_ktime_get_coarse_ns() >> SWEEP_SHIFT } as u32;
    // SAFETY: the slot is an aligned u32; two CPUs that both find it old sweep one part after the other. The callbacks have the
    // signature that the helper calls, and take no context.
    unsafe {
        if *swept == time {
            return false;
        }
        *swept = time;
        bpf_loop(RELEASES, take_in as *mut c_void, null_mut(), 0);
        account.now = clock::now();
        account.whose = Payer::ALL;
        let Some(row) = row() else { return false };
        account.at = fetch_add(&raw mut (*row).next, u64::from(SWEEP_SLOTS)) as u32;
        bpf_loop(SWEEP_SLOTS, sweep_slot as *mut c_void, null_mut(), 0);
        bpf_loop(SWEEP_SLOTS, sweep_held as *mut c_void, null_mut(), 0);
    }
    true
}

/// Takes in one element of what was given back.
unsafe extern "C" fn take_in(_n: u32, _context: *mut c_void) -> i64 {
    let Some(account) = scratch::account() else { return 1 };
    // SAFETY: the helper writes as many bytes as the queue's values have, and checks that they are there.
    if unsafe { bpf_map_pop_elem((&raw const RELEASED).cast_mut().cast(), (&raw mut account.release).cast()) }
        != 0
    {
        return 1;
    }
    account.whose = account.release.payer;
    let count = account.release.count.wrapping_neg();
    if account.whose.kind.0 == Kind::PORTS.0 {
        add(count);
    } else {
        add_flows(count);
    }
    0
}

/// Looks at one slot of the ledger.
unsafe extern "C" fn sweep_slot(n: u32, _context: *mut c_void) -> i64 {
    let Some(account) = scratch::account() else { return 1 };
    let Some(slot) = LEDGER.get_ptr_mut(rest(account.at.wrapping_add(n), slots())) else { return 1 };
    // SAFETY: as in `try_slot`.
    unsafe {
        account.key = *slot;
        if account.key.proto == 0 && account.key.zone.0 == 0 {
            return 0;
        }
        if let Some(flow) = FLOWS.get_ptr(&account.key) {
            account.twin = (*flow).twin_key(&account.key);
            if !conntrack::may_make_room(flow, &account.twin, account.now) {
                return 0;
            }
            conntrack::end(&account.key, &account.twin);
        }
        *slot = FlowKey::NONE;
    }
    0
}

/// Looks at one slot of the ledger of mappings.
unsafe extern "C" fn sweep_held(n: u32, _context: *mut c_void) -> i64 {
    let Some(account) = scratch::account() else { return 1 };
    mapping::sweep_slot(account.at.wrapping_add(n), account.now);
    0
}
