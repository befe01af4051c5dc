//! Memory that a process which stays has no use for any more.

/// Larger pieces than this, in bytes, are asked of the kernel and given back one by one.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 128 * 1024;

/// From now on large pieces go back to the kernel when they are freed. By default the C library keeps ever larger ones.
pub fn keep_little() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes two numbers and sets a parameter of the allocator, which locks itself.
    unsafe {
        // Refused, the memory is kept, and nothing else is different.
        let _ = libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Gives what is free back to the kernel: what a look at the whole host has taken is needed only at the next one.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes a number and gives back pages that nothing is in; the allocator locks itself.
    unsafe {
        let _ = libc::malloc_trim(0);
    }
}
