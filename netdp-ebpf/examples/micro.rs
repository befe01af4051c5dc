//! What `cargo xtask bench --micro` runs the programs with: it gives each run the frame that the one before has translated.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod kernel {
    use aya_ebpf::bindings::xdp_action;
    use aya_ebpf::helpers::{bpf_redirect, bpf_skb_change_type, bpf_skb_store_bytes};
    use aya_ebpf::macros::{classifier, map, xdp};
    use aya_ebpf::maps::{Array, ProgramArray};
    use aya_ebpf::programs::{TcContext, XdpContext};

    /// Bytes that are given back: more than the headers of any class. `tests/bench/micro/runner.rs` has the same.
    const BYTES: usize = 128;
    /// Every port stands before this offset.
    const PORTS: usize = 0x3f;
    /// No program under test returns it: the call did not happen.
    const LOST: i32 = 99;

    /// How each run begins.
    #[repr(C)]
    pub(crate) struct Start {
        bytes: [u8; BYTES],
        /// The slot of the program under test; or the interface that frames are sent by.
        target: u32,
        /// What the kernel says that the frame is: `PACKET_HOST`, ...
        kind: u32,
        /// Where the port stands that is another in each run, and what it is in the next one.
        port_at: u32,
        port: u32,
    }

    #[map]
    static START: Array<Start> = Array::with_max_entries(1, 0);

    /// The program under test, and one that does nothing.
    #[map]
    static TARGETS: ProgramArray = ProgramArray::with_max_entries(2, 0);

    /// The same at XDP.
    #[map]
    static TARGETS_XDP: ProgramArray = ProgramArray::with_max_entries(2, 0);

    /// The same packet again.
    #[classifier]
    pub(crate) fn again(ctx: TcContext) -> i32 {
        let Some(start) = START.get_ptr_mut(0) else { return LOST };
        if give(&ctx, start).is_none() {
            return LOST;
        }
        go_on(&ctx, start)
    }

    /// The first packet of another flow.
    #[classifier]
    pub(crate) fn another(ctx: TcContext) -> i32 {
        let Some(start) = START.get_ptr_mut(0) else { return LOST };
        number(start);
        if give(&ctx, start).is_none() {
            return LOST;
        }
        go_on(&ctx, start)
    }

    /// The same packet again at XDP, where no program changes it.
    #[xdp]
    pub(crate) fn again_xdp(ctx: XdpContext) -> u32 {
        let Some(start) = START.get_ptr(0) else { return xdp_action::XDP_ABORTED };
        // SAFETY: the map's value; and nothing here waits to be dropped.
        unsafe { TARGETS_XDP.tail_call(&ctx, (*start).target) };
        xdp_action::XDP_ABORTED
    }

    /// Makes a frame leave by the interface of that number.
    #[xdp]
    pub(crate) fn send(_: XdpContext) -> u32 {
        let Some(start) = START.get_ptr(0) else { return xdp_action::XDP_ABORTED };
        // SAFETY: the map's value; the helper takes numbers.
        unsafe { bpf_redirect((*start).target, 0) as u32 }
    }

    /// What costs an XDP program's frame the least.
    #[xdp]
    pub(crate) fn drop(_: XdpContext) -> u32 {
        xdp_action::XDP_DROP
    }

    /// What costs nothing but the way to it.
    #[classifier]
    pub(crate) fn nothing(_: TcContext) -> i32 {
        -1
    }

    /// The same at XDP.
    #[xdp]
    pub(crate) fn nothing_xdp(_: XdpContext) -> u32 {
        xdp_action::XDP_PASS
    }

    #[inline(always)]
    fn give(ctx: &TcContext, start: *mut Start) -> Option<()> {
        // SAFETY: the helper reads as many bytes as the map's value has, and checks the frame itself.
        match unsafe { bpf_skb_store_bytes(ctx.skb.skb, 0, start.cast(), BYTES as u32, 0) } {
            0 => Some(()),
            _ => None,
        }
    }

    #[inline(always)]
    fn number(start: *mut Start) {
        // SAFETY: the map's value; the mask is less than it has bytes. No two runs of a bench are at the same time.
        unsafe {
            let [high, low] = ((*start).port as u16).to_be_bytes();
            (*start).port = (*start).port.wrapping_add(1);
            let at = start.cast::<u8>().add((*start).port_at as usize & PORTS);
            at.write(high);
            at.add(1).write(low);
        }
    }

    #[inline(always)]
    fn go_on(ctx: &TcContext, start: *const Start) -> i32 {
        // SAFETY: the map's value, and the context of this run; its field is written singly, as the verifier knows it.
        let (kind, target) = unsafe {
            (&raw mut (*ctx.skb.skb).tc_index).write_volatile(0);
            ((*start).kind, (*start).target)
        };
        if kind != 0 {
            // SAFETY: the helper takes the context as it is.
            unsafe { bpf_skb_change_type(ctx.skb.skb, kind) };
        }
        // SAFETY: nothing here waits to be dropped.
        unsafe { TARGETS.tail_call(ctx, target) };
        LOST
    }

    /// Never reached: nothing here panics.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
