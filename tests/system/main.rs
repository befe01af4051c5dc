//! Real traffic over real interfaces: hosts, containers and neighbours as namespaces.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test, and the panic says which")]

mod bed;
mod change;
mod crash;
mod follow;
mod isolation;
mod leave;
mod reserve;
mod scale;
mod slow_path;
mod speed;
mod ways;
mod wire;
mod without_tcx;
