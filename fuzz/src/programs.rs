//! The context as aya hands it to a program.

use crate::bindings::__sk_buff;

/// Of a program at a hook of an interface.
#[derive(Debug)]
pub struct TcContext {
    /// The frame.
    pub skb: SkBuff,
}

/// A frame, by the kernel's pointer.
#[derive(Debug)]
pub struct SkBuff {
    /// The context.
    pub skb: *mut __sk_buff,
}
