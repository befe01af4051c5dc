//! The machine that an instance runs on, as far as it is not links, addresses and routes: namespaces,
//! sysctls, the file system of the pins, locks, uplinks, sockets, and what the kernel offers.

pub mod bpffs;
pub mod check;
pub mod lock;
pub mod memory;
pub mod netns;
pub mod pools;
pub mod ports;
pub mod sockets;
pub mod sysctl;
pub mod uplink;
