//! What an uplink receives, before it costs the host a socket buffer: refused is only what nobody sends for a good
//! reason, and whom the operator does not want to hear. Whatever this is not sure of passes; so does all that is not IP,
//! and neighbour discovery.
//!
//! A source that is the host's own address is refused when it cannot be meant well. It can:
//! - in neighbour discovery, where another host may defend the same address;
//! - in frames for many, which a second interface on the same segment hears when the first one sends them;
//! - from a link-local address, which a router on another link may have too;
//! - when the operator has said so (`accept_local`): two interfaces joined by a cable, or a router that sends back what
//!   is for a public address. Without that the host's stack refuses such packets too, if they are IPv4.

use core::ffi::c_void;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_loop;
use aya_ebpf::maps::lpm_trie::Key;
use netdp_common::ipv4::Ipv4Header;
use netdp_common::ipv6::{self, Extension, Ipv6Header, MAX_EXTENSIONS, extension};
use netdp_common::prefilter::{
    MAX_OPTIONS, flags, is_cut, is_neighbour_discovery, is_source_route, length4, length6, option_len,
};
use netdp_common::{Addr, FlowKey, Reason, Zone, subnet};

use super::deny;
use super::frame::{Frame, MAX_OFFSET};
use super::maps::{HOST_ADDRS, SUBNETS, WIRE};
use super::parse::{ETH_LEN, EthHeader, ethertype};

/// Tag of a VLAN (IEEE 802.1Q), as it stands in the frame.
const VLAN: u16 = 0x8100_u16.to_be();
/// Outer tag of two (IEEE 802.1ad).
const VLAN_OUTER: u16 = 0x88a8_u16.to_be();
/// The number of the VLAN in a tag; above it are priority and eligibility.
const VLAN_ID: u16 = 0x0fff_u16.to_be();
/// Tags that are looked behind.
const MAX_TAGS: u32 = 2;

/// `Err` says why the frame is dropped; `seen` is filled as far as headers were read.
#[inline(always)]
pub(super) fn decide(frame: &Frame, seen: &mut FlowKey) -> Result<(), Reason> {
    let Some(eth) = frame.read::<EthHeader>(0) else { return Ok(()) };
    let (kind, at) = untagged(frame, eth.ethertype);
    let may_discover = match kind {
        ethertype::IPV4 => ipv4(frame, at, seen)?,
        ethertype::IPV6 => ipv6(frame, at, seen)?,
        _ => return Ok(()),
    };
    if seen.src.is_loopback() || seen.dst.is_loopback() {
        return Err(Reason::LoopbackFromWire);
    }
    if may_discover {
        return Ok(());
    }
    source(seen.src, eth.dst.is_group())
}

/// What the frame carries, and where that begins. A tag without a VLAN is only a priority, and the frame is the
/// interface's own; one of a VLAN is for that VLAN's interface, which is an uplink of its own or none.
#[inline(always)]
fn untagged(frame: &Frame, mut kind: u16) -> (u16, u32) {
    let mut at = ETH_LEN;
    for _ in 0..MAX_TAGS {
        if kind != VLAN && kind != VLAN_OUTER {
            break;
        }
        let Some([tag, behind]) = frame.read::<[u16; 2]>(at) else { break };
        if tag & VLAN_ID != 0 {
            break;
        }
        (kind, at) = (behind, at + 4);
    }
    (kind, blurred(frame, at))
}

/// The same offset, as one that the verifier cannot tell from others: no frame is so long that something is added. What
/// follows is then walked through once, and not for each number of tags, of options and of extension headers anew.
#[inline(always)]
fn blurred(frame: &Frame, at: u32) -> u32 {
    (at + (frame.len() >> 23)) & MAX_OFFSET
}

/// Whether the source may be heard from the wire.
#[inline(always)]
fn source(source: Addr, for_many: bool) -> Result<(), Reason> {
    if SUBNETS.get(Key::new(128, source)).is_some_and(|row| *row & subnet::ON_LAN == 0) {
        return Err(Reason::ContainerFromWire);
    }
    // SAFETY: the controller replaces entries whole, and the map is not preallocated.
    if unsafe { HOST_ADDRS.get(&source) }.is_some() && !for_many && !is_link_local(source) && !accepts_local()
    {
        return Err(Reason::HostFromWire);
    }
    if deny::refused(source) {
        return Err(Reason::Denied);
    }
    Ok(())
}

#[inline(always)]
fn accepts_local() -> bool {
    WIRE.get(0).is_some_and(|slot| *slot & flags::ACCEPT_LOCAL != 0)
}

/// fe80::/10 or 169.254.0.0/16 (RFC 4291, 2.5.6; RFC 3927).
#[inline(always)]
fn is_link_local(addr: Addr) -> bool {
    if addr.is_v4() {
        return u32::from_be(addr.v4_be()) >> 16 == 0xa9fe;
    }
    u32::from_be(addr.0[0]) >> 22 == 0xfe80_0000 >> 22
}

/// Judges an IPv4 header, and notes its addresses.
#[inline(always)]
fn ipv4(frame: &Frame, at: u32, seen: &mut FlowKey) -> Result<bool, Reason> {
    let header: Ipv4Header = frame.read(at).ok_or(Reason::Malformed)?;
    note(seen, header.src(), header.dst(), header.proto);
    let room = frame.len() - at;
    let header_len = header.header_len(room)?;
    let len = length4(&header, room)?;
    if header_len > 20 {
        options(frame, at + 20, header_len - 20)?;
    }
    if !header.is_fragment() && is_cut(header.proto, len - header_len) {
        return Err(Reason::Malformed);
    }
    Ok(false)
}

