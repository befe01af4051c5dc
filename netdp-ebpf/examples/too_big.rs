//! A program that no kernel accepts: the verifier walks every turn of a bounded loop, and gives up after a million
//! instructions. `cargo xtask vm --self-test` shows with it that such a program is reported for what it is.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod kernel {
    use core::ptr::write_volatile;

    use aya_ebpf::macros::classifier;
    use aya_ebpf::programs::TcContext;

    /// More than a million instructions in all, with those of a turn.
    const TURNS: u32 = 512;

    /// Straight-line code is what the verifier walks fastest: without branches it keeps no states.
    macro_rules! sixteen_times {
        ($statement:expr) => {
            $statement;
            $statement;
            $statement;
            $statement;
            $statement;
            $statement;
            $statement;
            $statement;
            $statement;
            $statement;
            $statement;
            $statement;
            $statement;
            $statement;
            $statement;
            $statement;
        };
    }

    /// Named as a real one, so that it can stand in its place.
    #[classifier]
    pub(crate) fn from_container(_: TcContext) -> i32 {
        let mut sink = 0_u32;
        for turn in 0..TURNS {
            // SAFETY: a local that is alive. Volatile, because the compiler removes what has no effect.
            sixteen_times!(sixteen_times!(sixteen_times!(unsafe { write_volatile(&raw mut sink, turn) })));
        }
        -1
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
