//! netdp: container networking for one host whose packets are moved by eBPF programs.
//!
//! How a command becomes packets on their way:
//!
//! 1. [`cli`] reads the command line, and a file of [`command`] does what it says, one file per command,
//!    through [`instance`]: the lock, the database and the kernel of one host together.
//! 2. [`store`] keeps what was asked for, as the plain data of [`model`]; [`names`], [`publish`] and [`ipam`]
//!    are the rules by which words become that data.
//! 3. [`world`] looks at the kernel: links and addresses through [`netlink`], maps and programs through
//!    [`datapath`], the rest of the machine through [`host`].
//! 4. [`desired`] works out what the kernel should have, and [`plan`] compares both, without touching
//!    anything, and answers with steps in an order that is safe at any point.
//! 5. [`reconcile`] takes the steps, and takes them back when one fails;
//!    [`audit`] only tells what they would be.
//! 6. From then on the programs in the kernel need nobody. [`service`] only repeats 3 to 5 when the host
//!    changes, and clears away what has expired.
//!
//! [`output`] prints tables and JSON, and [`error`] says what went wrong and what to do about it.

pub mod announce;
pub mod audit;
pub mod bridge_options;
pub mod clash;
pub mod cli;
pub mod command;
pub mod config;
pub mod datapath;
pub mod deny;
pub mod desired;
pub mod dhcp;
pub mod dns;
pub mod endpoint_sysctl;
pub mod error;
pub mod host;
pub mod instance;
pub mod ipam;
pub mod lan;
pub mod model;
pub mod names;
pub mod netlink;
pub mod output;
pub mod plan;
pub mod process;
pub mod progress;
pub mod publish;
pub mod reconcile;
pub mod routes;
pub mod service;
pub mod sources;
pub mod store;
pub mod trace;
mod waiting;
pub mod ways;
pub mod world;

#[cfg(test)]
mod fake;

pub use error::Error;
