//! Names: the resolver that answers on the gateway of every network.
//!
//! It is a process of its own (`netdp resolver`, started by `netdp up`), so that names go on resolving while the controller is
//! dead, is being replaced or was never told to come back. The other way, names written into each `/etc/hosts`, would need
//! the container's mount namespace, which an endpoint that was attached by its network namespace alone does not show, and
//! programs that read the file once would never see a change.
//!
//! What a network's endpoints are called is read from the database ([`source`]), whenever that has changed, so nobody has to
//! be told of a change and no socket is opened or closed for one. Which socket a query comes to is decided in the kernel
//! (`netdp_common::resolver`): none of them is bound to port 53.
//!
//! [`directory`] and [`answer`] decide and touch nothing; [`server`] and [`socket`] carry queries and answers;
//! [`forward`], [`cache`] and [`resolv_conf`] are for names that no network has; [`process`] starts, finds and ends the
//! resolver, and [`privilege`] is what it gives up.

pub mod answer;
pub mod cache;
pub mod directory;
pub mod error;
#[cfg(test)]
mod fixture;
pub mod forward;
pub mod privilege;
pub mod process;
pub mod resolv_conf;
pub mod server;
pub mod shares;
pub mod socket;
pub mod source;

pub use error::Error;
