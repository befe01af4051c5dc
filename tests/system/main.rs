//! Real traffic over real interfaces: hosts, containers and neighbours as namespaces.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test, and the panic says which")]

mod bed;
mod borrowed;
mod change;
mod configured;
mod connect;
mod crash;
mod deep;
mod deny;
mod dns;
mod dns_load;
mod follow;
mod follow_networks;
mod gateway_mode;
mod gone;
mod ipv6;
mod isolation;
mod lan;
mod large_mtu;
mod leases;
mod leave;
mod many_connections;
mod moby;
mod modules;
mod mss;
mod names;
mod on_lan;
mod parallel;
mod port_mapping;
mod port_range;
mod reachability;
mod reserve;
mod resolver;
mod routes;
mod run;
mod scale;
mod six;
mod slow_path;
mod source;
mod speed;
mod stale;
mod upgrade;
mod ways;
mod wire;
mod without_tcx;
