//! Harness of the tests that need a kernel: hosts, containers and outside neighbours as network namespaces,
//! and a runner that sends one packet through one program.
//!
//! A test names its topology and gets it built; whatever it built is gone when the value is dropped, also
//! after a panic, and also after SIGKILL of the test process (see [`namespace`]).
//!
//! | module | gives |
//! |---|---|
//! | [`namespace`] | a private mount and network namespace for the process, and named network namespaces |
//! | [`module`] | kernel modules that a test needs |
//! | [`process`] | commands with a deadline, and services that are killed on drop |
//! | [`topology`] | hosts with an uplink, containers attached by `netdp`, neighbours on the outside segment |
//! | [`sniffer`] | what fails a test when a container's address leaves an uplink |
//! | [`capture`] | frames as they are on a wire, with their checksums judged |
//! | [`server`] | small servers and clients that say who they are and whom they see |
//! | [`snapshot`] | everything of a host that `netdp down` must leave as found |
//! | [`statistics`] | medians of measurements, and how far they can be trusted |
//! | [`packet`] | builds frames, takes them apart, prints how two differ |
//! | [`program`] | one packet through one program from fresh maps: verdict, bytes, exact change of state |
//! | [`dns`] | queries and their answers, and name servers that answer as a test wants |
//! | [`dhcp_server`] | a DHCP server that answers as a test says |
//! | [`dnsmasq`] | dnsmasq as a DHCP server |
//! | [`older_kernel`] | a command as on a kernel that lacks something |
//! | [`expect`] | says what a run must do; whatever it did beyond that is a failure |

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a harness that cannot build what a test asked for must stop that test, with the place"
)]
#![expect(
    clippy::missing_panics_doc,
    reason = "every function here panics when the kernel refuses: that fails the test"
)]

pub mod capture;
pub mod dhcp_server;
pub mod dns;
pub mod dnsmasq;
pub mod expect;
pub mod lookup;
pub mod module;
pub mod namespace;
pub mod older_kernel;
pub mod packet;
mod pool;
pub mod process;
pub mod processor;
pub mod program;
pub mod server;
pub mod snapshot;
pub mod sniffer;
pub mod statistics;
pub mod topology;
