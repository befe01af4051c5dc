//! The frame at XDP: there is no socket buffer yet, and its bytes lie in one piece.

use core::hint::black_box;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;

use super::bytes;

/// Every offset that is read is at most this, said to the verifier by a mask: two VLAN tags, and the extension headers of
/// IPv6 as far as anybody has them.
pub(super) const MAX_OFFSET: u32 = 0x1ff;

/// A frame as the driver received it.
pub(super) struct Frame {
    ctx: *mut xdp_md,
}

impl Frame {
    #[inline(always)]
    pub(super) fn new(ctx: &XdpContext) -> Self {
        Self { ctx: ctx.ctx }
    }

    /// The frame of a context that was passed on to a callback.
    #[inline(always)]
    pub(super) fn of(ctx: *mut xdp_md) -> Self {
        Self { ctx }
    }

    /// The context, for callbacks.
    #[inline(always)]
    pub(super) fn ctx(&self) -> *mut xdp_md {
        self.ctx
    }

    /// Length in bytes, link layer included.
    #[inline(always)]
    pub(super) fn len(&self) -> u32 {
        // SAFETY: `ctx` is the context that the kernel gave to this run of the program.
        let (data, end) = unsafe { (u64::from((*self.ctx).data), u64::from((*self.ctx).data_end)) };
        // Both are pointers for the verifier, which knows how to subtract 64 bits of them and not 32; left to itself, the
        // compiler takes the lower halves.
        black_box(end - data) as u32
    }

    /// Interface that the frame came in by.
    #[inline(always)]
    pub(super) fn ifindex(&self) -> u32 {
        // SAFETY: as in `len`.
        unsafe { (*self.ctx).ingress_ifindex }
    }

    /// Reads a value at an offset from the Ethernet header, at most [`MAX_OFFSET`]; `None` when the frame is shorter.
    #[inline(always)]
    pub(super) fn read<T: Copy>(&self, offset: u32) -> Option<T> {
        // SAFETY: as in `len`.
        let (data, end) = unsafe { ((*self.ctx).data as usize, (*self.ctx).data_end as usize) };
        let at = data + (offset & MAX_OFFSET) as usize;
        if at + size_of::<T>() > end {
            return None;
        }
        // SAFETY: all of T lies in the frame, as was checked above; header types are made of integers, so any bytes are a
        // value.
        Some(unsafe { bytes::read(at as *const T) })
    }
}
