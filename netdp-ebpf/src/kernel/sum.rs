//! The Internet checksum in full, where there is none to go on from: that of an ICMP error which is judged, or made.

use core::ffi::c_void;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::bpf_loop;
use netdp_common::csum;

use super::access::Packet;
use super::scratch;

/// Bytes that are added at once, as long as there are so many.
const CHUNK: u32 = 32;
/// Steps that what is left after the last chunk takes at most: seven words, half a word, a byte.
const REST: u32 = 9;
/// Larger than any folded sum: bytes are missing.
const FAILED: u32 = u32::MAX;

/// How far a sum is. In a map: the verifier walks through a step or two, and not through all.
#[repr(C)]
pub(super) struct Summing {
    at: u32,
    end: u32,
    sum: u32,
}

/// The frame: the context of the callback.
struct Of {
    skb: *mut __sk_buff,
}

/// The folded sum of the bytes from `at` to `end` on top of `start`, in the order of memory. `None` when the frame is
/// shorter.
#[inline(always)]
pub(super) fn of(packet: &Packet, at: u32, end: u32, start: u32) -> Option<u16> {
    match sum_bytes(packet.skb(), at, end, start) {
        sum @ 0..=0xffff => Some(sum as u16),
        _ => None,
    }
}

/// [`of`], as a call that is verified once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sum_bytes(skb: *mut __sk_buff, at: u32, end: u32, start: u32) -> u32 {
    let Some(summing) = scratch::summing() else { return FAILED };
    if end < at {
        return FAILED;
    }
    (summing.at, summing.end, summing.sum) = (at, end, start);
    let mut of = Of { skb };
    let context = core::ptr::from_mut(&mut of).cast::<c_void>();
    // SAFETY: the callback has the signature that the helper calls, and the context outlives the call.
    unsafe { bpf_loop((end - at) / CHUNK + REST, add as *mut c_void, context, 0) };
    match scratch::summing() {
        Some(summing) if summing.at == summing.end => u32::from(csum::fold(summing.sum)),
        _ => FAILED,
    }
}

/// Adds what comes next; ends the sum by returning 1.
unsafe extern "C" fn add(_step: u32, of: *mut Of) -> i64 {
    let Some(summing) = scratch::summing() else { return 1 };
    // SAFETY: the kernel passes on the context that was given to `bpf_loop`.
    let packet = Packet::of(unsafe { (*of).skb });
    let at = summing.at;
    let (added, len) = match summing.end.wrapping_sub(at) {
        0 => return 1,
        1 => (packet.load::<u8>(at).map(|last| u32::from(u16::from_ne_bytes([last, 0]))), 1),
        2..4 => (packet.load::<u16>(at).map(u32::from), 2),
        4..CHUNK => (packet.load::<u32>(at), 4),
        _ => (packet.load::<[u32; 8]>(at).map(words), CHUNK),
    };
    let Some(added) = added else { return 1 };
    (summing.sum, summing.at) = (csum::add(summing.sum, added), at + len);
    0
}

#[inline(always)]
fn words([a, b, c, d, e, f, g, h]: [u32; 8]) -> u32 {
    let (low, high) =
        (csum::add(csum::add(a, b), csum::add(c, d)), csum::add(csum::add(e, f), csum::add(g, h)));
    csum::add(low, high)
}
