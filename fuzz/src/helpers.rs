//! The kernel's helpers, as far as the programs' files call them, with the checks that the kernel makes (net/core/filter.c).
//!
//! Their names, arguments and results are those of the helpers; each returns a negative errno when it refuses.

#![expect(
    clippy::missing_safety_doc,
    reason = "one rule for all: the context is one that `Frame::context` gave"
)]

use std::ffi::c_void;

use netdp_common::csum;

use crate::bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use crate::frame::Frame;

const EFAULT: i64 = -14;
const EINVAL: i64 = -22;
/// Size of the changed field, or zero for a difference that is given.
const FIELD_SIZE: u64 = 0xf;
/// `BPF_F_MARK_ENFORCE` and `BPF_F_IPV6`, which change nothing for a complete sum.
const OTHER_FLAGS: u64 = 1 << 6 | 1 << 7;

/// The frame of a context.
///
/// # Safety
/// The context is one that [`Frame::context`] gave, its frame is alive, and nobody else uses it meanwhile.
#[expect(
    clippy::cast_ptr_alignment,
    reason = "the context is the beginning of a frame, which is aligned as a frame is"
)]
unsafe fn frame<'a>(context: *mut __sk_buff) -> &'a mut Frame {
    // SAFETY: by the contract above; the context is the first field of its frame.
    unsafe { &mut *context.cast::<Frame>() }
}

fn done(worked: bool) -> i64 {
    if worked { 0 } else { EFAULT }
}

/// Makes the first bytes readable; zero means all that are.
pub unsafe fn bpf_skb_pull_data(skb: *mut __sk_buff, len: u32) -> i64 {
    // SAFETY: the rule of this file.
    done(unsafe { frame(skb) }.pull(len as usize))
}

/// Writes bytes.
pub unsafe fn bpf_skb_store_bytes(
    skb: *mut __sk_buff,
    offset: u32,
    from: *const c_void,
    len: u32,
    flags: u64,
) -> i64 {
    if flags != 0 {
        return EINVAL;
    }
    // SAFETY: the caller says that so many bytes can be read there; the rule of this file for the frame.
    let (bytes, frame) = unsafe { (std::slice::from_raw_parts(from.cast(), len as usize), frame(skb)) };
    done(frame.write(offset as usize, bytes))
}

/// Reads bytes, readable or not.
pub unsafe fn bpf_skb_load_bytes(skb: *const c_void, offset: u32, to: *mut c_void, len: u32) -> i64 {
    let (from, len) = (offset as usize, len as usize);
    // SAFETY: the rule of this file.
    let frame = unsafe { frame(skb.cast_mut().cast()) };
    let Some(bytes) = frame.bytes().get(from..from + len) else { return EFAULT };
    // SAFETY: the caller says that so many bytes can be written there.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.cast(), len) };
    0
}

/// Changes who the frame is for.
pub unsafe fn bpf_skb_change_type(skb: *mut __sk_buff, kind: u32) -> i64 {
    // SAFETY: the rule of this file.
    unsafe { (*skb).pkt_type = kind };
    0
}

/// Changes a transport checksum, which is taken to be complete.
pub unsafe fn bpf_l4_csum_replace(skb: *mut __sk_buff, offset: u32, from: u64, to: u64, flags: u64) -> i64 {
    let known = u64::from(BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0) | FIELD_SIZE | OTHER_FLAGS;
    if flags & !known != 0 {
        return EINVAL;
    }
    let at = offset as usize;
    if offset > 0xffff || !offset.is_multiple_of(2) {
        return EFAULT;
    }
    // SAFETY: the rule of this file.
    let frame = unsafe { frame(skb) };
    let Some(&[a, b]) = frame.bytes().get(at..at + 2) else { return EFAULT };
    let (check, is_udp) = (u16::from_ne_bytes([a, b]), flags & u64::from(BPF_F_MARK_MANGLED_0) != 0);
    if is_udp && check == 0 {
        return 0;
    }
    let Some(diff) = difference(from, to, flags & FIELD_SIZE) else { return EINVAL };
    let check = match !fold(csum::add(u32::from(!check), diff)) {
        0 if is_udp => 0xffff,
        check => check,
    };
    done(frame.write(at, &check.to_ne_bytes()))
}

#[expect(clippy::cast_possible_truncation, reason = "the helper takes the low bits, too")]
fn difference(from: u64, to: u64, size: u64) -> Option<u32> {
    match size {
        0 if from == 0 => Some(to as u32),
        2 => Some(csum::diff32(u32::from(from as u16), u32::from(to as u16))),
        4 => Some(csum::diff32(from as u32, to as u32)),
        _ => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// Calls a function for each number up to `count`, until it returns 1.
pub unsafe fn bpf_loop(count: u32, callback: *mut c_void, context: *mut c_void, _flags: u64) -> i64 {
    // SAFETY: the caller passes a function of this signature, as the kernel's helper wants it.
    let callback: unsafe extern "C" fn(u32, *mut c_void) -> i64 = unsafe { std::mem::transmute(callback) };
    // SAFETY: the context is the one that the caller has made for its callback.
    let ended = (0..count).position(|n| unsafe { callback(n, context) } != 0);
    ended.map_or(i64::from(count), |n| i64::try_from(n).unwrap_or(i64::MAX) + 1)
}

/// Moves a frame's bytes for a header of the other family.
pub unsafe fn bpf_skb_change_proto(skb: *mut __sk_buff, proto: u16, flags: u64) -> i64 {
    if flags != 0 {
        return EINVAL;
    }
    // SAFETY: the rule of this file.
    let frame = unsafe { frame(skb) };
    done(frame.change_header(proto == 0x86dd_u16.to_be()))
}
