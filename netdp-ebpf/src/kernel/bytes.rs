//! Values from the bytes of a frame.
//!
//! A header may lie anywhere, and for the compiler what may lie anywhere is read byte by byte and put together again: four
//! loads and six more instructions for one address. The processors that netdp is for (x86-64, arm64) read it at once, and so
//! does the verifier there (`CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS`). LLVM can be told that for all memory (its feature
//! `allows-misaligned-mem-access`), but then it does so on the stack too, which no verifier takes.

use core::mem::MaybeUninit;

/// Words of 16 bits of the longest value that is read: an IPv6 header.
const WORDS: usize = 20;

/// Reads a value, in pieces as large as its alignment, which the frame need not have.
///
/// # Safety
/// All of `T` can be read there, and any bytes are a value of it.
#[inline(always)]
pub(super) unsafe fn read<T: Copy>(at: *const T) -> T {
    const { assert!(size_of::<T>() <= WORDS * 2 && align_of::<T>() <= 4) };
    // SAFETY: by the contract of this function; the pieces are all of the value.
    unsafe {
        match align_of::<T>() {
            2 => pieces16(at),
            4 => pieces32(at),
            _ => at.read_unaligned(),
        }
    }
}

/// A load of a width, at a distance that the instruction itself carries; and a value that is read by such loads.
macro_rules! pieces {
    ($pieces:ident, $load:ident, $word:ty, $name:literal; $($n:literal)*) => {
        /// # Safety
        /// The word can be read there.
        #[cfg(target_arch = "bpf")]
        #[inline(always)]
        unsafe fn $load<const AT: usize>(from: *const u8) -> $word {
            let word: $word;
            // SAFETY: by the contract of this function; nothing but the word is read, and nothing is written.
            unsafe {
                core::arch::asm!(
                    concat!("{0} = *(", $name, " *)({1} + {2})"),
                    out(wreg) word, in(reg) from, const AT,
                    options(pure, readonly, nostack, preserves_flags)
                );
            }
            word
        }

        /// On a host, where what reads packets is fuzzed, the compiler knows the processor.
        ///
        /// # Safety
        /// The word can be read there.
        #[cfg(not(target_arch = "bpf"))]
        unsafe fn $load<const AT: usize>(from: *const u8) -> $word {
            // SAFETY: by the contract of this function.
            unsafe { from.add(AT).cast::<$word>().read_unaligned() }
        }

        /// # Safety
        /// As for [`read`]; the size is a multiple of the word's, and the alignment at least the word's.
        #[inline(always)]
        unsafe fn $pieces<T: Copy>(at: *const T) -> T {
            let mut value = MaybeUninit::<T>::uninit();
            let (from, to) = (at.cast::<u8>(), value.as_mut_ptr().cast::<$word>());
            // SAFETY: by the contract of this function, every word of the value can be read, and all are written.
            unsafe {
                $(
                    if $n * size_of::<$word>() < size_of::<T>() {
                        to.add($n).write($load::<{ $n * size_of::<$word>() }>(from));
                    }
                )*
                value.assume_init()
            }
        }
    };
}

pieces!(pieces16, load16, u16, "u16"; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
pieces!(pieces32, load32, u32, "u32"; 0 1 2 3 4 5 6 7 8 9);
