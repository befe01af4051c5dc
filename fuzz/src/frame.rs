//! A frame in memory as the kernel has it: the beginning is readable, the rest may lie elsewhere.

use std::ptr::null_mut;
use std::sync::{Mutex, OnceLock};

use crate::bindings::__sk_buff;

/// Readable memory in front of the page that is not.
const ARENA: usize = 1 << 16;
const PAGE: usize = 4096;

/// A frame and its context. The context comes first: the helpers find the frame by the context's address.
#[repr(C)]
#[derive(Debug)]
pub struct Frame {
    context: __sk_buff,
    bytes: Vec<u8>,
    linear: usize,
}

impl Frame {
    /// A frame of which the first `linear` bytes are readable; the caller holds [`arena`] while it is in use.
    pub fn new(bytes: &[u8], linear: usize) -> Box<Self> {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let context = __sk_buff {
            len,
            pkt_type: 0,
            vlan_present: 0,
            vlan_tci: 0,
            ingress_ifindex: 2,
            ifindex: 2,
            tc_index: 0,
            data: 0,
            data_end: 0,
            gso_segs: 0,
            gso_size: 0,
        };
        let mut frame = Box::new(Self { context, bytes: bytes.to_vec(), linear: 0 });
        frame.pull(linear.min(bytes.len()));
        frame
    }

    /// What a program is given.
    pub fn context(&mut self) -> *mut __sk_buff {
        // The whole frame's address, so that it may be turned back into one.
        std::ptr::from_mut(self).cast()
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes so many bytes readable, as `skb_ensure_writable` does; false when there are fewer.
    pub(crate) fn pull(&mut self, wanted: usize) -> bool {
        if wanted > self.bytes.len() || wanted > ARENA {
            return false;
        }
        self.linear = self.linear.max(wanted);
        self.publish();
        true
    }

    /// Makes an IPv4 header without options one of IPv6, or the reverse; what it says then is the caller's to write.
    pub(crate) fn change_header(&mut self, to_ipv6: bool) -> bool {
        let (old, new) = if to_ipv6 { (20, 40) } else { (40, 20) };
        if self.bytes.len() < 14 + old {
            return false;
        }
        self.bytes.splice(14..14 + old, vec![0; new]);
        self.context.len = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.linear = self.linear.min(self.bytes.len());
        self.pull(14 + new)
    }

    /// Changes bytes, in both places.
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) -> bool {
        let end = at + bytes.len();
        if !self.pull(end) {
            return false;
        }
        self.bytes[at..end].copy_from_slice(bytes);
        self.publish();
        true
    }

    /// Puts the readable part right in front of the guard page.
    fn publish(&mut self) {
        let end = start() + ARENA;
        let begin = end - self.linear;
        // SAFETY: the arena is ARENA bytes from `start` on, mapped for ever, and `linear` is not more (`pull`); the source
        // is a vector of ours, and has that many bytes.
        unsafe { std::ptr::copy_nonoverlapping(self.bytes.as_ptr(), begin as *mut u8, self.linear) };
        self.context.data = u32::try_from(begin).unwrap_or(0);
        self.context.data_end = u32::try_from(end).unwrap_or(0);
    }
}

/// Held while a frame is in use: there is one place for readable bytes.
pub fn arena() -> &'static Mutex<()> {
    static LOCK: Mutex<()> = Mutex::new(());
    &LOCK
}

/// Where the arena begins: memory below 4 GiB, with a page behind it that nobody may touch.
fn start() -> usize {
    static START: OnceLock<usize> = OnceLock::new();
    *START.get_or_init(|| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: new memory of the kernel's choosing; the last page of it is made unreadable, and nothing else is there.
        unsafe {
            let at = libc::mmap(null_mut(), ARENA + PAGE, access, flags, -1, 0);
            assert!(at != libc::MAP_FAILED, "no memory below 4 GiB");
            assert_eq!(libc::mprotect(at.byte_add(ARENA), PAGE, libc::PROT_NONE), 0, "no guard page");
            at as usize
        }
    })
}