/// Walks the options of an IPv4 header, `len` bytes from `at` on. By a callback, which the verifier walks through a few
/// times and not once for each way to divide forty bytes.
#[inline(always)]
fn options(frame: &Frame, at: u32, len: u32) -> Result<(), Reason> {
    let mut walk = Options { ctx: frame.ctx(), at, len, done: blurred(frame, 0) & 0x3f, found: FINE };
    let context = core::ptr::from_mut(&mut walk).cast::<c_void>();
    // SAFETY: the callback has the signature that the helper calls, and the context outlives the call.
    unsafe { bpf_loop(MAX_OPTIONS, next_option as *mut c_void, context, 0) };
    match walk.found {
        FINE => Ok(()),
        SOURCE_ROUTE => Err(Reason::SourceRouted),
        _ => Err(Reason::Malformed),
    }
}

/// A walk over options: the context of its callback.
struct Options {
    ctx: *mut xdp_md,
    at: u32,
    len: u32,
    done: u32,
    found: u32,
}

/// What a walk has found, as a plain number: the verifier forgets half of an enum that lies on the stack.
const FINE: u32 = 0;
const SOURCE_ROUTE: u32 = 1;
const WRONG: u32 = 2;
/// Nothing more that can be judged.
const END: u32 = 3;

/// One option; ends the walk by returning 1.
unsafe extern "C" fn next_option(_n: u32, walk: *mut Options) -> i64 {
    // SAFETY: the kernel passes on the context that was given to `bpf_loop`.
    let walk = unsafe { &mut *walk };
    if walk.done >= walk.len {
        return 1;
    }
    // Of an option that is the packet's last byte there is no second one.
    let Some([kind, option]) = Frame::of(walk.ctx).read::<[u8; 2]>(walk.at + walk.done) else { return 1 };
    match option_len(kind, option, walk.len - walk.done) {
        Ok(0) => 1,
        Ok(step) => {
            walk.done = (walk.done + step) & 0x3f;
            0
        }
        Err(Reason::SourceRouted) => {
            walk.found = SOURCE_ROUTE;
            1
        }
        Err(_) => {
            walk.found = WRONG;
            1
        }
    }
}

/// Judges an IPv6 header and those behind it, and notes the addresses. Says whether this is neighbour discovery.
#[inline(always)]
fn ipv6(frame: &Frame, at: u32, seen: &mut FlowKey) -> Result<bool, Reason> {
    let header: Ipv6Header = frame.read(at).ok_or(Reason::Malformed)?;
    note(seen, header.src, header.dst, header.next);
    let room = frame.len() - at;
    header.check(room)?;
    // The stack refuses a mapped source, and here it would be taken for the IPv4 address that it is not.
    if header.src.is_v4() || header.dst.is_v4() {
        return Err(Reason::LoopbackFromWire);
    }
    let end = at + length6(&header, room);
    let Some((next, at)) = extensions(frame, header.next, at + ipv6::LEN, end)? else { return Ok(false) };
    seen.proto = next;
    if is_cut(next, end - at) {
        return Err(Reason::Malformed);
    }
    let kind = frame.read::<[u8; 2]>(at).map_or(0, |[kind, _]| kind);
    Ok(is_neighbour_discovery(next, kind, header.hop_limit))
}

/// Walks the extension headers as far as they lead to a transport header: its protocol and place.
#[inline(always)]
fn extensions(frame: &Frame, next: u8, at: u32, end: u32) -> Result<Option<(u8, u32)>, Reason> {
    if !Extension::is(next) {
        return Ok(Some((next, at)));
    }
    let mut walk = Extensions { ctx: frame.ctx(), at, end, next: u32::from(next), found: FINE };
    let context = core::ptr::from_mut(&mut walk).cast::<c_void>();
    // SAFETY: the callback has the signature that the helper calls, and the context outlives the call.
    unsafe { bpf_loop(MAX_EXTENSIONS, next_extension as *mut c_void, context, 0) };
    let next = walk.next as u8;
    match walk.found {
        FINE if !Extension::is(next) => Ok(Some((next, walk.at))),
        FINE | END => Ok(None),
        SOURCE_ROUTE => Err(Reason::SourceRouted),
        _ => Err(Reason::Malformed),
    }
}

/// A walk over extension headers: the context of its callback.
struct Extensions {
    ctx: *mut xdp_md,
    at: u32,
    end: u32,
    next: u32,
    found: u32,
}

/// One extension header; ends the walk by returning 1.
unsafe extern "C" fn next_extension(_n: u32, walk: *mut Extensions) -> i64 {
    // SAFETY: the kernel passes on the context that was given to `bpf_loop`.
    let walk = unsafe { &mut *walk };
    let kind = walk.next as u8;
    if !Extension::is(kind) {
        return 1;
    }
    walk.found = extension_at(walk, kind);
    i64::from(walk.found != FINE)
}

#[inline(always)]
fn extension_at(walk: &mut Extensions, kind: u8) -> u32 {
    let Some(header) = Frame::of(walk.ctx).read::<Extension>(walk.at) else { return WRONG };
    if is_source_route(kind, &header) {
        return SOURCE_ROUTE;
    }
    let behind = walk.at + header.len(kind);
    if behind > walk.end {
        return WRONG;
    }
    if behind > MAX_OFFSET - 8 {
        return END;
    }
    // The masks here and in `next_option` change nothing: they let the verifier see that one round is like another.
    walk.at = behind & MAX_OFFSET;
    if kind == extension::FRAGMENT && header.is_part() {
        return END;
    }
    walk.next = u32::from(header.next_len[0]);
    FINE
}

#[inline(always)]
fn note(seen: &mut FlowKey, src: Addr, dst: Addr, proto: u8) {
    (seen.src, seen.dst, seen.proto, seen.zone) = (src, dst, proto, Zone::UPLINK);
}
