//! What a router makes sure of before it passes an IPv4 packet on (RFC 1812, 5.2.2): that the header has arrived as it was
//! sent, and that its options are such, and no route of the sender's choice (RFC 7126, 4.3).

use core::ffi::c_void;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::bpf_loop;
use netdp_common::Reason;
use netdp_common::prefilter::{MAX_OPTIONS, option_len};

use super::access::Packet;
use super::parse::{ETH_LEN, Tuple};

/// Where options begin.
const OPTIONS: u32 = ETH_LEN + 20;
/// Options have 40 bytes at most. Said to the verifier by a mask, which changes no length.
const LENGTH_MASK: u32 = 0x3f;

/// What a walk over options has found, as a plain number: half of an enum on the stack is forgotten by the verifier.
const FINE: u32 = 0;
const SOURCE_ROUTE: u32 = 1;
const WRONG: u32 = 2;

/// Judges the header of a packet whose [`super::parse::network`] is done. The guards of the ways out do not ask: they have
/// to see whose a packet is, whatever else is wrong with it.
#[inline(always)]
pub(super) fn header(packet: &Packet, tuple: &Tuple) -> Result<(), Reason> {
    if !tuple.key.dst.is_v4() {
        return Ok(());
    }
    let sum = fixed(packet);
    if tuple.l4 > OPTIONS {
        return with_options(packet, tuple.l4, sum);
    }
    if fold(sum) == 0xffff { Ok(()) } else { Err(Reason::Malformed) }
}

/// The sum of the 20 bytes that every header has, as they stand in memory and not folded.
#[inline(always)]
fn fixed(packet: &Packet) -> u32 {
    let Some([a, b, c, d, e]) = packet.read::<[u32; 5]>(ETH_LEN) else { return 0 };
    let sum = u64::from(a) + u64::from(b) + u64::from(c) + u64::from(d) + u64::from(e);
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    ((sum & 0xffff) + (sum >> 16)) as u32
}

#[inline(always)]
fn fold(sum: u32) -> u32 {
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16)
}

/// A header that goes on as far as `end`; `sum` is that of its fixed part.
/// A call of its own, which hardly any packet makes.
#[inline(never)]
fn with_options(packet: &Packet, end: u32, sum: u32) -> Result<(), Reason> {
    let mut sum = sum;
    for word in 0..MAX_OPTIONS / 4 {
        let at = OPTIONS + word * 4;
        if at >= end {
            break;
        }
        let [a, b]: [u16; 2] = packet.load(at).ok_or(Reason::Malformed)?;
        sum += u32::from(a) + u32::from(b);
    }
    if fold(sum) != 0xffff {
        return Err(Reason::Malformed);
    }
    walk(packet, end - OPTIONS)
}

/// A walk over options: the context of its callback.
struct Walk {
    skb: *mut __sk_buff,
    len: u32,
    done: u32,
    found: u32,
    _pad: u32,
}

/// Option after option, by a callback, which the verifier does not follow once for each way to divide forty bytes.
#[inline(always)]
fn walk(packet: &Packet, len: u32) -> Result<(), Reason> {
    // Nothing, but the verifier cannot tell: one round is then like another. No frame is so long that something is added.
    let done = (packet.len() >> 23) & LENGTH_MASK;
    let mut walk = Walk { skb: packet.skb(), len, done, found: FINE, _pad: 0 };
    let context = core::ptr::from_mut(&mut walk).cast::<c_void>();
    // SAFETY: the callback has the signature that the helper calls, and the context outlives the call.
    unsafe { bpf_loop(MAX_OPTIONS, next_option as *mut c_void, context, 0) };
    match walk.found {
        FINE => Ok(()),
        SOURCE_ROUTE => Err(Reason::SourceRouted),
        _ => Err(Reason::Malformed),
    }
}

/// One option; ends the walk by returning 1.
unsafe extern "C" fn next_option(_n: u32, walk: *mut Walk) -> i64 {
    // SAFETY: the kernel passes on the context that was given to `bpf_loop`.
    let walk = unsafe { &mut *walk };
    if walk.done >= walk.len {
        return 1;
    }
    // Behind the last option there is a transport header's first byte, or the option is the packet's last byte.
    let Some([kind, len]) = Packet::of(walk.skb).load::<[u8; 2]>(OPTIONS + walk.done) else { return 1 };
    match option_len(kind, len, walk.len - walk.done) {
        Ok(0) => 1,
        Ok(step) => {
            walk.done = (walk.done + step) & LENGTH_MASK;
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
