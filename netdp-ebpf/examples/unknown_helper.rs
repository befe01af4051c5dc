//! A program that calls a helper which Linux 6.1 does not have. `cargo xtask vm --self-test` shows with it that such a
//! program is reported for what it is.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod kernel {
    use core::ptr::null_mut;

    use aya_ebpf::helpers::generated::bpf_cgrp_storage_get;
    use aya_ebpf::macros::classifier;
    use aya_ebpf::programs::TcContext;

    /// Named as a real one, so that it can stand in its place.
    #[classifier]
    pub(crate) fn from_container(_: TcContext) -> i32 {
        // SAFETY: never run: kernels before 6.2 (c4bcfb38a95e) do not know the helper, later ones refuse its arguments.
        let found = unsafe { bpf_cgrp_storage_get(null_mut(), null_mut(), null_mut(), 0) };
        if found.is_null() { -1 } else { 0 }
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
