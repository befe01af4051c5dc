//! Docker's own tests of bridge networks (moby, `integration/networking` and `integration/network/bridge`), as behaviour:
//! each has its name in our style. tests/moby.txt says for every one of theirs which test it is, or why there is none.

mod addresses;
mod connectivity;
mod endpoints;
mod failing;
mod host;
mod kept;

use std::net::IpAddr;

use tests::namespace::Namespace;
use tests::topology::{Bed, Host};

/// A host that is up.
fn host_on(bed: &Bed) -> Host {
    let host = bed.host("h1");
    host.up_once();
    host
}

/// One echo request and, if all is right, its answer.
fn ping(from: &Namespace, to: impl Into<IpAddr>) -> bool {
    let to = to.into();
    let zone = match to {
        IpAddr::V6(address) if address.is_unicast_link_local() => "%eth0",
        _ => "",
    };
    from.sh(&format!("ping -n -q -c 1 -W 1 {to}{zone}")).code == Some(0)
}
