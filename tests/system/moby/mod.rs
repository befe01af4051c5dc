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

/// One echo request and its answer, which may be late where a neighbour is looked for twice.
fn ping(from: &Namespace, to: impl Into<IpAddr>) -> bool {
    ping_within(from, to.into(), 5)
}

/// One echo request that nobody answers.
fn ping_in_vain(from: &Namespace, to: impl Into<IpAddr>) -> bool {
    !ping_within(from, to.into(), 1)
}

fn ping_within(from: &Namespace, to: IpAddr, seconds: u8) -> bool {
    let zone = match to {
        IpAddr::V6(address) if address.is_unicast_link_local() => "%eth0",
        _ => "",
    };
    from.sh(&format!("ping -n -q -c 1 -W {seconds} {to}{zone}")).code == Some(0)
}
